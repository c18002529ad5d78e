"""The use cases that both services share; they know neither gRPC nor protobuf."""
