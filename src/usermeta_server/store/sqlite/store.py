"""The store on SQLite: one connection that writes, others that only read."""

import asyncio
import contextlib
import json
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import chain
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import aiosqlite

from usermeta_server.clock import Clock, wall_clock
from usermeta_server.errors import Reason, UnreachableError, UsermetaError
from usermeta_server.model import (
    REMEMBERED_FOR,
    Change,
    ChangeKind,
    Identifier,
    MetadataIndex,
    SecretKey,
    SigningKey,
    SignUp,
    User,
)
from usermeta_server.store.base import ChangeListener, Mutation, Position, Reads, Transaction
from usermeta_server.store.cache import UserCache
from usermeta_server.store.query import Predicate, UserQuery
from usermeta_server.store.sqlite import history
from usermeta_server.store.sqlite.batch import BatchConnection, Statement, open_for_batches
from usermeta_server.store.sqlite.indexes import Indexes
from usermeta_server.store.sqlite.migrate import check_schema, migrate, migrations
from usermeta_server.store.sqlite.ownership import Ownership
from usermeta_server.store.sqlite.refold import add_folds, refold
from usermeta_server.store.sqlite.search import Search, yield_to_others
from usermeta_server.store.sqlite.tables import (
    SECRET_KEY_COLUMNS,
    SIGN_UP_COLUMNS,
    SIGNING_KEY_COLUMNS,
    TABLES,
    USER_COLUMNS,
    Row,
    secret_key_from_row,
    sign_up_from_row,
    user_from_row,
)
from usermeta_server.store.writer import Writer

T = TypeVar("T")
log = logging.getLogger(__name__)

_WRITER_PRAGMAS: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA wal_autocheckpoint = 4000",
    "PRAGMA secure_delete = ON",
    "PRAGMA cache_size = -65536",
    # What replaces a row deletes it, and so has the triggers of both.
    "PRAGMA recursive_triggers = ON",
    # It is the only one that writes: it never waits for another, and a checkpoint that readers hold up is tried again.
    "PRAGMA busy_timeout = 0",
)
# Two connections that may checkpoint one WAL file can corrupt it in the SQLite of most systems (up to 3.51.2).
_READER_PRAGMAS: Final = ("PRAGMA query_only = ON", "PRAGMA wal_autocheckpoint = 0", "PRAGMA cache_size = -65536")

_SWEEP_REQUESTS: Final = """
    DELETE FROM requests
    WHERE number IN (SELECT number FROM requests WHERE expire_time <= :latest ORDER BY number LIMIT :limit)
        AND expire_time <= :now
    RETURNING number
"""
"""Looks at the oldest, but for what a clock that was ahead let expire after `latest`: that would hold up the rest."""


_SEARCHES: Final = 2
"""How many searches run at once."""


class Connections(NamedTuple):
    """The connections to one database: the one that writes, one for reads, those for searches.

    `batches` is the one that writes, as its thread has it.
    """

    writing: aiosqlite.Connection
    batches: BatchConnection
    reading: aiosqlite.Connection
    searching: Sequence[aiosqlite.Connection]


class SqliteStore:
    """See `store.base.Store`, which this is."""

    def __init__(self, ownership: Ownership, connections: Connections, cache_bytes: int, search_seconds: float) -> None:
        """Put the parts together; `open` makes them."""
        self._ownership = ownership
        self._writing = connections.writing
        self._batches = connections.batches
        self._reading = connections.reading
        self._search = Search(connections.searching, search_seconds)
        self._indexes = Indexes(connections.writing, self._write_batch)
        self._cache = UserCache(cache_bytes, self._fetch_users)
        self._writer = Writer(self)
        self._listeners: list[ChangeListener] = []
        self._key_listeners: list[Callable[[SecretKey], None]] = []
        self._erasing = False
        self._upkeep: asyncio.Task[None] | None = None
        self._version = 0
        self._now = 0
        self._clock: Clock = wall_clock

    @classmethod
    async def open(
        cls, path: Path, *, cache_bytes: int = 256 << 20, search_seconds: float = 5.0, clock: Clock = wall_clock
    ) -> "SqliteStore":
        """Open the database, make it or bring its schema up to date, and begin to write.

        Raises:
            UnreachableError: not writable, owned by another process, no database of ours, or of a newer program.
        """
        ownership = Ownership(path)
        connections: list[aiosqlite.Connection] = []
        try:
            connection, batches = await _open_writer(path)
            connections.append(connection)
            while len(connections) < 2 + _SEARCHES:
                connections.append(await _connect(path, _READER_PRAGMAS))
            for connection in connections[2:]:
                await yield_to_others(connection)
        except BaseException as error:
            for connection in connections:
                await connection.close()
            ownership.release()
            if isinstance(error, sqlite3.Error):
                raise UnreachableError(f"cannot use the database {path}: {error}") from error
            raise
        writing, reading, *searching = connections
        store = cls(ownership, Connections(writing, batches, reading, searching), cache_bytes, search_seconds)
        store._clock = clock
        ((store._version, store._now),) = await writing.execute_fetchall(history.NEWEST)
        await store._reload_indexes()
        store._writer.start()
        return store

    # Time

    def wall_time(self) -> int:
        """See `Store.wall_time`."""
        return self._clock()

    def clock_behind(self) -> int:
        """See `Store.clock_behind`."""
        return max(self._now - self._clock(), 0)

    # Writing

    async def write(self, reads: Reads, mutation: Mutation[T], *, dry_run: bool = False) -> T:
        """See `Store.write`."""
        return await self._writer.write(reads, mutation, dry_run=dry_run)

    async def begin(self) -> Transaction:
        """See `writer.Engine.begin`."""
        wall = self._clock()
        self._now = max(self._now, wall)
        return Transaction(self._now, wall, self._version)

    async def load(self, transaction: Transaction, reads: Sequence[Reads]) -> None:
        """See `writer.Engine.load`; what the cache holds is current, for only this writer changes it."""
        for name, keys in zip(Reads._fields, zip(*reads, strict=True), strict=True):
            if not any(keys):
                continue
            table = transaction.tables[name]
            wanted = table.missing(chain.from_iterable(keys))
            if name == "users":
                cached = {key: user for key in wanted if (user := self._cache.get(key)) is not None}
                table.load(cached, cached)
                wanted = table.missing(wanted)
            if wanted:
                table.load(wanted, await _select(self._writing, name, wanted))

    async def commit(self, transaction: Transaction) -> None:
        """See `writer.Engine.commit`."""
        users = transaction.users.changed
        self._cache.begin_write(users)
        kept_version, self._version = self._version, transaction.version
        try:
            await self._write_batch(self._statements(transaction, kept_version))
        except BaseException:
            self._cache.end_write(dict.fromkeys(users))
            raise
        self._cache.end_write(users)
        self._tell(transaction)
        if transaction.metadata_indexes.changed:
            await self._reload_indexes()

    async def _write_batch(self, statements: Sequence[Statement]) -> None:
        self._batches.batch = statements
        await self._writing.commit()

    def _statements(self, transaction: Transaction, kept_version: int) -> list[Statement]:
        """Return what a transaction writes; the database knows the version that was given out last before it."""
        statements: list[Statement] = []
        for name, sql in TABLES.items():
            changed, loaded = transaction.tables[name].changed, transaction.tables[name].loaded
            if changed:
                gone = [
                    sql.to_key(key)
                    for key, row in changed.items()
                    if row is None or ((before := loaded.get(key)) is not None and sql.is_another(before, row))
                ]
                rows = [sql.to_row(key, row) for key, row in changed.items() if row is not None]
                statements += (Statement(sql.delete, gone), Statement(sql.upsert, rows))
        statements += self._indexes.statements(transaction.users)
        statements += history.statements(transaction.changes)
        if transaction.version != (transaction.changes[-1].id if transaction.changes else kept_version):
            statements.append(Statement(history.KEEP_VERSION, [(transaction.version,)]))
        return statements

    def _tell(self, transaction: Transaction) -> None:
        """Tell the listeners. The write stands by now: what they make of it must not fail its callers."""
        try:
            if transaction.changes:
                for listener in self._listeners:
                    listener(transaction.changes)
            for key in transaction.secret_keys.changed.values():
                for key_listener in self._key_listeners:
                    if key is not None:
                        key_listener(key)
        except Exception:
            log.exception("a listener failed")
        if any(change.kind is ChangeKind.DELETED for change in transaction.changes):
            self._erasing = True
            self._upkeep = asyncio.create_task(self._wipe(), name="usermeta-wipe")

    async def _wipe(self) -> None:
        """Empty the write-ahead log, in which what was erased still stands."""
        with contextlib.suppress(UsermetaError):  # the sweep tries again, and so does the end
            await self._writer.between_batches(self._empty_log)

    async def _empty_log(self) -> None:
        if self._erasing:
            ((busy, _, _),) = await self._writing.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")
            self._erasing = bool(busy)

    async def sweep(self, limit: int = 1000) -> int:
        """See `Store.sweep`."""
        return await self._writer.between_batches(lambda: self._sweep(limit))

    async def _sweep(self, limit: int) -> int:
        await self._empty_log()
        now = self._clock()
        return await self._delete(_SWEEP_REQUESTS, {"limit": limit, "now": now, "latest": now + REMEMBERED_FOR})

    async def _delete(self, sql: str, parameters: Mapping[str, Any]) -> int:
        return len(list(await self._writing.execute_fetchall(sql, dict(parameters))))

    async def build_indexes(self, limit: int = 200) -> int:
        """See `Store.build_indexes`."""
        return await self._writer.between_batches(lambda: self._build_indexes(limit))

    async def _build_indexes(self, limit: int) -> int:
        done = await self._indexes.step(limit)
        self._search.use(self._indexes.ready())
        return done

    async def _reload_indexes(self) -> None:
        await self._indexes.load()
        self._search.use(self._indexes.ready())

    async def trim_changes(self, older_than: int, keep: int, limit: int = 1000) -> int:
        """See `Store.trim_changes`."""
        parameters = {"older_than": older_than, "keep": keep, "limit": limit}
        return await self._writer.between_batches(lambda: self._trim(parameters))

    async def _trim(self, parameters: Mapping[str, int]) -> int:
        async with self._transaction():
            trimmed = list(await self._writing.execute_fetchall(history.TRIM, dict(parameters)))
            if trimmed:
                await self._writing.executemany(history.FORGET_ERASED, trimmed)
                await self._writing.execute_fetchall(history.MARK_TRIMMED)
        return len(trimmed)

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[None]:
        await self._writing.execute_fetchall("BEGIN IMMEDIATE")
        try:
            yield
            await self._writing.execute_fetchall("COMMIT")
        except BaseException:
            if self._writing.in_transaction:
                await self._writing.execute_fetchall("ROLLBACK")
            raise

    # Reading

    def cached_user(self, user_id: str) -> User | None:
        """See `Store.cached_user`."""
        return self._cache.get(user_id)

    async def user(self, user_id: str) -> User | None:
        """See `Store.user`."""
        return await self._cache.read(user_id)

    async def users(self, user_ids: Collection[str]) -> Mapping[str, User]:
        """See `Store.users`."""
        cached = {user_id: self._cache.get(user_id) for user_id in user_ids}
        found = {user_id: user for user_id, user in cached.items() if user is not None}
        missing = [user_id for user_id, user in cached.items() if user is None]
        return {**found, **await self._fetch_users(missing)} if missing else found

    async def user_by(self, identifier: Identifier) -> User | None:
        """See `Store.user_by`."""
        rows = await self._fetch(
            f"SELECT {USER_COLUMNS} FROM users"  # a constant
            " WHERE id = (SELECT user_id FROM identifiers WHERE kind = ? AND key = ?)",
            identifier,
        )
        return next(map(user_from_row, rows), None)

    async def find_users(self, query: UserQuery) -> Sequence[User]:
        """See `Store.find_users`."""
        return await self._search.page(query)

    async def count_users(self, predicate: Predicate) -> int:
        """See `Store.count_users`."""
        return await self._search.count(predicate)

    def metadata_indexes(self) -> Sequence[MetadataIndex]:
        """See `Store.metadata_indexes`."""
        return self._indexes.all

    async def secret_keys(self, after: str = "", limit: int = 1000) -> Sequence[SecretKey]:
        """See `Store.secret_keys`."""
        rows = await self._fetch(
            f"SELECT {SECRET_KEY_COLUMNS} FROM secret_keys WHERE id > ? ORDER BY id LIMIT ?",  # a constant
            (after, limit),
        )
        return [secret_key_from_row(row) for row in rows]

    def subscribe(self, listener: ChangeListener) -> None:
        """See `Store.subscribe`."""
        self._listeners.append(listener)

    def subscribe_to_keys(self, listener: Callable[[SecretKey], None]) -> None:
        """See `Store.subscribe_to_keys`."""
        self._key_listeners.append(listener)

    async def last_change(self) -> Position:
        """See `Store.last_change`."""
        return next((Position(*row) for row in await self._fetch(history.LAST, ())), Position(0, b""))

    async def is_kept(self, position: Position) -> bool:
        """See `Store.is_kept`."""
        rows = await self._fetch(history.IS_KEPT, position._asdict())
        return any(row[0] for row in rows)

    async def find_change(self, change_id: int) -> Change | None:
        """See `Store.find_change`."""
        return next(map(history.change_from_row, await self._fetch(history.FIND, (change_id,))), None)

    async def changes_after(self, change_id: int, limit: int) -> Sequence[Change]:
        """See `Store.changes_after`."""
        return [history.change_from_row(row) for row in await self._fetch(history.AFTER, (change_id, limit))]

    async def user_changes(self, user_id: str, before_id: int, limit: int) -> Sequence[Change]:
        """See `Store.user_changes`."""
        if before_id:
            found = await self._fetch(history.PREVIOUS, (before_id, user_id))
        else:
            found = await self._fetch(history.NEWEST_OF_USER, {"user_id": user_id})
        start = next((row[0] for row in found), 0)
        rows = await self._fetch(history.OF_USER, {"start": start or 0, "limit": limit})
        return [history.change_from_row(row) for row in rows]

    async def users_after(self, user_id: str, limit: int) -> Sequence[User]:
        """See `Store.users_after`."""
        rows = await self._fetch(f"SELECT {USER_COLUMNS} FROM users WHERE id > ? ORDER BY id LIMIT ?", (user_id, limit))
        return [user_from_row(row) for row in rows]

    async def sign_up(self, sign_up_id: str) -> SignUp | None:
        """See `Store.sign_up`."""
        rows = await self._fetch(f"SELECT {SIGN_UP_COLUMNS} FROM sign_ups WHERE id = ?", (sign_up_id,))
        return next(map(sign_up_from_row, rows), None)

    async def sign_ups(self, after: str, limit: int) -> Sequence[SignUp]:
        """See `Store.sign_ups`."""
        rows = await self._fetch(
            f"SELECT {SIGN_UP_COLUMNS} FROM sign_ups WHERE id > ? ORDER BY id LIMIT ?", (after, limit)
        )
        return [sign_up_from_row(row) for row in rows]

    async def sign_ups_to_sweep(self, now: int, limit: int) -> Sequence[str]:
        """See `Store.sign_ups_to_sweep`."""
        rows = await self._fetch(
            "SELECT id FROM sign_ups WHERE sweep_time <= ? ORDER BY sweep_time LIMIT ?", (now, limit)
        )
        return [row[0] for row in rows]

    async def signing_keys(self) -> Sequence[SigningKey]:
        """See `Store.signing_keys`."""
        rows = await self._fetch(
            f"SELECT {SIGNING_KEY_COLUMNS} FROM signing_keys ORDER BY create_time DESC",  # a constant
            (),
        )
        return [SigningKey._make(row) for row in rows]

    async def _fetch(self, sql: str, parameters: Sequence[Any] | dict[str, Any]) -> Iterable[Row]:
        try:
            return await self._reading.execute_fetchall(sql, parameters)
        except (sqlite3.Error, ValueError) as error:  # aiosqlite raises ValueError once it is closed
            log.exception("a read failed")
            raise UsermetaError(Reason.STORE_UNAVAILABLE) from error

    async def _fetch_users(self, user_ids: Collection[str]) -> Mapping[str, User]:
        rows = await self._fetch(TABLES["users"].select, (json.dumps(list(user_ids)),))
        return dict(map(TABLES["users"].from_row, rows))

    async def close(self) -> None:
        """See `Store.close`."""
        await self._writer.close()
        await self._reading.close()
        await self._search.close()
        await self._writing.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")
        await self._writing.close()
        self._ownership.release()


async def _open_writer(path: Path) -> tuple[aiosqlite.Connection, BatchConnection]:
    steps = migrations()
    connection, batches = await open_for_batches(path)
    try:
        # Looked at before anything is written: a file that is not ours stays as it is.
        version = await check_schema(connection, steps[-1].number)
        await _set(connection, _WRITER_PRAGMAS)
        await migrate(connection, version, steps)
        await add_folds(connection)
        await refold(connection)
    except BaseException:
        await connection.close()
        raise
    return connection, batches


async def _connect(path: Path, pragmas: Iterable[str]) -> aiosqlite.Connection:
    connection = await aiosqlite.connect(path, isolation_level=None)
    try:
        await _set(connection, pragmas)
        await add_folds(connection)
    except BaseException:
        await connection.close()
        raise
    return connection


async def _set(connection: aiosqlite.Connection, pragmas: Iterable[str]) -> None:
    for pragma in pragmas:
        await connection.execute_fetchall(pragma)


def _as_json(key: Row) -> object:
    return key[0] if len(key) == 1 else key


async def _select(connection: aiosqlite.Connection, name: str, keys: Sequence[Any]) -> Mapping[Any, Any]:
    sql = TABLES[name]
    rows = await connection.execute_fetchall(sql.select, (json.dumps([_as_json(sql.to_key(key)) for key in keys]),))
    return dict(map(sql.from_row, rows))
