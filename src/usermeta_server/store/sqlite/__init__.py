"""The engine on an embedded SQLite file."""

from usermeta_server.store.sqlite.engine import SqliteEngine

__all__ = ["SqliteEngine"]
