"""The hub: every change passes it, in the order of commits, on its way to those who watch.

It keeps the changes of late, once, for all watches together; a watch is a place in them. So memory is bounded
whatever watchers do, and publishing costs the writer next to nothing. A watch that falls behind what is kept is ended.
While nobody watches all users nothing is kept: whoever comes reads what went before from the store.
"""

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import islice
from operator import attrgetter
from typing import Final

from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.model import Actor, Change, ChangeKind, Position, User
from usermeta_server.policy import VISIBLE, Viewer
from usermeta_server.store.contract import Committed

_SEQUENCE: Final = attrgetter("position.sequence")
_OVERHEAD: Final = 1000
_ENDING: Final = (ChangeKind.BANNED, ChangeKind.DELETED)


class Watch:
    """One watcher: what wakes it, what ends it, and how far it has come.

    `sequence` is that of the last change that it took; `resume_token` is the token of what was sent to it last; it is
    `live` from when it took its first change from the hub.
    """

    def __init__(self, principal_id: str, *, by_identity: bool = False) -> None:
        """Watch for a principal, on the running event loop.

        With `by_identity` the principal is an outside identity, which ends to be the user's with its external id.
        """
        self.principal_id = principal_id
        self.by_identity = by_identity
        self.wake = asyncio.Event()
        self.ended: asyncio.Future[UsermetaError] = asyncio.get_running_loop().create_future()
        self.sequence = 0
        self.resume_token = ""
        self.live = False

    def end(self, error: UsermetaError) -> None:
        """End the watch, if it has not been ended already."""
        if not self.ended.done():
            self.ended.set_result(error)
            self.wake.set()


class Hub:
    """Where changes pass: a projection of the store."""

    def __init__(self, newest: Position, *, max_changes: int = 10_000, max_bytes: int = 64 << 20) -> None:
        """Begin after the newest change that there is, keeping so many changes and bytes (about) at the most."""
        self._changes: deque[Change] = deque()
        self._bytes = 0
        self._floor = newest.sequence
        self._max_changes = max_changes
        self._max_bytes = max_bytes
        self._watches: set[Watch] = set()
        self._own: dict[str, set[Watch]] = {}
        self._closed = False

    def join(self, watch: Watch, user_id: str = "") -> None:
        """Let a watch be woken: by every change, or by those that the user of this id may see.

        Raises:
            UsermetaError: SHUTTING_DOWN.
        """
        if self._closed:
            raise UsermetaError(Reason.SHUTTING_DOWN)
        (self._own.setdefault(user_id, set()) if user_id else self._watches).add(watch)

    def leave(self, watch: Watch, user_id: str = "") -> None:
        """Forget a watch."""
        self._watches.discard(watch)
        own = self._own.get(user_id)
        if own is not None:
            own.discard(watch)
            if not own:
                del self._own[user_id]

    def apply(self, committed: Committed) -> None:
        """See `contract.Projection`: take in the changes, and wake who watches."""
        if committed.changes:
            self._publish(committed.changes)

    def _publish(self, changes: Sequence[Change]) -> None:
        for change in changes if self._own else ():
            own = self._own.get(change.user_id)
            if own:
                shows = change.kind in _ENDING or not VISIBLE[Viewer.SELF].isdisjoint(change.parts)
                for watch in own:
                    if shows or (watch.by_identity and "external_id" in change.parts):
                        watch.wake.set()
        if self._watches:
            self._keep(changes)
        else:
            self._changes.clear()
            self._bytes, self._floor = 0, changes[-1].position.sequence

    def _keep(self, changes: Sequence[Change]) -> None:
        self._changes += changes
        self._bytes += sum(map(_weight, changes))
        self._erase({change.user_id: change.id for change in changes if change.kind is ChangeKind.DELETED})
        self._drop_oldest()
        for watch in self._watches:
            watch.wake.set()

    def _erase(self, tombstones: Mapping[str, int]) -> None:
        """Keep of users that were erased what history keeps: that there were changes, and the tombstones.

        What comes after a tombstone is of another user, that was given the same id.
        """
        if not tombstones:
            return
        for index, change in enumerate(self._changes):
            if change.id < tombstones.get(change.user_id, 0) and change.kind is not ChangeKind.DELETED:
                erased = self._changes[index] = _erased(change)
                self._bytes += _weight(erased) - _weight(change)

    def _drop_oldest(self) -> None:
        floor = self._floor
        while len(self._changes) > self._max_changes or self._bytes > self._max_bytes:
            dropped = self._changes.popleft()
            self._bytes -= _weight(dropped)
            self._floor = dropped.position.sequence
        if self._floor != floor:
            for watch in self._watches:
                if watch.live and watch.sequence < self._floor:
                    watch.end(UsermetaError(Reason.WATCH_TOO_SLOW, metadata={"resume_token": watch.resume_token}))

    def after(self, position: Position, limit: int) -> list[Change] | None:
        """Return up to `limit` changes after a position, None where they are not all kept here any more."""
        if position.sequence < self._floor:
            return None
        start = bisect_right(self._changes, position.sequence, key=_SEQUENCE)
        return list(islice(self._changes, start, start + limit))

    def end(self, principal_id: str, error: UsermetaError) -> None:
        """End the watches of a principal."""
        for watch in self._all():
            if watch.principal_id == principal_id:
                watch.end(error)

    def close(self) -> None:
        """End all watches, and take no more."""
        self._closed = True
        for watch in self._all():
            watch.end(UsermetaError(Reason.SHUTTING_DOWN))

    def _all(self) -> list[Watch]:
        return [*self._watches, *(watch for own in self._own.values() for watch in own)]


def _erased(change: Change) -> Change:
    actor = change.actor
    if actor.principal.startswith("identity:"):
        actor = Actor(actor.audience, "identity:")
    return change._replace(actor=actor, request_id="", parts=(), before=None, after=None, erased=True)


def _weight(change: Change) -> int:
    return _OVERHEAD + _size(change.before) + _size(change.after)


def _size(user: User | None) -> int:
    if user is None:
        return 0
    return len(user.public_metadata) + len(user.private_metadata) + len(user.unsafe_metadata)
