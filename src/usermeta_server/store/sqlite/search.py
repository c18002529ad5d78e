"""Looking for users: on connections of its own, within a time limit, so that no scan holds up any other call."""

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiosqlite

from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.model import User
from usermeta_server.store.base import ScanLimitError
from usermeta_server.store.query import DocumentPath, Predicate, UserQuery
from usermeta_server.store.sqlite.queries import Queries, Statement
from usermeta_server.store.sqlite.tables import Row, user_from_row

log = logging.getLogger(__name__)


class Search:
    """Runs queries for users."""

    def __init__(self, connections: Sequence[aiosqlite.Connection], limit: float) -> None:
        """Run as many queries at once as there are connections, each for up to `limit` seconds."""
        self._connections = connections
        self._limit = limit
        self._free: asyncio.Queue[aiosqlite.Connection] = asyncio.Queue()
        for connection in connections:
            self._free.put_nowait(connection)
        self._queries = Queries()

    def use(self, indexes: Mapping[DocumentPath, int]) -> None:
        """Use these indexes from now on."""
        self._queries = Queries(indexes)

    async def page(self, query: UserQuery) -> Sequence[User]:
        """See `Store.find_users`."""
        queries = self._queries
        async with self._connection() as connection:
            counts = await self._probe(connection, queries, query.predicate)
            rows = await self._run(connection, queries.page(query, counts))
        return [user_from_row(row) for row in rows]

    async def count(self, predicate: Predicate) -> int:
        """See `Store.count_users`."""
        queries = self._queries
        async with self._connection() as connection:
            counts = await self._probe(connection, queries, predicate)
            ((count,),) = await self._run(connection, queries.count(predicate, counts))
        return int(count)

    async def _probe(self, connection: aiosqlite.Connection, queries: Queries, predicate: Predicate) -> Sequence[int]:
        probe = queries.probe(predicate)
        return () if probe is None else next(iter(await self._run(connection, probe)))

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[aiosqlite.Connection]:
        connection = await self._free.get()
        try:
            yield connection
        finally:
            self._free.put_nowait(connection)

    async def _run(self, connection: aiosqlite.Connection, statement: Statement) -> Iterable[Row]:
        running: asyncio.Future[Any] = asyncio.ensure_future(
            connection.execute_fetchall(statement.sql, dict(statement.parameters))
        )
        try:
            await asyncio.wait({running}, timeout=self._limit)
        finally:
            # Whoever gave up, the limit or the caller: the connection is free again only when SQLite has stopped.
            if not running.done():
                await connection.interrupt()
                await asyncio.wait({running})
        try:
            rows: Iterable[Row] = running.result()
        except sqlite3.OperationalError as error:
            if "interrupted" in str(error):
                raise ScanLimitError from error
            raise _unavailable(error) from error
        except (sqlite3.Error, ValueError) as error:
            raise _unavailable(error) from error
        return rows

    async def close(self) -> None:
        """Close the connections."""
        for connection in self._connections:
            await connection.close()


def _unavailable(error: Exception) -> UsermetaError:
    log.error("a search failed", exc_info=error)
    return UsermetaError(Reason.STORE_UNAVAILABLE)
