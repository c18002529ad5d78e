"""The call that is being served."""

from collections.abc import Sequence
from contextvars import ContextVar
from typing import TypeAlias

from usermeta_server.admission.limits import Lane
from usermeta_server.caller import Caller
from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.policy import Traffic

Forwarded: TypeAlias = Sequence[str | bytes]
"""A call's `x-forwarded-for` headers."""


class Call:
    """One call that was admitted.

    Attributes:
        caller: Who called, for what.
        start: When it came (nanoseconds of `time.perf_counter_ns`).
        traffic: What kind of work it is.
        lane: By which it is limited; None where nothing is, and for an anonymous caller before its address is known.
        forwarded: For whom proxies say they call, if the caller is anonymous.
        request_id: The request's own, once that has been read; empty if it has none.
    """

    __slots__ = ("caller", "forwarded", "lane", "request_id", "start", "traffic")

    def __init__(
        self, caller: Caller, start: int, traffic: Traffic, lane: Lane | None = None, forwarded: Forwarded = ()
    ) -> None:
        """Tell who called, for what, and when, and by what it is limited."""
        self.caller = caller
        self.start = start
        self.traffic = traffic
        self.lane = lane
        self.forwarded = forwarded
        self.request_id = ""


_current: ContextVar[Call] = ContextVar("usermeta_call")


def set_call(call: Call) -> None:
    """Say which call is served, for the rest of this task and what it starts."""
    _current.set(call)


def current_call() -> Call:
    """Return the call that is served.

    Raises:
        UsermetaError: ACCESS_DENIED, when nobody said: what was not admitted may do nothing.
    """
    call = _current.get(None)
    if call is None:
        raise UsermetaError(Reason.ACCESS_DENIED)
    return call
