"""What the errors of SQLite and of the system say of a store: one table."""

import errno
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from usermeta_server.errors import UnreachableError
from usermeta_server.store.condition import Cause

_PRIMARY: Final = 0xFF
"""The bits of an extended result code that are its primary code (sqlite.org/rescode.html)."""

_BY_CODE: Final[Mapping[int, Cause]] = {
    sqlite3.SQLITE_BUSY: Cause.LOCKED,
    sqlite3.SQLITE_LOCKED: Cause.LOCKED,
    sqlite3.SQLITE_PROTOCOL: Cause.LOCKED,
    sqlite3.SQLITE_FULL: Cause.DISK_FULL,
    sqlite3.SQLITE_IOERR: Cause.IO_ERROR,
    sqlite3.SQLITE_CANTOPEN: Cause.IO_ERROR,
    sqlite3.SQLITE_READONLY: Cause.IO_ERROR,
    sqlite3.SQLITE_READONLY_DBMOVED: Cause.REPLACED,
    sqlite3.SQLITE_CORRUPT: Cause.DAMAGED,
    sqlite3.SQLITE_NOTADB: Cause.DAMAGED,
}
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class FileReplacedError(Exception):
    """A file of the database is no longer the one that is open."""


class DatabaseDamagedError(Exception):
    """A check found the database damaged."""


def cause_of(error: Exception) -> Cause | None:
    """See `condition.CauseOf`."""
    match error:
        case FileReplacedError():
            return Cause.REPLACED
        case DatabaseDamagedError():
            return Cause.DAMAGED
        case OSError():
            return Cause.DISK_FULL if error.errno in _NO_ROOM else Cause.IO_ERROR
        case sqlite3.Error():
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)  # not every error is SQLite's own
            return _BY_CODE.get(code) or _BY_CODE.get(code & _PRIMARY)
        case _:
            return None


def unusable(path: Path, error: Exception, what: str = "cannot use it") -> UnreachableError:
    """Return what an operator is told of a database that cannot be used."""
    cause = cause_of(error)
    return UnreachableError(f"the database {path}: {what}: {f'{cause.value} ({error})' if cause else error}")
