"""One transaction in one trip to the connection's thread, with the interpreter's lock let go of for most of it.

The lock is what the event loop and a connection's thread share. Each statement that runs gives it away and has to get
it back, and from a busy event loop that takes milliseconds: so many rows are one statement, and nothing goes back to
the event loop before the commit.
"""

import contextlib
import re
import sqlite3
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, Final

import aiosqlite

from usermeta_server.store.sqlite.tables import Row, Statement

_VALUES: Final = re.compile(r"VALUES (\([?, ]+\))")
_MOST_ROWS: Final = 64
"""Rows of one statement at the most: with powers of two up to here, few statements serve any number of rows."""


class BatchConnection(sqlite3.Connection):
    """A connection that carries out a whole batch; `aiosqlite` hands it over to the connection's thread in one trip."""

    def executemany(self, sql: str, statements: Any, /) -> sqlite3.Cursor:  # noqa: ANN401  # as sqlite3 types rows
        """Run statements as one transaction, all of them or none, if `sql` is `TRANSACTION`; else as sqlite3 does.

        Raises:
            sqlite3.Error: nothing was written, unless it is the commit itself that failed: then the outcome is unknown.
        """
        if sql != TRANSACTION:
            return super().executemany(sql, statements)
        try:
            self.execute("BEGIN IMMEDIATE")
            for statement in statements:
                for text, values in _runs(statement):
                    self.execute(text, values)
            return self.execute("COMMIT")
        except BaseException:
            if self.in_transaction:
                with contextlib.suppress(sqlite3.Error):  # what came first says why
                    self.execute("ROLLBACK")
            raise


TRANSACTION: Final = "a transaction"
"""Stands in the place of SQL for a batch of statements."""


async def open_for_batches(path: Path) -> aiosqlite.Connection:
    """Open a connection to which batches are given.

    Raises:
        sqlite3.Error: the file cannot be opened.
    """
    return await aiosqlite.connect(path, isolation_level=None, factory=BatchConnection)


async def run_batch(connection: aiosqlite.Connection, statements: Sequence[Statement]) -> None:
    """Run statements as one transaction in one trip; see `BatchConnection.executemany`."""
    await connection.executemany(TRANSACTION, statements)


def _runs(statement: Statement) -> Iterator[tuple[str, Row]]:
    """Yield what to execute for all rows of a statement."""
    sql, rows = statement
    if not _VALUES.search(sql):
        yield from ((sql, row) for row in rows)
        return
    done = 0
    while done < len(rows):
        count = min(_MOST_ROWS, 1 << (len(rows) - done).bit_length() - 1)
        yield _for_rows(sql, count), list(chain.from_iterable(rows[done : done + count]))
        done += count


@cache
def _for_rows(sql: str, count: int) -> str:
    """Return a statement for one row of values as one for so many."""
    return _VALUES.sub(lambda found: f"VALUES {', '.join([found[1]] * count)}", sql)
