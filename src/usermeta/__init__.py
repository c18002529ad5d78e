"""What callers of usermeta import: messages and gRPC stubs, generated from protos/."""
