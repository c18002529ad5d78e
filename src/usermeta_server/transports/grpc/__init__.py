"""gRPC's own services, about the server: health and reflection."""
