"""The contract suite: which engines it runs on, and what its tests share.

The suite is every test here that asks for `open_store`; it states the promises of `store.base`. An engine joins
with one line in `ENGINES`.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import pytest

from tests.support import DEADLINE
from usermeta_server.core.profile import identifier, identifiers, identifiers_of
from usermeta_server.core.users import claim, new_user
from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.ids import Stamp
from usermeta_server.model import Actor, Identifier, IdentifierKind, Scope, SecretKey, User
from usermeta_server.store.base import Mutation, Reads, Store, Transaction
from usermeta_server.store.sqlite import SqliteStore
from usermeta_server.store.sqlite.connections import Writing

T = TypeVar("T")
Write = tuple[Reads, Mutation[Any]]
"""What `Store.write` takes."""


async def _go_on() -> None:
    """Let the engine go on at once."""


class Moments:
    """The moments of an engine's work at which a test can step in; what it raises there, the engine meets."""

    def __init__(self) -> None:
        """Begin without stepping in; the opener says how its engine fails."""
        self.failure: Exception = OSError("the engine failed")
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


class Engine(NamedTuple):
    """An engine under test.

    `open` opens the store that is in a folder, with a cache of so many bytes; its engine comes to the moments.
    `opts_out` names tests that it does not take part in, each with the reason.
    """

    open: Callable[[Path, int, Moments], Awaitable[Store]]
    opts_out: Mapping[str, str] = {}


async def _open_sqlite(folder: Path, cache_bytes: int, moments: Moments) -> Store:
    store = await SqliteStore.open(folder / "usermeta.db", cache_bytes=cache_bytes)
    moments.failure = sqlite3.OperationalError("disk I/O error")
    moments.failure.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
    fetch, open_writing = store._reading.execute_fetchall, store._open_writing

    def step_into(writing: Writing) -> Writing:
        commit = writing.connection.commit

        async def committing() -> None:
            await moments.before_commit()
            await commit()
            await moments.after_commit()

        writing.connection.commit = committing  # type: ignore[method-assign]
        return writing

    async def reopening() -> Writing:
        return step_into(await open_writing())

    async def fetching(sql: str, parameters: Any = None) -> Any:  # noqa: ANN401  # as aiosqlite has it
        rows = await fetch(sql, parameters)
        await moments.after_read()
        return rows

    step_into(Writing(store._writing, store._batches))
    store._open_writing = reopening
    store._reading.execute_fetchall = fetching  # type: ignore[method-assign,assignment]
    return store


ENGINES: Final[Mapping[str, Engine]] = {
    "sqlite": Engine(_open_sqlite),
}


class OpenStore(Protocol):
    """Opens the store of a test, the same one each time, and closes it when its context is left."""

    def __call__(self, *, cache_bytes: int = 1 << 20) -> AbstractAsyncContextManager[Store]:
        """Open it with a cache of so many bytes."""
        ...


# Writes


def _stamp(transaction: Transaction) -> Stamp:
    return Stamp(transaction.now, real=True, actor=Actor("test", "test"), request_id="")


def saving(user_id: str, **fields: str) -> Write:
    """Return a write that makes a user or changes these fields, and returns the user after it."""

    def change(transaction: Transaction) -> User:
        user = transaction.users.get(user_id)
        if user is None:
            return new_user(transaction, _stamp(transaction), fields, user_id)
        after = user._replace(version=transaction.next_version(), **fields)  # type: ignore[arg-type]  # texts only
        transaction.users.put(user_id, after)
        return after

    return Reads(users=(user_id,)), change


def counting(user_id: str) -> Write:
    """Return a write that adds 1 to the number in a user's first name, and returns it."""

    def change(transaction: Transaction) -> int:
        user = transaction.users.get(user_id)
        count = 1 + int(user.first_name if user else 0)
        saving(user_id, first_name=str(count))[1](transaction)
        return count

    return Reads(users=(user_id,)), change


def creating(user_id: str, username: str) -> Write:
    """Return a write that makes a user with a name, as CreateUser does."""
    claimed = identifiers({"username": username})

    def change(transaction: Transaction) -> User:
        user = new_user(transaction, _stamp(transaction), {"username": username}, user_id)
        claim(transaction, user, claimed)
        return user

    return Reads(users=(user_id,), identifiers=claimed), change


def renaming(user_id: str, username: str) -> Write:
    """Return a write that gives a user another name, as UpdateUser does."""
    claimed = identifiers({"username": username})

    def change(transaction: Transaction) -> User:
        user = existing(transaction, user_id)
        after = user._replace(version=transaction.next_version(), username=username)
        transaction.users.put(user_id, after)
        claim(transaction, after, claimed)
        for each in identifiers_of(user):
            transaction.identifiers.put(each, None)
        return after

    return Reads(users=(user_id,), identifiers=claimed), change


def keeping(key_id: str) -> Write:
    """Return a write that keeps a secret key."""

    def change(transaction: Transaction) -> None:
        transaction.secret_keys.put(key_id, SecretKey(key_id, "", (Scope.READ,), b"", transaction.now, 0, 0))

    return Reads(), change


def deleting(user_id: str) -> Write:
    """Return a write that deletes a user with its names, as DeleteUser does, and returns the write's version."""

    def change(transaction: Transaction) -> int:
        for each in identifiers_of(existing(transaction, user_id)):
            transaction.identifiers.put(each, None)
        transaction.users.put(user_id, None)
        return transaction.next_version()

    return Reads(users=(user_id,)), change


def existing(transaction: Transaction, user_id: str) -> User:
    """Return a user that must exist."""
    user = transaction.users.get(user_id)
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
