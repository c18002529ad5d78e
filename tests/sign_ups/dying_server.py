"""A server that kills itself right after its writer has run a certain statement: `dying_server.py DATABASE STATEMENT`.

It prints its port. The statement is given by how its SQL begins; an empty one lets the server live.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from usermeta_server.server import start_server
from usermeta_server.settings import ServerSettings


def dying(run: Callable[..., Awaitable[Any]], last: str) -> Callable[..., Awaitable[Any]]:
    """Return a way to run SQL that is the end of the process once it has run the last statement."""

    async def run_and_die(sql: str, *parameters: Any) -> Any:  # noqa: ANN401  # as aiosqlite has it
        result = await run(sql, *parameters)
        if sql.lstrip().startswith(last):
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return run_and_die


async def serve(database: Path, last: str) -> None:
    """Serve until killed."""
    chosen = ServerSettings(database_url=database, listen="127.0.0.1:0", access_log="off")
    async with start_server(chosen) as server:
        writing: Any = server.app.store._writing  # type: ignore[attr-defined]  # SQLite's
        writing.execute_fetchall = dying(writing.execute_fetchall, last)
        writing.executemany = dying(writing.executemany, last)
        print(server.port, flush=True)  # noqa: T201  # what the test reads
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), sys.argv[2]))
