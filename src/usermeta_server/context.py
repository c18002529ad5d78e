"""What is known of the work under way, such as a trace, where it goes on in another task."""

from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import TypeVar

T = TypeVar("T")


def carried(function: Callable[..., T]) -> Callable[..., T]:
    """Return the function as a part of the work under way, whichever task runs it, such as one that empties a queue.

    It sees all context variables as they are now: the call that is served, and a trace that began with it. It may run
    once at a time.
    """
    return partial(copy_context().run, function)
