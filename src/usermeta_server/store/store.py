"""The one store, over whichever engine: writer, clock, condition, projections, and upkeep in its turn."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Final, TypeVar

from usermeta_server.clock import Clock, wall_clock
from usermeta_server.errors import UsermetaError
from usermeta_server.model import Change, Identifier, MetadataIndex, Position, SecretKey, SigningKey, SignUp, User
from usermeta_server.store.cache import UserCache
from usermeta_server.store.condition import Condition
from usermeta_server.store.contract import Committed, Mutation, Projection, Reads, ScanLimitError
from usermeta_server.store.engine import Engine
from usermeta_server.store.predicates import Predicate, UserQuery
from usermeta_server.store.projections import IndexRegistry, Projections
from usermeta_server.store.writer import BatchWriter

T = TypeVar("T")

LOOK_SECONDS: Final = 1.0
"""How often the store looks whether its rows are where they were, and after a failure whether writes work again."""


class Store:
    """All four sides of a store (`contract`), on one engine; what is not documented here is documented there."""

    def __init__(self, engine: Engine, cache_bytes: int, clock: Clock) -> None:
        """Put the parts together; `open` makes them."""
        self.condition = Condition(engine.cause_of)
        self._engine = engine
        self._clock = clock
        self._users = UserCache(cache_bytes, self._read_users)
        self._indexes = IndexRegistry()
        self._projections = Projections(self._users, self._indexes)
        self._writer = BatchWriter(engine, self._projections, self.condition, clock)
        self._looking: asyncio.Task[None] | None = None
        self._wiping: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, engine: Engine, *, cache_bytes: int = 256 << 20, clock: Clock = wall_clock) -> "Store":
        """Begin to write on an open engine, which is closed with the store, or if that cannot be opened.

        Args:
            engine: what keeps the rows.
            cache_bytes: memory for users at hand, about.
            clock: tells the real time.
        """
        async with AsyncExitStack() as opened:
            opened.push_async_callback(engine.close)
            store = cls(engine, cache_bytes, clock)
            await store._begin()
            opened.pop_all()
        return store

    async def _begin(self) -> None:
        head = await self._engine.begin()
        await self._engine.end()
        self._writer.now = head.time
        self._projections.position = await self._engine.newest()
        self._indexes.replace(await self._engine.everything("metadata_indexes"))
        self._projections.subscribe(self)
        self._writer.start()
        self._looking = asyncio.create_task(self._look_after(), name="usermeta-store")

    async def close(self) -> None:
        """Finish what waits, refuse what comes, and let go of the store, whatever of it fails.

        Raises:
            UsermetaError: STORE_UNAVAILABLE, when it could not be left in order; what was acknowledged is safe.
        """
        if self._looking is not None:
            self._looking.cancel()
        try:
            async with AsyncExitStack() as steps:
                steps.push_async_callback(self._engine.close)
                steps.push_async_callback(self._writer.close)
        except UsermetaError:
            raise
        except Exception as error:
            raise self.condition.met(error, "closing the store") from error
        if self.condition.is_final:
            self.condition.check()

    # Its condition

    async def _look_after(self) -> None:
        """See now and then whether the rows are in their place, and after a failure whether writes work again."""
        while not self.condition.is_final:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                self._engine.check()
                if self.condition.cause is not None:
                    await self._writer.between_batches(self._recover)
            except UsermetaError:
                continue  # the condition has it
            except Exception as error:  # noqa: BLE001  # the condition says what it means
                self.condition.met(error, "looking after the files")

    async def _recover(self) -> None:
        if self.condition.cause is not None:
            await self._engine.recover(self.condition.cause)
            await self._writer.catch_up()
            self.condition.recover()

    # Writer

    async def write(self, reads: Reads, mutation: Mutation[T], *, dry_run: bool = False) -> T:
        """See `contract.Writer`."""
        return await self._writer.write(reads, mutation, dry_run=dry_run)

    # Reader

    def wall_time(self) -> int:
        """See `contract.Reader`."""
        return self._clock()

    def cached_user(self, user_id: str) -> User | None:
        """See `contract.Reader`."""
        return self._users.get(user_id)

    async def user(self, user_id: str) -> User | None:
        """See `contract.Reader`."""
        return await self._users.read(user_id)

    async def users(self, user_ids: Collection[str]) -> Mapping[str, User]:
        """See `contract.Reader`."""
        found = self._users.known(user_ids)
        missing = [user_id for user_id in user_ids if user_id not in found]
        return {**found, **await self._read_users(missing)} if missing else found

    async def _read_users(self, user_ids: Collection[str]) -> Mapping[str, User]:
        return await self._reading(self._engine.read("users", list(user_ids)))

    async def user_by(self, identifier: Identifier) -> User | None:
        """See `contract.Reader`."""
        return await self._reading(self._engine.user_by(identifier))

    async def users_after(self, user_id: str, limit: int) -> Sequence[User]:
        """See `contract.Reader`."""
        return await self._reading(self._engine.page("users", user_id, limit))

    async def find_users(self, query: UserQuery) -> Sequence[User]:
        """See `contract.Reader`."""
        return await self._reading(self._engine.find(query, self.metadata_indexes), "a search")

    async def count_users(self, predicate: Predicate) -> int:
        """See `contract.Reader`."""
        return await self._reading(self._engine.count(predicate, self.metadata_indexes), "a search")

    async def sign_up(self, sign_up_id: str) -> SignUp | None:
        """See `contract.Reader`."""
        return (await self._reading(self._engine.read("sign_ups", [sign_up_id]))).get(sign_up_id)

    async def sign_ups(self, after: str, limit: int) -> Sequence[SignUp]:
        """See `contract.Reader`."""
        return await self._reading(self._engine.page("sign_ups", after, limit))

    async def secret_keys(self, after: str = "", limit: int = 1000) -> Sequence[SecretKey]:
        """See `contract.Reader`."""
        return await self._reading(self._engine.page("secret_keys", after, limit))

    async def signing_keys(self) -> Sequence[SigningKey]:
        """See `contract.Reader`."""
        keys: Sequence[SigningKey] = await self._reading(self._engine.everything("signing_keys"))
        return sorted(keys, key=lambda key: key.create_time, reverse=True)

    def metadata_indexes(self) -> Sequence[MetadataIndex]:
        """See `contract.Reader`."""
        return self._indexes.all

    async def _reading(self, read: Awaitable[T], what: str = "a read") -> T:
        try:
            return await read
        except (UsermetaError, ScanLimitError):
            raise
        except Exception as error:
            raise self.condition.met(error, what) from error

    # ChangeLog

    def subscribe(self, projection: Projection) -> None:
        """See `contract.ChangeLog`."""
        self._projections.subscribe(projection)

    async def newest(self) -> Position:
        """See `contract.ChangeLog`."""
        return await self._reading(self._engine.newest())

    async def is_kept(self, position: Position) -> bool:
        """See `contract.ChangeLog`."""
        return await self._reading(self._engine.is_kept(position))

    async def changes_after(self, position: Position, limit: int) -> Sequence[Change]:
        """See `contract.ChangeLog`."""
        return await self._reading(self._engine.changes_after(position, limit))

    async def find_change(self, user_id: str, change_id: int) -> Change | None:
        """See `contract.ChangeLog`."""
        return await self._reading(self._engine.find_change(user_id, change_id))

    async def user_changes(self, user_id: str, before_id: int, limit: int) -> Sequence[Change]:
        """See `contract.ChangeLog`."""
        return await self._reading(self._engine.user_changes(user_id, before_id, limit))

    # Upkeep

    def clock_behind(self) -> int:
        """See `contract.Upkeep`."""
        return max(self._writer.now - self._clock(), 0)

    async def due_sign_ups(self, now: int, limit: int) -> Sequence[str]:
        """See `contract.Upkeep`."""
        return await self._reading(self._engine.due_sign_ups(now, limit))

    async def sweep(self, limit: int = 1000) -> int:
        """See `contract.Upkeep`."""
        return await self._keep_up(lambda: self._sweep(limit))

    async def _sweep(self, limit: int) -> int:
        await self._engine.wipe()
        return await self._engine.sweep(self._clock(), limit)

    async def trim_changes(self, older_than: int, keep: int, limit: int = 1000) -> int:
        """See `contract.Upkeep`."""
        return await self._keep_up(lambda: self._engine.trim(older_than, keep, limit))

    async def build_indexes(self, limit: int = 200) -> int:
        """See `contract.Upkeep`."""
        return await self._keep_up(lambda: self._build_indexes(limit))

    async def _build_indexes(self, limit: int) -> int:
        step = await self._engine.build_indexes(self._indexes.all, limit)
        if step.built is not None:
            self._projections.apply(Committed(metadata_indexes={step.built.path: step.built}))
        return step.users

    async def _keep_up(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do a step of upkeep, which is a write too."""
        self.condition.check()
        return await self._writer.between_batches(work)

    def apply(self, committed: Committed) -> None:
        """See `contract.Projection`: what was erased is soon taken out of where it still stands."""
        if committed.erasures:
            self._wiping = asyncio.create_task(self._wipe(), name="usermeta-wipe")

    async def _wipe(self) -> None:
        with contextlib.suppress(UsermetaError):  # the sweep does it again, and so does the end
            await self._keep_up(self._engine.wipe)
