"""The engine on SQLite: one connection that writes, others that only read."""

import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator, Hashable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

from usermeta_server.model import BEGINNING, REMEMBERED_FOR, Change, Identifier, MetadataIndex, Position, User
from usermeta_server.store.condition import Cause
from usermeta_server.store.contract import Draft
from usermeta_server.store.engine import Head, Indexes, IndexStep
from usermeta_server.store.predicates import Predicate, UserQuery
from usermeta_server.store.sqlite import causes, log
from usermeta_server.store.sqlite.batch import run_batch
from usermeta_server.store.sqlite.causes import DatabaseDamagedError, unusable
from usermeta_server.store.sqlite.connections import Connections, check, empty_log, open_connections
from usermeta_server.store.sqlite.indexes import statements as entry_statements
from usermeta_server.store.sqlite.indexes import step
from usermeta_server.store.sqlite.ownership import Ownership
from usermeta_server.store.sqlite.search_pool import SearchPool
from usermeta_server.store.sqlite.tables import TABLES, USER_COLUMNS, Row, Statement, table_statements, user_from_row

_USER_BY: Final = f"""
    SELECT {USER_COLUMNS} FROM users WHERE id = (SELECT user_id FROM identifiers WHERE kind = ? AND key = ?)
"""
_DUE_SIGN_UPS: Final = "SELECT id FROM sign_ups WHERE sweep_time <= ? ORDER BY sweep_time LIMIT ?"

_SWEEP_REQUESTS: Final = """
    DELETE FROM requests
    WHERE number IN (SELECT number FROM requests WHERE expire_time <= :latest ORDER BY number LIMIT :limit)
        AND expire_time <= :now
    RETURNING number
"""
"""Looks at the oldest, but for what a clock that was ahead let expire after `latest`: that would hold up the rest."""

_PROBE_BYTES: Final = 1 << 20
_PROBE: Final = (
    Statement("INSERT INTO secrets (name, value) VALUES (?, zeroblob(?))", [("probe", _PROBE_BYTES)]),
    Statement("DELETE FROM secrets WHERE name = ?", [("probe",)]),
)
"""A write that leaves nothing, but needs room: `secure_delete` has its pages written."""


class SqliteEngine:
    """See `engine.Engine`, which this is."""

    exclusive: Final = True

    def __init__(self, ownership: Ownership, connections: Connections, search_seconds: float) -> None:
        """Put the parts together; `open` makes them."""
        self._ownership = ownership
        self._writing = connections.writing
        self._open_writing = connections.open_writing
        self._reading = connections.reading
        self._search = SearchPool(connections.searching, search_seconds)
        self._head: Head | None = None
        self._erasing = False

    @classmethod
    async def open(cls, path: Path, *, search_seconds: float = 5.0, lock_seconds: float = 2.0) -> "SqliteEngine":
        """Open the database, make it or bring its schema up to date.

        Args:
            path: the database's file, or a link to it.
            search_seconds: how long a search may take.
            lock_seconds: how long a write waits for another process that holds the database's lock.

        Raises:
            UnreachableError: not writable, owned by another process, damaged, not a database of ours, or of a newer
                program.
        """
        ownership = Ownership(path)
        async with AsyncExitStack() as opened:
            opened.callback(ownership.release)
            try:
                connections = await open_connections(ownership, lock_seconds, opened)
                ownership.remember_files()
                engine = cls(ownership, connections, search_seconds)
                await engine.begin()
            except (sqlite3.Error, OSError, DatabaseDamagedError) as error:
                raise unusable(path, error) from error
            opened.pop_all()
        return engine

    async def close(self) -> None:
        """See `Engine.close`."""
        async with AsyncExitStack() as steps:
            steps.callback(self._ownership.release)
            steps.push_async_callback(self._close_writing)
            steps.push_async_callback(self._search.close)
            steps.push_async_callback(self._reading.close)

    async def _close_writing(self) -> None:
        try:
            await empty_log(self._writing)
        finally:
            await self._writing.close()

    # Writing

    async def begin(self) -> Head:
        """See `Engine.begin`: nobody else takes turns."""
        if self._head is None:
            ((version, time),) = await self._writing.execute_fetchall(log.NEWEST)
            self._head = Head(version, time)
        return self._head

    async def load(self, table: str, keys: Sequence[Hashable]) -> Mapping[Any, Any]:
        """See `Engine.load`."""
        sql = TABLES[table]
        return dict(map(sql.from_row, await self._writing.execute_fetchall(sql.select, (_as_json(table, keys),))))

    async def apply(self, draft: Draft, indexes: Sequence[MetadataIndex]) -> Sequence[Change]:
        """See `Engine.apply`: one trip to the connection's thread."""
        before, self._head = await self.begin(), None
        changes = [log.placed(change) for change in draft.changes]
        await run_batch(self._writing, _statements(draft, changes, indexes, before.version))
        # Here and not in the connection's thread: each look gives the interpreter's lock away (see batch.py).
        self._ownership.check_files()
        self._head = Head(draft.version, changes[-1].time if changes else before.time)
        self._erasing = self._erasing or bool(draft.erasures)
        return changes

    async def end(self) -> None:
        """See `Engine.end`."""

    # Reading

    async def read(self, table: str, keys: Sequence[Hashable]) -> Mapping[Any, Any]:
        """See `Engine.read`."""
        sql = TABLES[table]
        return dict(map(sql.from_row, await self._fetch(sql.select, (_as_json(table, keys),))))

    async def page(self, table: str, after: str, limit: int) -> Sequence[Any]:
        """See `Engine.page`."""
        sql = TABLES[table]
        rows = await self._fetch(f"SELECT {sql.columns} FROM {table} WHERE id > ? ORDER BY id LIMIT ?", (after, limit))
        return [sql.from_row(row)[1] for row in rows]

    async def everything(self, table: str) -> Sequence[Any]:
        """See `Engine.everything`."""
        sql = TABLES[table]
        return [sql.from_row(row)[1] for row in await self._fetch(f"SELECT {sql.columns} FROM {table}", ())]

    async def user_by(self, identifier: Identifier) -> User | None:
        """See `Engine.user_by`."""
        return next(map(user_from_row, await self._fetch(_USER_BY, identifier)), None)

    async def find(self, query: UserQuery, indexes: Indexes) -> Sequence[User]:
        """See `Engine.find`."""
        return await self._search.page(query, indexes)

    async def count(self, predicate: Predicate, indexes: Indexes) -> int:
        """See `Engine.count`."""
        return await self._search.count(predicate, indexes)

    async def due_sign_ups(self, now: int, limit: int) -> Sequence[str]:
        """See `Engine.due_sign_ups`."""
        return [row[0] for row in await self._fetch(_DUE_SIGN_UPS, (now, limit))]

    async def _fetch(self, sql: str, parameters: Sequence[Any] | dict[str, Any]) -> Iterable[Row]:
        return await self._reading.execute_fetchall(sql, parameters)

    # The log of changes

    async def newest(self) -> Position:
        """See `Engine.newest`."""
        return next((Position(*row) for row in await self._fetch(log.LAST, ())), BEGINNING)

    async def is_kept(self, position: Position) -> bool:
        """See `Engine.is_kept`."""
        return any(row[0] for row in await self._fetch(log.IS_KEPT, position._asdict()))

    async def changes_after(self, position: Position, limit: int) -> Sequence[Change]:
        """See `Engine.changes_after`."""
        return list(map(log.change_from_row, await self._fetch(log.AFTER, (position.sequence, limit))))

    async def find_change(self, user_id: str, change_id: int) -> Change | None:
        """See `Engine.find_change`."""
        return next(map(log.change_from_row, await self._fetch(log.FIND, (change_id, user_id))), None)

    async def user_changes(self, user_id: str, before_id: int, limit: int) -> Sequence[Change]:
        """See `Engine.user_changes`."""
        if before_id:
            found = await self._fetch(log.PREVIOUS, (before_id, user_id))
        else:
            found = await self._fetch(log.CHAIN_OF_USER, {"user_id": user_id})
        start = next((row[0] for row in found), 0)
        return list(map(log.change_from_row, await self._fetch(log.OF_USER, {"start": start or 0, "limit": limit})))

    # Upkeep

    async def sweep(self, now: int, limit: int) -> int:
        """See `Engine.sweep`."""
        parameters = {"limit": limit, "now": now, "latest": now + REMEMBERED_FOR}
        return len(list(await self._writing.execute_fetchall(_SWEEP_REQUESTS, parameters)))

    async def trim(self, older_than: int, keep: int, limit: int) -> int:
        """See `Engine.trim`."""
        parameters = {"older_than": older_than, "keep": keep, "limit": limit}
        async with self._transaction():
            trimmed = list(await self._writing.execute_fetchall(log.TRIM, parameters))
            if trimmed:
                await self._writing.executemany(log.FORGET_ERASED, trimmed)
                await self._writing.execute_fetchall(log.MARK_TRIMMED)
        return len(trimmed)

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[None]:
        await self._writing.execute_fetchall("BEGIN IMMEDIATE")
        try:
            yield
            await self._writing.execute_fetchall("COMMIT")
        except BaseException:
            if self._writing.in_transaction:
                with contextlib.suppress(sqlite3.Error):  # what came first says why
                    await self._writing.execute_fetchall("ROLLBACK")
            raise

    async def build_indexes(self, indexes: Sequence[MetadataIndex], limit: int) -> IndexStep:
        """See `Engine.build_indexes`."""
        return await step(self._writing, indexes, limit)

    async def wipe(self) -> None:
        """See `Engine.wipe`: the write-ahead log still has what was erased from the database."""
        if self._erasing:
            self._erasing = not await empty_log(self._writing)

    # Faults

    def cause_of(self, error: Exception) -> Cause | None:
        """See `Engine.cause_of`."""
        return causes.cause_of(error)

    def check(self) -> None:
        """See `Engine.check`."""
        self._ownership.check_files()

    async def recover(self, cause: Cause) -> None:
        """See `Engine.recover`."""
        await self._writing.close()
        self._writing = await self._open_writing()
        if cause is Cause.IO_ERROR:
            await check(self._writing)
        await run_batch(self._writing, _PROBE)


def _statements(
    draft: Draft, changes: Sequence[Change], indexes: Sequence[MetadataIndex], kept_version: int
) -> Sequence[Statement]:
    """Return what a draft writes; the database knows the version that was given out last before it."""
    written = [each for name in TABLES for each in table_statements(name, draft.tables[name])]
    written += entry_statements(draft.users, indexes)
    written += log.statements(changes, draft.erasures)
    if draft.version != (changes[-1].id if changes else kept_version):
        written.append(Statement(log.KEEP_VERSION, [(draft.version,)]))
    return written


def _as_json(table: str, keys: Sequence[Any]) -> str:
    to_key = TABLES[table].to_key
    return json.dumps([row[0] if len(row) == 1 else row for row in map(to_key, keys)])
