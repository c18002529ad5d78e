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


def to_status(error: UsermetaError) -> Status:
    """Return what a client is told of an error: code, message, ErrorInfo, and BadRequest if fields are bad."""
    info = ErrorInfo(reason=error.reason.name, domain=DOMAIN, metadata=error.metadata)
    details = [_packed(info)]
    if error.violations:
        violations = [
            BadRequest.FieldViolation(field=each.field, description=each.description, reason=error.reason.name)
            for each in error.violations
        ]
        details.append(_packed(BadRequest(field_violations=violations)))
    return Status(code=Code.Value(error.reason.status), message=error.message, details=details)


def internal_error() -> UsermetaError:
    """Return the error for a fault of ours: a fixed text and an id, by which the log has the rest."""
    return UsermetaError(Reason.INTERNAL, metadata={"error_id": uuid.uuid4().hex})
