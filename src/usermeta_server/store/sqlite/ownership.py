"""Exclusive ownership of a database file, by a lock on a file beside it that is held for life.

On a file beside it, because closing any descriptor of the database itself would drop SQLite's own locks.
"""

import fcntl
import os
from pathlib import Path
from typing import Final

from usermeta_server.errors import UnreachableError
from usermeta_server.store.sqlite.causes import FileReplacedError

_SUFFIXES: Final = ("-wal", "-shm", ".lock")
"""The files beside a database without which it is not whole, or not ours alone."""
_LOG_MAGIC: Final = b"\x37\x7f\x06"
"""How a write-ahead log begins, unless it is empty (SQLite's file format, section 4.1)."""


class Ownership:
    """The lock that says: this process owns the database. Its files are those at `path`, which no link leads to."""

    def __init__(self, database: Path) -> None:
        """Take the lock, and make the database's folder and file if need be, readable by this user only.

        Raises:
            UnreachableError: the file cannot be written, or another process owns it.
        """
        self._given = database.absolute()
        self._identities: dict[str, tuple[int, int]] = {}
        self._log: int | None = None
        try:
            self.path = Path(os.path.realpath(database))
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._descriptor = os.open(_beside(self.path, ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _not_writable(database, error) from error
        try:
            self._take()
        except OSError as error:
            self.release()
            raise _not_writable(database, error) from error
        except BaseException:
            self.release()
            raise

    def _take(self) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.read(self._descriptor, 32).decode(errors="replace").strip()
            raise DatabaseOwnedError(f"the database {self.path} is owned by another process (pid {owner})") from error
        os.truncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        if self.path.stat().st_nlink > 1:
            raise UnreachableError(
                f"the database {self.path} has another name (a hard link), by which another process could own it too:"
                " remove one of the names"
            )

    def remember_files(self) -> None:
        """Take the files that are at the path now for those that are open, once they all are.

        Raises:
            OSError: one is missing.
        """
        paths = (self._given, *(_beside(self.path, suffix) for suffix in _SUFFIXES))
        self._identities = {str(path): _identity(str(path)) for path in paths}
        self._log = os.open(_beside(self.path, "-wal"), os.O_RDONLY | os.O_CLOEXEC)

    def check_files(self) -> None:
        """Check that the files that are open still are those at the path, and begin. It takes some ten microseconds.

        Raises:
            FileReplacedError: one of them was removed, moved, replaced or emptied.
            OSError: a file cannot be looked at.
        """
        for path, identity in self._identities.items():
            try:
                found = _identity(path)
            except FileNotFoundError as error:
                raise FileReplacedError(f"{path} is gone") from error
            if found != identity:
                raise FileReplacedError(f"{path} is another file")
        if not os.stat(self.path).st_size:  # noqa: PTH116  # as in _identity
            raise FileReplacedError(f"{self.path} was emptied")
        # Had somebody emptied the log, we would go on behind a hole.
        if self._log is not None and os.pread(self._log, len(_LOG_MAGIC), 0) not in {b"", _LOG_MAGIC}:
            raise FileReplacedError(f"{_beside(self.path, '-wal')} was emptied")

    def release(self) -> None:
        """Let go of the lock. The file stays: deleting it would let two processes lock two files."""
        os.close(self._descriptor)
        if self._log is not None:
            os.close(self._log)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _identity(path: str) -> tuple[int, int]:
    found = os.stat(path)  # noqa: PTH116  # Path.stat costs four times as much, and this is for every commit
    return found.st_dev, found.st_ino


def _not_writable(database: Path, error: OSError) -> UnreachableError:
    return UnreachableError(f"cannot write the database {database}: {error.strerror} ({error.filename or database})")


class DatabaseOwnedError(UnreachableError):
    """Another process owns the database."""
