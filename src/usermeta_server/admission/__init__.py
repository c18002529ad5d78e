"""What every call passes, whatever carries it: nothing here knows gRPC, HTTP or protobuf."""
