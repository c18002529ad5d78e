"""The copy that is kept of a database before its schema changes, for whoever has to go back to the program before."""

import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Final

from usermeta_server.store.sqlite.causes import DatabaseDamagedError

_TABLES: Final = "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name"


def keep_copy(database: Path, schema: int) -> Path:
    """Copy a database that nobody writes to, beside it, and return the copy's path.

    The copy is one file, checked and synced, that only its owner may read. An earlier one of the same schema is
    replaced, once the new one is whole.

    Raises:
        sqlite3.Error: it cannot be read, or the copy not be written.
        OSError: as above.
        DatabaseDamagedError: the copy is not sound, or lacks rows.
    """
    kept = database.with_name(f"{database.name}.schema-{schema}.bak")
    part = kept.with_name(f"{kept.name}.part")
    part.unlink(missing_ok=True)
    try:
        os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(part)) as copy:
            copy.execute("PRAGMA journal_mode = OFF")  # a journal left behind by a crash would spoil the next copy
            source.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")
            _check(source, copy)
        _sync(part)
        part.rename(kept)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    _sync(kept.parent)
    return kept


def _check(source: sqlite3.Connection, copy: sqlite3.Connection) -> None:
    ((found,),) = copy.execute("PRAGMA quick_check(1)").fetchall()
    if found != "ok":
        raise DatabaseDamagedError(found)
    if _counts(source) != _counts(copy):
        raise DatabaseDamagedError("a copy of it has another number of rows")


def _counts(connection: sqlite3.Connection) -> Mapping[str, int]:
    names = [name for (name,) in connection.execute(_TABLES).fetchall()]
    return {name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in names}


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
