"""A server that kills itself right after its writer has run a certain statement: `dying_server.py DATABASE STATEMENT`.

It prints its port. The statement is given by how its SQL begins; an empty one lets the server live.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.store.sqlite import engine_of
from usermeta_server.server import start_server
from usermeta_server.settings import ServerSettings

Run = Callable[..., Any]


def dying(run: Run, last: str) -> Run:
    """Return a way to run SQL that is the end of the process once it has run the last statement.

    A commit is the last one only behind the sign-up's row: upkeep commits too.
    """
    written = False

    def run_and_die(sql: str, *parameters: Any) -> Any:  # noqa: ANN401  # as sqlite3 has it
        nonlocal written
        result = run(sql, *parameters)
        written = written or "INTO sign_ups" in sql
        if sql.lstrip().startswith(last) and (last != "COMMIT" or written):
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return run_and_die


async def serve(database: Path, last: str) -> None:
    """Serve until killed."""
    chosen = ServerSettings(database_url=database, listen="127.0.0.1:0", access_log="off")
    async with start_server(chosen) as server:
        writing: Any = engine_of(server.app.store)._writing._conn
        writing.execute = dying(writing.execute, last)
        print(server.port, flush=True)  # noqa: T201  # what the test reads
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), sys.argv[2]))
