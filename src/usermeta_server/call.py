"""The call that is being served: what everything that is done for it can know, on whichever task that runs."""

from collections.abc import Callable
from contextvars import ContextVar, copy_context
from functools import partial
from typing import TypeVar

from usermeta_server.caller import Caller
from usermeta_server.errors import Reason, UsermetaError

T = TypeVar("T")


class Call:
    """One call that was admitted.

    `start` is when it came (nanoseconds of `time.perf_counter_ns`); `request_id` is the request's own, once that has
    been read, empty if it has none.
    """

    __slots__ = ("caller", "request_id", "start")

    def __init__(self, caller: Caller, start: int) -> None:
        """Tell who called, for what, and when."""
        self.caller = caller
        self.start = start
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


def carried(function: Callable[..., T]) -> Callable[..., T]:
    """Return the function as work of the current call, whichever task runs it later, such as one that empties a queue.

    It sees all context variables as they are now, so a trace that began with the call goes on in it.
    """
    return partial(copy_context().run, function)
