"""The connections to a database: how they are opened, and what is asked of the file rather than of its tables."""

import asyncio
import logging
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import aiosqlite

from usermeta_server.store.sqlite.batch import open_for_batches
from usermeta_server.store.sqlite.causes import DatabaseDamagedError, unusable
from usermeta_server.store.sqlite.keep import keep_copy
from usermeta_server.store.sqlite.migrate import check_schema, migrate, migrations
from usermeta_server.store.sqlite.ownership import Ownership
from usermeta_server.store.sqlite.refold import add_folds, is_due, refold
from usermeta_server.store.sqlite.search_pool import yield_to_others
from usermeta_server.unicode import FOLD_VERSION

log = logging.getLogger(__name__)

WRITER_PRAGMAS: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA wal_autocheckpoint = 4000",
    "PRAGMA secure_delete = ON",
    "PRAGMA cache_size = -65536",
    # What replaces a row deletes it, and so has the triggers of both.
    "PRAGMA recursive_triggers = ON",
)
# Two connections that may checkpoint one WAL file can corrupt it in the SQLite of most systems (up to 3.51.2).
READER_PRAGMAS: Final = ("PRAGMA query_only = ON", "PRAGMA wal_autocheckpoint = 0", "PRAGMA cache_size = -65536")

_SEARCHES: Final = 2
"""How many searches run at once."""
_CHECK_SECONDS: Final = 5.0
"""How long a database is checked at the most before it is written to again."""
_CHECK_STEPS: Final = 100_000
"""Instructions of SQLite's virtual machine between two looks at the clock."""


class Connections(NamedTuple):
    """The connections to one database: one that writes and what opens it again, one for reads, some for searches."""

    writing: aiosqlite.Connection
    open_writing: Callable[[], Awaitable[aiosqlite.Connection]]
    reading: aiosqlite.Connection
    searching: Sequence[aiosqlite.Connection]


async def open_connections(ownership: Ownership, lock_seconds: float, opened: AsyncExitStack) -> Connections:
    """Open the connections to a database that is owned, whose schema is brought up to date.

    Args:
        ownership: of the database.
        lock_seconds: how long a write waits for another process that holds the database's lock.
        opened: closes what is open by now.

    Raises:
        UnreachableError: it is no database of ours, or of a newer program; or cannot be kept before a migration.
        sqlite3.Error: it cannot be opened.
    """
    open_writing = partial(_open_writing, ownership, lock_seconds)
    writing = await open_writing()
    opened.push_async_callback(writing.close)
    readers: list[aiosqlite.Connection] = []
    while len(readers) < 1 + _SEARCHES:
        readers.append(await _open_reader(ownership.path))
        opened.push_async_callback(readers[-1].close)
    reading, *searching = readers
    for connection in searching:
        await yield_to_others(connection)
    return Connections(writing, open_writing, reading, searching)


async def _open_writing(ownership: Ownership, lock_seconds: float) -> aiosqlite.Connection:
    steps = migrations()
    newest = steps[-1].number
    connection = await open_for_batches(ownership.path)
    try:
        await _set(connection, (f"PRAGMA busy_timeout = {round(lock_seconds * 1000)}",))
        # Looked at before anything is written: a file that is not ours stays as it is.
        version = await check_schema(connection, newest)
        await _set(connection, WRITER_PRAGMAS)
        if 0 < version < newest or (version and await is_due(connection)):
            await _keep(ownership.path, version, newest)
        await migrate(connection, version, steps)
        await add_folds(connection)
        await refold(connection)
    except BaseException:
        await connection.close()
        raise
    return connection


async def _keep(path: Path, version: int, newest: int) -> None:
    try:
        kept = await asyncio.to_thread(keep_copy, path, version)
    except (sqlite3.Error, OSError, DatabaseDamagedError) as error:
        what = f"it stays at schema {version}, because it cannot be copied before it gets schema {newest}"
        raise unusable(path, error, what) from error
    log.info(
        "the database %s gets schema %d and folding %s; as it was, with schema %d, it is kept as %s",
        path,
        newest,
        FOLD_VERSION,
        version,
        kept,
    )


async def _open_reader(path: Path) -> aiosqlite.Connection:
    connection = await aiosqlite.connect(path, isolation_level=None)
    try:
        await _set(connection, READER_PRAGMAS)
        await add_folds(connection)
    except BaseException:
        await connection.close()
        raise
    return connection


async def _set(connection: aiosqlite.Connection, pragmas: Iterable[str]) -> None:
    for pragma in pragmas:
        await connection.execute_fetchall(pragma)


async def empty_log(writing: aiosqlite.Connection) -> bool:
    """Write what the write-ahead log holds into the database, and empty it; return whether that went.

    It does not wait for those who read from the log: they are many, and it is tried again.
    """
    ((timeout,),) = await writing.execute_fetchall("PRAGMA busy_timeout")
    await _set(writing, ("PRAGMA busy_timeout = 0",))
    try:
        ((busy, _, _),) = await writing.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        await _set(writing, (f"PRAGMA busy_timeout = {timeout}",))
    return not busy


async def check(connection: aiosqlite.Connection) -> None:
    """Check a database, as far as that gets in a few seconds.

    Raises:
        DatabaseDamagedError: it is damaged.
        sqlite3.Error: it cannot be read.
    """
    deadline = time.monotonic() + _CHECK_SECONDS
    await connection.set_progress_handler(lambda: time.monotonic() > deadline, _CHECK_STEPS)
    try:
        ((found,),) = await connection.execute_fetchall("PRAGMA quick_check(1)")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        found = "ok"
    finally:
        await connection.set_progress_handler(lambda: None, 0)
    if found != "ok":
        raise DatabaseDamagedError(found)
