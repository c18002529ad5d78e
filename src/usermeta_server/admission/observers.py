"""Calls that have ended, and who is told of them."""

from typing import NamedTuple, Protocol

from usermeta_server.caller import Caller
from usermeta_server.errors import Reason


class EndedCall(NamedTuple):
    """A call that ended: who called (None if that was refused), how it ended, and how long it took.

    `status` is a gRPC status name; `reason` is None for a call that ended well, or was cancelled by its caller.
    """

    caller: Caller | None
    method: str
    status: str
    reason: Reason | None
    nanoseconds: int
    request_id: str = ""


class Observer(Protocol):
    """Who is told of calls that have ended: a log, metrics, traces."""

    def record(self, call: EndedCall) -> None:
        """Take note of a call, without waiting for anything."""
        ...


class Observers(NamedTuple):
    """Who is told of which calls: of all, or of those that failed for a reason of ours."""

    all: tuple[Observer, ...] = ()
    failed: tuple[Observer, ...] = ()

    def tell(self, call: EndedCall) -> None:
        """Tell those who are to know of a call that has ended."""
        for observer in self.all:
            observer.record(call)
        for observer in self.failed if call.reason else ():
            observer.record(call)
