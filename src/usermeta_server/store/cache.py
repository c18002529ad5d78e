"""The users read last, kept coherent by the writer so that a hit is as good as a read.

From before its commit until after it, what is being written is not served from here, but read from the
engine; and a read that overlaps a commit of its user is neither kept nor shared. So for each user a later read never
returns an older version than an earlier read returned, or than an acknowledged write made.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import contextmanager

from usermeta_server.lru import LruMap
from usermeta_server.model import User
from usermeta_server.store.contract import Committed

_OVERHEAD = 1000
"""Bytes that a cached user costs besides its documents, about."""


class _Read:
    """A read under way, shared by all who ask for that user meanwhile."""

    __slots__ = ("future", "overlaps_write")

    def __init__(self, future: "asyncio.Future[User | None]", *, overlaps_write: bool) -> None:
        self.future = future
        self.overlaps_write = overlaps_write


class UserCache:
    """Users by id, with the reads that fill it."""

    def __init__(self, limit: int, fetch: Callable[[Collection[str]], Awaitable[Mapping[str, User]]]) -> None:
        """Make an empty cache of up to `limit` bytes (about), filled by `fetch`."""
        self._users: LruMap[str, User] = LruMap(limit)
        self._writing: set[str] = set()
        self._reads: dict[str, _Read] = {}
        self._wanted: list[tuple[str, _Read]] = []
        self._fetch = fetch
        self._fetching: asyncio.Task[None] | None = None

    def get(self, user_id: str) -> User | None:
        """Return the user, if it is here."""
        return self._users.get(user_id)

    async def read(self, user_id: str) -> User | None:
        """Return the user from here or from the store; whatever is asked for meanwhile is one query."""
        user = self._users.get(user_id)
        if user is not None:
            return user
        read = self._reads.get(user_id) or self._begin_read(user_id)
        return await asyncio.shield(read.future)

    def _begin_read(self, user_id: str) -> _Read:
        future: asyncio.Future[User | None] = asyncio.get_running_loop().create_future()
        read = _Read(future, overlaps_write=user_id in self._writing)
        if not read.overlaps_write:
            self._reads[user_id] = read
        self._wanted.append((user_id, read))
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.create_task(self._fetch_wanted(), name="usermeta-reader")
        return read

    def known(self, user_ids: Collection[str]) -> dict[str, User]:
        """Return those of the users that are here."""
        found = {user_id: self._users.get(user_id) for user_id in user_ids}
        return {user_id: user for user_id, user in found.items() if user is not None}

    @contextmanager
    def writing(self, user_ids: Collection[str]) -> Iterator[None]:
        """Do not serve these users: they are being committed, until `apply` tells how they are, or that failed."""
        self._writing.update(user_ids)
        for user_id in user_ids:
            self._users.pop(user_id)
            self._detach(user_id)
        try:
            yield
        except BaseException:
            self._serve(dict.fromkeys(user_ids))
            raise

    def apply(self, committed: Committed) -> None:
        """See `contract.Projection`."""
        self._serve(committed.users)

    def _serve(self, users: Mapping[str, User | None]) -> None:
        """Serve these users again, as they were committed; `None` is deleted, or unknown after a failure."""
        self._writing.difference_update(users)
        for user_id, user in users.items():
            self._detach(user_id)
            if user is not None:
                self._keep(user)

    def _detach(self, user_id: str) -> None:
        read = self._reads.pop(user_id, None)
        if read is not None:
            read.overlaps_write = True

    def _keep(self, user: User) -> None:
        documents = len(user.public_metadata) + len(user.private_metadata) + len(user.unsafe_metadata)
        self._users.put(user.id, user, _OVERHEAD + documents)

    async def _fetch_wanted(self) -> None:
        while self._wanted:
            wanted, self._wanted = self._wanted, []
            try:
                users = await self._fetch({user_id for user_id, _ in wanted})
            except Exception as error:  # noqa: BLE001  # it is the readers', who get it
                for user_id, read in wanted:
                    self._finish(user_id, read)
                    read.future.set_exception(error)
                    read.future.exception()  # whoever asked may have gone away: nobody needs to be told then
                continue
            for user_id, read in wanted:
                self._finish(user_id, read)
                user = users.get(user_id)
                read.future.set_result(user)
                if user is not None and not read.overlaps_write:
                    self._keep(user)

    def _finish(self, user_id: str, read: _Read) -> None:
        if self._reads.get(user_id) is read:
            del self._reads[user_id]
