"""Watching all users, as a backend does."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from usermeta_server.caller import Caller
from usermeta_server.core.query import parse_filter
from usermeta_server.core.tokens import Tokens
from usermeta_server.core.watch.events import Event, Matches, SnapshotEvent, event_of
from usermeta_server.core.watch.hub import Hub, Watch
from usermeta_server.core.watch.own import OwnWatch, ends_with_credential
from usermeta_server.errors import Reason, UsermetaError, invalid
from usermeta_server.model import Change, Position
from usermeta_server.store.evaluation import matcher
from usermeta_server.store.store import Store

if TYPE_CHECKING:
    from usermeta_server.values import Json

_BATCH: Final = 200
"""Changes, or users of a snapshot, that are told of at once: more than one write ever makes."""
_IDLE_SECONDS: Final = 15.0
"""How long a watch is silent before it sends a bookmark."""


class WatchBatch(NamedTuple):
    """What a watcher is told at once, whole writes only, and the token with which it goes on after that."""

    events: Sequence[Event]
    resume_token: str


class _Place(NamedTuple):
    """Where a watch stands: after a change, and within the snapshot after a user (None when that is over)."""

    position: Position
    snapshot_after: str | None


class WatchFilter(NamedTuple):
    """Which users a watch is about: whether a user matches (None: all do), and the filter's canonical text."""

    matches: Matches | None = None
    text: str = ""

    @classmethod
    def of(cls, text: str) -> "WatchFilter":
        """Return what a filter's text means; an empty one is all users.

        Raises:
            UsermetaError: FILTER_INVALID.
        """
        if not text.strip():
            return cls()
        sought = parse_filter(text)
        return cls(matcher(sought.predicate), sought.canonical)


class UsersWatch:
    """One backend's watch of users."""

    def __init__(self, store: Store, hub: Hub, tokens: Tokens, watch: Watch) -> None:
        """Put the parts together; `Watches.users` makes them."""
        self._store = store
        self._hub = hub
        self._tokens = tokens
        self.watch = watch

    async def batches(self, place: _Place, watched: WatchFilter) -> AsyncIterator[WatchBatch]:
        """Yield what there is to tell from a place on, for ever; a batch without events is a bookmark.

        Raises:
            UsermetaError: RESUME_TOKEN_EXPIRED, when what follows was trimmed before it was read; and what ended it.
        """
        async for batch in self._batches(place, watched):
            yield batch
            # The consumer came back for more: so this one was sent.
            self.watch.resume_token = batch.resume_token

    async def _batches(self, place: _Place, watched: WatchFilter) -> AsyncIterator[WatchBatch]:
        yield WatchBatch((), self._token(place, watched))
        async for batch in self._snapshot(place, watched):
            yield batch
        now = asyncio.get_running_loop().time
        position, due = place.position, now() + _IDLE_SECONDS
        while True:
            changes = await self._next(position, due)
            if changes:
                position = changes[-1].position
                self.watch.sequence = position.sequence
            events = [event for change in changes if (event := event_of(change, watched.matches))]
            if events or now() >= due:
                yield WatchBatch(events, self._token(_Place(position, None), watched))
                due = now() + _IDLE_SECONDS
            else:
                await asyncio.sleep(0)

    async def _snapshot(self, place: _Place, watched: WatchFilter) -> AsyncIterator[WatchBatch]:
        after = place.snapshot_after
        while after is not None:
            users = await self._store.users_after(after, _BATCH)
            after = users[-1].id if len(users) == _BATCH else None
            events = [SnapshotEvent(user) for user in users if watched.matches is None or watched.matches(user)]
            yield WatchBatch(events, self._token(_Place(place.position, after), watched))

    async def _next(self, position: Position, due: float) -> Sequence[Change]:
        """Return the changes after a place; none when there are none until `due`, a time of the event loop."""
        while True:
            if self.watch.ended.done():
                raise self.watch.ended.result()
            self.watch.wake.clear()
            changes = self._hub.after(position, _BATCH)
            if changes is None:
                return await self._stored(position)
            self.watch.live, self.watch.sequence = True, position.sequence
            if changes:
                return _whole(changes)
            try:
                async with asyncio.timeout_at(due):
                    await self.watch.wake.wait()
            except TimeoutError:
                return ()

    async def _stored(self, position: Position) -> Sequence[Change]:
        changes = await self._store.changes_after(position, _BATCH)
        # Asked afterwards: as long as the place is kept, nothing after it has been trimmed.
        if not await self._store.is_kept(position):
            raise UsermetaError(Reason.RESUME_TOKEN_EXPIRED)
        return _whole(changes)

    def _token(self, place: _Place, watched: WatchFilter) -> str:
        cursor: Json = [place.position.sequence, place.position.nonce.hex(), place.snapshot_after]
        return self._tokens.make(_bound_to(watched), cursor)


class Watches:
    """Opens watches."""

    def __init__(self, store: Store, hub: Hub, tokens: Tokens) -> None:
        """Watch what passes a hub, on a store that has what went before."""
        self._store = store
        self._hub = hub
        self._tokens = tokens

    @asynccontextmanager
    async def users(
        self, caller: Caller, watched: WatchFilter, resume_token: str, *, snapshot: bool
    ) -> AsyncIterator[tuple[Watch, AsyncIterator[WatchBatch]]]:
        """Open a watch of users, and close it in the end.

        Yields:
            The watch, and what there is to tell.

        Raises:
            UsermetaError: RESUME_TOKEN_INVALID, RESUME_TOKEN_EXPIRED.
        """
        watch = Watch(caller.principal.id)
        self._hub.join(watch)
        try:
            with ends_with_credential(watch, caller, self._store.wall_time()):
                place = await self._place(watched, resume_token, snapshot=snapshot)
                yield watch, UsersWatch(self._store, self._hub, self._tokens, watch).batches(place, watched)
        finally:
            self._hub.leave(watch)

    async def _place(self, watched: WatchFilter, resume_token: str, *, snapshot: bool) -> _Place:
        if not resume_token:
            return _Place(await self._store.newest(), "" if snapshot else None)
        match self._tokens.read(_bound_to(watched), resume_token):
            case [int(sequence), str(nonce), str() | None as after]:
                position = Position(sequence, bytes.fromhex(nonce))
            case _:
                raise invalid("resume_token", "is of another version", reason=Reason.RESUME_TOKEN_INVALID)
        if not await self._store.is_kept(position):
            raise UsermetaError(Reason.RESUME_TOKEN_EXPIRED)
        return _Place(position, after)

    @asynccontextmanager
    async def own(self, caller: Caller) -> AsyncIterator[OwnWatch]:
        """Open a watch of the caller's own user, and close it in the end."""
        user_id = caller.principal.user_id
        watch = Watch(caller.principal.id, by_identity=caller.principal.identity is not None)
        self._hub.join(watch, user_id)
        try:
            with ends_with_credential(watch, caller, self._store.wall_time()):
                yield OwnWatch(self._store, watch, caller)
        finally:
            self._hub.leave(watch, user_id)


def _whole(changes: Sequence[Change]) -> Sequence[Change]:
    """Return changes without those at the end whose write goes on beyond them."""
    end = len(changes)
    while end and not changes[end - 1].last:
        end -= 1
    return changes[:end]


def _bound_to(watched: WatchFilter) -> str:
    return f"WatchUsers {watched.text}"
