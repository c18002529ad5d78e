"""The one translation of domain errors into google.rpc.Status, which gRPC carries in a trailer (AIP-193)."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from usermeta_server.errors import UsermetaError, Violation

DOMAIN: Final = "usermeta"
"""The `domain` of every ErrorInfo."""


def _packed(message: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed


_MAX_TEXT: Final = 300
"""Bytes of each text of an error: it goes in headers, of which a client takes 8 KiB in all."""
_MAX_DETAILS: Final = 4096
"""Bytes of an error's details: in base64 they leave room for the text and the other headers."""


def _short(text: str) -> str:
    encoded = text.encode("utf-8", "backslashreplace")
    return text if len(encoded) <= _MAX_TEXT else encoded[:_MAX_TEXT].decode("utf-8", "ignore") + "…"


def to_status(error: UsermetaError) -> Status:
    """Return what a client is told of an error: code, message, ErrorInfo; BadRequest, if fields are bad; RetryInfo.

    It names as many bad fields as fit; how many more there are is the ErrorInfo's `more_violations`.
    """
    info = ErrorInfo(
        reason=error.reason.name, domain=DOMAIN, metadata={name: _short(text) for name, text in error.metadata.items()}
    )
    bad = _bad_request(error.violations, _MAX_DETAILS - info.ByteSize())
    more = len(error.violations) - len(bad.field_violations)
    if more:
        info.metadata["more_violations"] = str(more)
    details = [_packed(info)]
    if error.violations:
        details.append(_packed(bad))
    if error.retry_after:
        details.append(_packed(RetryInfo(retry_delay=timedelta(seconds=error.retry_after))))
    return Status(code=Code.Value(error.reason.status), message=_short(error.message), details=details)


def _bad_request(violations: Iterable[Violation], room: int) -> BadRequest:
    """Return as many violations, from the first on, as fit into some bytes; one at the least."""
    bad = BadRequest()
    for each in violations:
        bad.field_violations.add(
            field=_short(each.field), description=_short(each.description), reason=each.reason.name
        )
        if bad.ByteSize() > room and len(bad.field_violations) > 1:
            del bad.field_violations[-1]
            break
    return bad
