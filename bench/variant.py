"""usermeta with its write path changed, to compare: `python bench/variant.py serve …` takes what `usermeta` takes.

In the environment:
- BENCH_BATCH: how many writes share a transaction at the most;
- BENCH_TRIPS: if set, each statement of a transaction is awaited by itself, as programs on aiosqlite usually do;
- BENCH_SYNCHRONOUS: what SQLite's writing connection does before it acknowledges (FULL, NORMAL, OFF).
"""

import os
from collections.abc import Sequence
from typing import Any

from usermeta_server import cli
from usermeta_server.store import writer
from usermeta_server.store.sqlite import connections, engine
from usermeta_server.store.sqlite.tables import Statement


async def write_by_statements(connection: Any, statements: Sequence[Statement]) -> None:  # noqa: ANN401  # aiosqlite's
    """Do what the engine does with a batch, going back to the event loop after every statement."""
    await connection.execute_fetchall("BEGIN IMMEDIATE")
    for sql, rows in statements:
        if rows:
            await connection.executemany(sql, rows)
    await connection.execute_fetchall("COMMIT")


def main() -> None:
    """Change what the environment says, and run the command line."""
    if batch := os.environ.get("BENCH_BATCH"):
        vars(writer)["MAX_BATCH"] = int(batch)
    if os.environ.get("BENCH_TRIPS"):
        vars(engine)["run_batch"] = write_by_statements
    if synchronous := os.environ.get("BENCH_SYNCHRONOUS"):
        pragmas = connections.WRITER_PRAGMAS
        changed = [f"PRAGMA synchronous = {synchronous}" if "synchronous" in each else each for each in pragmas]
        assert changed != list(pragmas) or synchronous == "FULL"
        vars(connections)["WRITER_PRAGMAS"] = tuple(changed)
    cli.main()


if __name__ == "__main__":
    main()
