"""Exclusive ownership of a database file, by a lock on a file beside it that is held for life.

On a file beside it, because closing any descriptor of the database itself would drop SQLite's own locks.
"""

import fcntl
import os
from pathlib import Path

from usermeta_server.errors import UnreachableError


class Ownership:
    """The lock that says: this process owns the database."""

    def __init__(self, database: Path) -> None:
        """Take the lock, and make the database's folder and file if need be, readable by this user only.

        Raises:
            UnreachableError: the file cannot be written, or another process owns it.
        """
        try:
            database.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = database.with_name(database.name + ".lock")
            self._descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _not_writable(database, error) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.read(self._descriptor, 32).decode(errors="replace").strip()
            os.close(self._descriptor)
            raise DatabaseOwnedError(f"the database {database} is owned by another process (pid {owner})") from error
        os.truncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
        try:
            os.close(os.open(database, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            self.release()
            raise _not_writable(database, error) from error

    def release(self) -> None:
        """Let go of the lock. The file stays: deleting it would let two processes lock two files."""
        os.close(self._descriptor)


def _not_writable(database: Path, error: OSError) -> UnreachableError:
    return UnreachableError(f"cannot write the database {database}: {error.strerror} ({error.filename})")


class DatabaseOwnedError(UnreachableError):
    """Another process owns the database."""
