"""The end of a server: calls under way finish, later ones are refused, so that their callers go elsewhere."""

import asyncio
from typing import Final

_LULL_SECONDS: Final = 0.1
"""How long nobody may have called, for nobody to be about to."""
_GATHER_SECONDS: Final = 0.4
"""How long those who do call are kept waiting, until all who retry are there."""
_LOOK_SECONDS: Final = 0.001


class Drain:
    """How many calls are under way, and whether more are taken: `begun` is when they are not."""

    def __init__(self) -> None:
        """Take calls."""
        self.begun = False
        self.under_way = 0
        self._refusing = asyncio.Event()
        self._refusing.set()

    async def hold(self) -> None:
        """Return when it is time to refuse a call; until then it is under way."""
        self.under_way += 1
        try:
            await self._refusing.wait()
        finally:
            self.under_way -= 1

    async def run(self, grace: float) -> None:
        """Take no more calls; return when the connections can be ended, after `grace` seconds at the latest.

        A call that is on the wire when they are ended is lost: gRPC cancels it, and no client retries what is
        CANCELLED. So the last who call wait, all are refused at once, and while they pause before they retry the wire
        is silent.
        """
        deadline = asyncio.get_running_loop().time() + grace
        self.begun = True
        await self._none_under_way(deadline)
        self._refusing.clear()
        await _sleep(_LULL_SECONDS, deadline)
        if self.under_way:
            await _sleep(_GATHER_SECONDS, deadline)
        self._refusing.set()
        await self._none_under_way(deadline)

    async def _none_under_way(self, deadline: float) -> None:
        now = asyncio.get_running_loop().time
        while self.under_way and now() < deadline:  # noqa: ASYNC110  # so that no call has to tell of its end
            await asyncio.sleep(_LOOK_SECONDS)


async def _sleep(seconds: float, deadline: float) -> None:
    await asyncio.sleep(max(min(seconds, deadline - asyncio.get_running_loop().time()), 0))
