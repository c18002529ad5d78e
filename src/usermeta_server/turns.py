"""Work of which only so much is done at once, in turns by whose it is."""

import asyncio
import time
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from usermeta_server.errors import Reason, UsermetaError

_SHARED_FOR: Final = 10.0
"""How long after another's work nobody may have all places (seconds)."""


class Turns:
    """Places for work, and a bounded queue before them.

    Those who wait get a place in turns, each owner one. Who works alone may have all places; while there are others,
    all but one, so that who has long work keeps it from nobody.
    """

    def __init__(self, places: int, room: int, room_each: int) -> None:
        """Let so much work be done at once, and so much wait, of which so much may be one owner's."""
        self._free = places
        self._places = places
        self._room = room
        self._room_each = room_each
        self._working: Counter[str] = Counter()
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._count = 0
        self._last = ""
        self._shared_until = 0.0

    @property
    def idle(self) -> bool:
        """Whether nobody works or waits."""
        return not (self._working or self._waiting)

    @asynccontextmanager
    async def taken(self, owner: str) -> AsyncIterator[None]:
        """Have a place within the context.

        Raises:
            UsermetaError: OVERLOADED, when too many wait.
        """
        if owner != self._last:
            self._shared_until = time.monotonic() + _SHARED_FOR if self._last else 0
            self._last = owner
        if owner not in self._waiting and self._has_place(owner):
            self._take(owner)
        else:
            await self._wait(owner)
        try:
            yield
        finally:
            self._give_back(owner)

    def _has_place(self, owner: str) -> bool:
        each = self._places - (time.monotonic() < self._shared_until)
        return self._free > 0 and self._working.get(owner, 0) < max(each, 1)

    def _take(self, owner: str) -> None:
        self._free -= 1
        self._working[owner] += 1

    async def _wait(self, owner: str) -> None:
        waiting = self._waiting.get(owner, ())
        if self._count >= self._room or len(waiting) >= self._room_each:
            raise UsermetaError(Reason.OVERLOADED)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append(turn)
        self._count += 1
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self._give_back(owner)
            elif turn in self._waiting.get(owner, ()):
                self._waiting[owner].remove(turn)
                self._left(owner)
            raise

    def _left(self, owner: str) -> None:
        """Count one less that waits."""
        self._count -= 1
        if not self._waiting[owner]:
            del self._waiting[owner]

    def _give_back(self, owner: str) -> None:
        self._free += 1
        self._working[owner] -= 1
        if not self._working[owner]:
            del self._working[owner]
        for next_owner in list(self._waiting):
            while self._free and next_owner in self._waiting and self._has_place(next_owner):
                self._waiting.move_to_end(next_owner)
                turn = self._waiting[next_owner].popleft()
                self._left(next_owner)
                if not turn.done():  # else whoever waited has left
                    self._take(next_owner)
                    turn.set_result(None)
                    break
