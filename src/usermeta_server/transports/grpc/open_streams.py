"""Streams that anyone may open: how many there may be, and how they end."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from usermeta_server.errors import Reason, UsermetaError


class OpenStreams:
    """The streams of callers without a credential: bounded for all of them together, for nobody knows who they are."""

    def __init__(self, limit: int) -> None:
        """Allow so many at once."""
        self._limit = limit
        self._tasks: set[asyncio.Task[Any]] = set()
        self._ended = False

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Let the task that asks be one of the streams, and end it when they all end.

        Raises:
            UsermetaError: OVERLOADED, when there are too many.
        """
        task = asyncio.current_task()
        if task is None or len(self._tasks) >= self._limit:
            text = f"The server has {self._limit} such streams open, as many as it allows: retry later."
            raise UsermetaError(Reason.OVERLOADED, text, {"limit": str(self._limit)})
        self._tasks.add(task)
        try:
            yield
        except asyncio.CancelledError:
            if not self._ended:
                raise
            task.uncancel()
        finally:
            self._tasks.discard(task)

    def end(self) -> None:
        """End all streams as if they had no more to say."""
        self._ended = True
        for task in self._tasks:
            task.cancel()
