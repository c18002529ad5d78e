"""Looking for users: on connections of its own, within a time limit, so that no scan holds up any other call."""

import asyncio
import contextlib
import os
import sqlite3
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import aiosqlite

from usermeta_server.model import User
from usermeta_server.store.contract import ScanLimitError
from usermeta_server.store.engine import Indexes
from usermeta_server.store.predicates import Predicate, UserQuery
from usermeta_server.store.sqlite.indexes import ready
from usermeta_server.store.sqlite.selects import Select, Selects
from usermeta_server.store.sqlite.tables import Row, user_from_row

_AGAIN: Final = 0.05
"""Seconds after which a statement that is to end is told so again."""


class SearchPool:
    """Runs queries for users."""

    def __init__(self, connections: Sequence[aiosqlite.Connection], limit: float) -> None:
        """Run as many queries at once as there are connections, each for up to `limit` seconds."""
        self._connections = connections
        self._limit = limit
        self._free: asyncio.Queue[aiosqlite.Connection] = asyncio.Queue()
        for connection in connections:
            self._free.put_nowait(connection)

    async def page(self, query: UserQuery, indexes: Indexes) -> Sequence[User]:
        """See `Engine.find`."""
        rows = await self._find(
            indexes,
            lambda selects: None if selects.is_settled(query) else selects.probe(query.predicate),
            lambda selects, counts: selects.page(query, counts),
        )
        return [user_from_row(row) for row in rows]

    async def count(self, predicate: Predicate, indexes: Indexes) -> int:
        """See `Engine.count`."""
        ((count,),) = await self._find(
            indexes,
            lambda selects: selects.probe(predicate),
            lambda selects, counts: selects.count(predicate, counts),
        )
        return int(count)

    async def _find(
        self,
        indexes: Indexes,
        write_probe: Callable[[Selects], Select | None],
        write: Callable[[Selects, Sequence[int]], Select],
    ) -> Iterable[Row]:
        """Return the rows of the statement that is written by the counts of a probe, if there is one to ask.

        An index that was dropped meanwhile is no longer kept up, so what it said does not count.
        """
        async with self._connection() as connection:
            while True:
                used = ready(indexes())
                selects = Selects(used)
                probe = write_probe(selects)
                counts = () if probe is None else next(iter(await self._run(connection, probe)))
                rows = await self._run(connection, write(selects, counts))
                if used.items() <= ready(indexes()).items():
                    return rows

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[aiosqlite.Connection]:
        connection = await self._free.get()
        try:
            yield connection
        finally:
            self._free.put_nowait(connection)

    async def _run(self, connection: aiosqlite.Connection, statement: Select) -> Iterable[Row]:
        running: asyncio.Future[Any] = asyncio.ensure_future(
            connection.execute_fetchall(statement.sql, dict(statement.parameters))
        )
        try:
            await asyncio.wait({running}, timeout=self._limit)
        finally:
            # Whoever gave up, the limit or the caller: the connection is free again only when SQLite has stopped.
            # A statement that its thread has not begun yet does not hear of it, so it is told again.
            while not running.done():
                await connection.interrupt()
                await asyncio.wait({running}, timeout=_AGAIN)
        try:
            rows: Iterable[Row] = running.result()
        except sqlite3.OperationalError as error:
            if "interrupted" in str(error):
                raise ScanLimitError from error
            raise
        return rows

    async def close(self) -> None:
        """Close the connections, each whatever becomes of the others."""
        async with contextlib.AsyncExitStack() as stack:
            for connection in self._connections:
                stack.push_async_callback(connection.close)


_NICENESS: Final = 10


async def yield_to_others(connection: aiosqlite.Connection) -> None:
    """Let a connection's thread have a processor only when the rest of the server does not need it.

    It is asked for by SQL, because that runs in the thread. Where a system knows no priority of a thread (it is
    Linux's), it stays as it is.
    """

    def renice() -> None:
        with contextlib.suppress(OSError):  # a sandbox may forbid it
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)

    if sys.platform == "linux":  # elsewhere a thread's number may be another process's
        await connection.create_function("renice", 0, renice)
        await connection.execute_fetchall("SELECT renice()")
