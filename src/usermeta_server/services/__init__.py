"""The two services: thin handlers between protobuf messages and the use cases."""
