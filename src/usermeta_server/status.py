"""The one translation of domain errors into google.rpc.Status, which gRPC carries in a trailer (AIP-193)."""

import uuid
from typing import Final

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status

from usermeta_server.errors import Reason, UsermetaError

DOMAIN: Final = "usermeta"
"""The `domain` of every ErrorInfo."""


def _packed(message: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed


_MAX_TEXT: Final = 300
"""Bytes of each text of an error: it goes in headers, of which a client takes 8 KiB in all."""
_MAX_VIOLATIONS: Final = 8


def _short(text: str) -> str:
    encoded = text.encode("utf-8", "backslashreplace")
    return text if len(encoded) <= _MAX_TEXT else encoded[:_MAX_TEXT].decode("utf-8", "ignore") + "…"


def to_status(error: UsermetaError) -> Status:
    """Return what a client is told of an error: code, message, ErrorInfo, and BadRequest if fields are bad."""
    info = ErrorInfo(
        reason=error.reason.name, domain=DOMAIN, metadata={name: _short(text) for name, text in error.metadata.items()}
    )
    details = [_packed(info)]
    if error.violations:
        violations = [
            BadRequest.FieldViolation(
                field=_short(each.field), description=_short(each.description), reason=error.reason.name
            )
            for each in error.violations[:_MAX_VIOLATIONS]
        ]
        details.append(_packed(BadRequest(field_violations=violations)))
    return Status(code=Code.Value(error.reason.status), message=_short(error.message), details=details)


def internal_error() -> UsermetaError:
    """Return the error for a fault of ours: a fixed text and an id, by which the log has the rest."""
    return UsermetaError(Reason.INTERNAL, metadata={"error_id": uuid.uuid4().hex})
