"""What tests of the store on SQLite share."""

from pathlib import Path
from typing import cast

from usermeta_server.clock import Clock, wall_clock
from usermeta_server.store.sqlite import SqliteEngine
from usermeta_server.store.store import Store


async def open_sqlite(path: Path, *, clock: Clock = wall_clock, lock_seconds: float = 2.0) -> Store:
    """Open the store in a file, as the server does."""
    return await Store.open(await SqliteEngine.open(path, lock_seconds=lock_seconds), clock=clock)


def engine_of(store: Store) -> SqliteEngine:
    """Return the engine of a store, to look inside."""
    return cast("SqliteEngine", store._engine)
