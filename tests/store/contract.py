"""The contract suite: which engines it runs on, and what its tests share.

The suite is every test here that asks for `open_store`; it holds the promises that `store.contract` names. An engine
joins with one line in `ENGINES`.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import pytest

from tests.support import DEADLINE, allowed
from usermeta_server.clock import Clock, wall_clock
from usermeta_server.core.profile import identifier, identifiers, identifiers_of
from usermeta_server.core.revision import revise
from usermeta_server.core.users import claim, erase, new_user
from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.ids import Stamp
from usermeta_server.model import (
    Actor,
    Change,
    Identifier,
    IdentifierKind,
    IndexState,
    MetadataIndex,
    Scope,
    SecretKey,
    User,
)
from usermeta_server.store.condition import Cause
from usermeta_server.store.contract import Committed, Draft, Mutation, Reads
from usermeta_server.store.engine import Engine
from usermeta_server.store.memory import MemoryEngine
from usermeta_server.store.sqlite import SqliteEngine
from usermeta_server.store.store import Store

T = TypeVar("T")
Write = tuple[Reads, Mutation[Any]]
"""What `Store.write` takes."""


async def _go_on() -> None:
    """Let the engine go on at once."""


class Moments:
    """The moments of an engine's work at which a test can step in; what it raises there, the engine meets."""

    def __init__(self) -> None:
        """Begin without stepping in."""
        self.failure: Exception = EngineFailedError("the engine failed")
        self.before_commit: Callable[[], Awaitable[None]] = _go_on
        self.after_commit: Callable[[], Awaitable[None]] = _go_on
        self.after_read: Callable[[], Awaitable[None]] = _go_on

    @asynccontextmanager
    async def hold(self, moment: str) -> AsyncIterator[asyncio.Event]:
        """Hold the engine whenever it comes to a moment, which sets the event, until the context is left."""
        reached, gone = asyncio.Event(), asyncio.Event()

        async def wait() -> None:
            reached.set()
            await gone.wait()

        setattr(self, moment, wait)
        try:
            yield reached
        finally:
            setattr(self, moment, _go_on)
            gone.set()

    @contextmanager
    def fail(self, moment: str) -> Iterator[None]:
        """Let the engine fail whenever it comes to a moment, until the context is left."""

        async def fail() -> None:
            raise self.failure

        setattr(self, moment, fail)
        yield
        setattr(self, moment, _go_on)


class EngineFailedError(Exception):
    """What a test lets an engine fail with, which then counts as an error of its disk."""


class Stepped:
    """An engine that comes to the moments of a test: everything else is the engine's own."""

    def __init__(self, engine: Engine, moments: Moments) -> None:
        """Step into an engine's work."""
        self._engine = engine
        self._moments = moments

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # whatever the engine has
        method = getattr(self._engine, name)
        return self._reading(method) if name in _READING else method

    def _reading(self, method: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
        async def read(*arguments: Any) -> T:  # noqa: ANN401  # the method's own
            found = await method(*arguments)
            await self._moments.after_read()
            return found

        return read

    async def apply(self, draft: Draft, indexes: Sequence[MetadataIndex]) -> Sequence[Change]:
        """Commit, between the moments before and after it."""
        await self._moments.before_commit()
        changes = await self._engine.apply(draft, indexes)
        await self._moments.after_commit()
        return changes

    async def recover(self, cause: Cause) -> None:
        """Recover, unless commits fail on."""
        await self._moments.before_commit()
        await self._engine.recover(cause)

    def cause_of(self, error: Exception) -> Cause | None:
        """Take the test's failure for one of the disk."""
        return Cause.IO_ERROR if isinstance(error, EngineFailedError) else self._engine.cause_of(error)


_READING: Final = frozenset({"read", "page", "user_by", "everything"})

Opener = Callable[[], Awaitable[Engine]]
"""Opens the engine of a test, with all that it had when it was closed."""


class EngineUnderTest(NamedTuple):
    """An engine that runs the suite.

    `opener` returns what opens it in a folder. `opts_out` names tests that it does not take part in, with the reasons.
    """

    opener: Callable[[Path], Opener]
    opts_out: Mapping[str, str] = {}


def _memory(_: Path) -> Opener:
    engine = MemoryEngine()

    async def opened() -> MemoryEngine:
        return engine

    return opened


def _sqlite(folder: Path) -> Opener:
    return lambda: SqliteEngine.open(folder / "usermeta.db")


ENGINES: Final[Mapping[str, EngineUnderTest]] = {
    "memory": EngineUnderTest(
        _memory,
        {"test_reads_after_the_end_are_refused_as_unavailable": "what is in memory can be read as long as it is there"},
    ),
    "sqlite": EngineUnderTest(_sqlite),
}


class OpenStore(Protocol):
    """Opens the store of a test, the same one each time, and closes it when its context is left."""

    def __call__(self, *, cache_bytes: int = 1 << 20, clock: Clock = wall_clock) -> AbstractAsyncContextManager[Store]:
        """Open it with a cache of so many bytes, and a clock."""
        ...


# Writes


def _stamp(draft: Draft) -> Stamp:
    return Stamp(draft.now, real=True, actor=Actor("test", "test"), request_id="")


def saving(user_id: str, **fields: str) -> Write:
    """Return a write that makes a user or changes these fields, and returns the user after it."""

    def change(draft: Draft) -> User:
        user = draft.users.get(user_id)
        if user is None:
            return new_user(draft, _stamp(draft), allowed("", fields), user_id)
        after = user._replace(version=draft.next_version(), **fields)  # type: ignore[arg-type]  # texts only
        draft.users.put(user_id, after)
        return after

    return Reads(users=(user_id,)), change


def making(user_id: str) -> Write:
    """Return a write that makes a user without a name, as CreateUser does."""
    return Reads(users=(user_id,)), lambda draft: new_user(draft, _stamp(draft), allowed("", {}), user_id)


def revising(user_id: str, **fields: str) -> Write:
    """Return a write that changes fields and documents of a user, as updates and metadata writes do."""
    write = allowed(user_id, fields)
    return Reads(users=(user_id,)), lambda draft: revise(draft, _stamp(draft), existing(draft, user_id), write)


def erasing(user_id: str) -> Write:
    """Return a write that erases a user without a name, as DeleteUser does."""
    return Reads(users=(user_id,)), lambda draft: erase(draft, _stamp(draft), existing(draft, user_id))


def counting(user_id: str) -> Write:
    """Return a write that adds 1 to the number in a user's first name, and returns it."""

    def change(draft: Draft) -> int:
        user = draft.users.get(user_id)
        count = 1 + int(user.first_name if user else 0)
        saving(user_id, first_name=str(count))[1](draft)
        return count

    return Reads(users=(user_id,)), change


def creating(user_id: str, username: str) -> Write:
    """Return a write that makes a user with a name, as CreateUser does."""
    claimed = identifiers({"username": username})

    def change(draft: Draft) -> User:
        user = new_user(draft, _stamp(draft), allowed("", {"username": username}), user_id)
        claim(draft, user, claimed)
        return user

    return Reads(users=(user_id,), identifiers=claimed), change


def renaming(user_id: str, username: str) -> Write:
    """Return a write that gives a user another name, as UpdateUser does."""
    claimed = identifiers({"username": username})

    def change(draft: Draft) -> User:
        user = existing(draft, user_id)
        after = user._replace(version=draft.next_version(), username=username)
        draft.users.put(user_id, after)
        claim(draft, after, claimed)
        for each in identifiers_of(user):
            draft.identifiers.put(each, None)
        return after

    return Reads(users=(user_id,), identifiers=claimed), change


def keeping(key_id: str) -> Write:
    """Return a write that keeps a secret key."""

    def change(draft: Draft) -> None:
        draft.secret_keys.put(key_id, SecretKey(key_id, "", (Scope.READ,), b"", draft.now, 0, 0))

    return Reads(), change


def deleting(user_id: str) -> Write:
    """Return a write that deletes a user with its names, as DeleteUser does, and returns the write's version."""

    def change(draft: Draft) -> int:
        for each in identifiers_of(existing(draft, user_id)):
            draft.identifiers.put(each, None)
        draft.users.put(user_id, None)
        return draft.next_version()

    return Reads(users=(user_id,)), change


def existing(draft: Draft, user_id: str) -> User:
    """Return a user that must exist."""
    user = draft.users.get(user_id)
    assert user is not None
    return user


async def at_once(store: Store, moments: Moments, writes: Sequence[Write]) -> list[Any]:
    """Do writes that gather while another is committed, so that a batch is made of them; return results and errors."""
    async with moments.hold("before_commit") as reached:
        other = asyncio.create_task(store.write(*saving("user_other")))
        await soon(reached.wait())
        tasks = await started(*(store.write(*write) for write in writes))
    await soon(other)
    return await soon(asyncio.gather(*tasks, return_exceptions=True))


def indexing(path: tuple[str, ...]) -> Write:
    """Return a write that begins an index on a path, as CreateMetadataIndex does."""

    def change(draft: Draft) -> None:
        index = MetadataIndex(path, draft.next_version(), IndexState.BUILDING, "")
        draft.metadata_indexes.put(path, index)

    return Reads(metadata_indexes=(path,)), change


def unindexing(path: tuple[str, ...]) -> Write:
    """Return a write that drops the index on a path."""
    return Reads(metadata_indexes=(path,)), lambda draft: draft.metadata_indexes.put(path, None)


class Recorder:
    """A projection that keeps what it is told, or fails."""

    def __init__(self, *, fails: bool = False) -> None:
        """Begin with nothing."""
        self.committed: list[Committed] = []
        self._fails = fails

    def apply(self, committed: Committed) -> None:
        """Take in a commit."""
        if self._fails:
            raise RuntimeError("a projection failed")
        self.committed.append(committed)


# Waiting


async def soon(awaitable: Awaitable[T]) -> T:
    """Wait for what must not hang."""
    return await asyncio.wait_for(awaitable, DEADLINE)


async def started(*calls: Any) -> "list[asyncio.Task[Any]]":  # noqa: ANN401  # coroutines of any result
    """Start calls, and let each get as far as it can without waiting."""
    tasks = [asyncio.create_task(call) for call in calls]
    await asyncio.sleep(0)
    return tasks


async def reason_of(call: Awaitable[object]) -> Reason:
    """Await a call that must be refused, and return why it was."""
    with pytest.raises(UsermetaError) as caught:
        await soon(call)
    return caught.value.reason


async def recovered(store: Store) -> None:
    """Wait until a store takes writes again."""
    sound = asyncio.Event()
    store.condition.subscribe(lambda cause: None if cause else sound.set())
    if store.condition.cause:
        await soon(sound.wait())


# Reads


def named(username: str) -> Identifier:
    """Return a username as an identifier."""
    return identifier(IdentifierKind.USERNAME, username)


async def every_view(store: Store, user: User) -> list[User | None]:
    """Return a user by every way of reading it (its cached state last, for the others may fill the cache)."""
    return [
        await soon(store.user(user.id)),
        (await soon(store.users([user.id]))).get(user.id),
        await soon(store.user_by(named(user.username))),
        store.cached_user(user.id),
    ]
