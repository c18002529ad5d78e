"""Watching one's own user, as a frontend does."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from usermeta_server import policy
from usermeta_server.caller import Caller
from usermeta_server.core.watch.hub import Watch
from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.model import SECOND, User
from usermeta_server.store.contract import Reader


class OwnWatch:
    """One user's watch of themself. It holds no queue: whoever is slow is told only how things are by then."""

    def __init__(self, store: Reader, watch: Watch, caller: Caller) -> None:
        """Put the parts together; `Watches.own` makes them."""
        self._store = store
        self._caller = caller
        self._shown: tuple[object, ...] = ()
        self.watch = watch

    async def next(self) -> User:
        """Return the user: at once the first time, then when something that the user may see has changed.

        Raises:
            UsermetaError: what ended the watch: USER_NOT_FOUND, USER_BANNED, CREDENTIAL_EXPIRED, SHUTTING_DOWN.
        """
        while True:
            if self.watch.ended.done():
                raise self.watch.ended.result()
            self.watch.wake.clear()
            user = policy.admit(self._caller, await self._store.user(self._caller.principal.user_id))
            seen = policy.view(self._caller, user)
            shown = (seen.read("etag"), seen.read("metadata_etags"))
            if shown != self._shown:
                self._shown = shown
                return user
            await self.watch.wake.wait()


@contextmanager
def ends_with_credential(watch: Watch, caller: Caller, now: int) -> Iterator[None]:
    """End a watch when the credential that opened it expires; `now` is the real time (microseconds)."""
    expire_time = caller.principal.expire_time
    if not expire_time:
        yield
        return
    delay = (expire_time - now) / SECOND
    expired = UsermetaError(Reason.CREDENTIAL_EXPIRED)
    timer = asyncio.get_running_loop().call_later(max(delay, 0), watch.end, expired)
    try:
        yield
    finally:
        timer.cancel()
