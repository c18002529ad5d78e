"""Calls that failed: how a command exits for each status, what it says, and when it may be tried again."""

from collections.abc import Mapping
from typing import Final, TypeVar

import grpc
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from usermeta_server.errors import ExitCode, OperatorError

M = TypeVar("M", bound=Message)

_STATUSES: Final[Mapping[ExitCode, tuple[str, ...]]] = {
    ExitCode.NOT_FOUND: ("NOT_FOUND",),
    ExitCode.REFUSED: (
        "INVALID_ARGUMENT",
        "ALREADY_EXISTS",
        "UNAUTHENTICATED",
        "PERMISSION_DENIED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "RESOURCE_EXHAUSTED",
        "UNIMPLEMENTED",
    ),
    # A server that stops ends some calls as CANCELLED; a call that we cancel never comes to be an error.
    ExitCode.UNREACHABLE: ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED"),
}
_EXIT_CODES: Final = {status: code for code, statuses in _STATUSES.items() for status in statuses}


def exit_code_of(status: str) -> ExitCode:
    """Return how a command ends that failed with a status, by its gRPC name; what is not in the table is a fault."""
    return _EXIT_CODES.get(status, ExitCode.FAULT)


class CallError(OperatorError):
    """A call that a command made has failed: at which server or database, and why."""

    def __init__(self, where: str, error: grpc.aio.AioRpcError) -> None:
        """Tell of a call's error."""
        super().__init__(f"{where}: {text_of(error)}")
        self.exit_code = exit_code_of(error.code().name)


def text_of(error: grpc.aio.AioRpcError) -> str:
    """Return status, reason and message in one line, and a line for each bad field that the message does not name."""
    info = detail_of(error, ErrorInfo)
    status = f"{error.code().name} ({info.reason})" if info else error.code().name
    message = " ".join((error.details() or "").split())
    bad = detail_of(error, BadRequest) or BadRequest()
    fields = [f"{each.field}: {each.description}" for each in bad.field_violations]
    return "\n  ".join([f"{status}: {message}", *(each for each in fields if each not in message)])


def retry_delay_of(error: grpc.aio.AioRpcError) -> float | None:
    """Return in how many seconds the server wants the call again (google.rpc.RetryInfo); None if it does not say.

    With one the call was refused before it did anything.
    """
    info = detail_of(error, RetryInfo)
    return max(0.0, info.retry_delay.ToTimedelta().total_seconds()) if info else None


def detail_of(error: grpc.aio.AioRpcError, kind: type[M]) -> M | None:
    """Return the first detail of this kind of an error, None if there is none."""
    for name, packed in error.trailing_metadata() or ():
        if name == "grpc-status-details-bin" and isinstance(packed, bytes):
            for detail in Status.FromString(packed).details:
                message = kind()
                if detail.Unpack(message):
                    return message
    return None
