"""Requests that write documents, from documents and operations as JSON."""

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.json_format import ParseDict

from tests.support import struct
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.type.v1.patch_pb2 import PatchOperation


def _structs(documents: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {name: struct(value) for name, value in documents.items()}


def merge(user_id: str, **documents: Mapping[str, Any]) -> pb.MergeUserMetadataRequest:
    """Make a request that merges documents."""
    return pb.MergeUserMetadataRequest(user_id=user_id, **_structs(documents))


def replace(user_id: str, **documents: Mapping[str, Any]) -> pb.ReplaceUserMetadataRequest:
    """Make a request that replaces documents."""
    return pb.ReplaceUserMetadataRequest(user_id=user_id, **_structs(documents))


def operations(*steps: Mapping[str, Any]) -> list[PatchOperation]:
    """Return a JSON Patch as messages: its steps are written as RFC 6902 does, but for the names of operations."""
    return [ParseDict({**step, "op": f"OP_{step['op'].upper()}"}, PatchOperation()) for step in steps]


def patch(user_id: str, **documents: Sequence[Mapping[str, Any]]) -> pb.PatchUserMetadataRequest:
    """Make a request that patches documents."""
    patches: dict[str, Any] = {name: operations(*steps) for name, steps in documents.items()}
    return pb.PatchUserMetadataRequest(user_id=user_id, **patches)
