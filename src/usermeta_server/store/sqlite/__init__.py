"""The store on an embedded SQLite file."""

from usermeta_server.store.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
