"""The usermeta server: users' custom metadata for two audiences, over gRPC."""
