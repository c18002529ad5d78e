"""The usermeta server: users' custom metadata for two audiences, over gRPC."""

import os

# Before gRPC is imported: its core would write lines of its own, in a form of its own, among our log and our errors.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
