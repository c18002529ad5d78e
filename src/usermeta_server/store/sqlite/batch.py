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
from typing import Any, Final, NamedTuple

import aiosqlite

from usermeta_server.store.sqlite.tables import Row

_VALUES: Final = re.compile(r"VALUES (\([?, ]+\))")
_MOST_ROWS: Final = 64
"""Rows of one statement at the most: with powers of two up to here, few statements serve any number of rows."""


class Statement(NamedTuple):
    """A statement, and the rows of values that it is run for. One with `VALUES (?, …)` is run for many rows at once."""

    sql: str
    rows: Sequence[Row]


class BatchConnection(sqlite3.Connection):
    """A connection whose `commit` carries out a whole batch."""

    batch: Sequence[Statement] = ()

    def commit(self) -> None:
        """Run the batch as one transaction: all of it or nothing.

        Raises:
            sqlite3.Error: nothing of it was written, unless it is the commit itself that failed: then, who knows.
        """
        try:
            self.execute("BEGIN IMMEDIATE")
            for statement in self.batch:
                for sql, values in _runs(statement):
                    self.execute(sql, values)
            self.execute("COMMIT")
        except BaseException:
            if self.in_transaction:
                with contextlib.suppress(sqlite3.Error):  # what came first says why
                    self.execute("ROLLBACK")
            raise
        finally:
            self.batch = ()


async def open_for_batches(path: Path) -> tuple[aiosqlite.Connection, BatchConnection]:
    """Open a connection; return it as aiosqlite has it, and as what its thread works on: set `batch`, await `commit`.

    Raises:
        sqlite3.Error: the file cannot be opened.
    """
    made: list[BatchConnection] = []

    def make(*args: Any, **kwargs: Any) -> BatchConnection:  # noqa: ANN401  # as sqlite3 calls it
        made.append(BatchConnection(*args, **kwargs))
        return made[-1]

    connection = await aiosqlite.connect(path, isolation_level=None, factory=make)
    return connection, made[-1]


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
