"""What tests look at from outside: the rows of a database, the fields of a message."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from google.protobuf.message import Message

SHOWN_ONCE: Final = ("secret", "session_token", "sign_up_token")
"""The fields that only the first reply to a request has."""


_BUILT: Final = ("index_entries", "metadata_indexes")
"""The tables that the server works on while nobody calls."""


def rows(database: Path, *without: str) -> list[str]:
    """Return all that a database holds, as SQL, but for some tables; of its indexes only which there are."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    left_out = tuple(f'INSERT INTO "{table}"' for table in (*without, *_BUILT))
    try:
        lines = [line for line in connection.iterdump() if not line.startswith(left_out)]
        return lines + [str(row) for row in connection.execute("SELECT path, id FROM metadata_indexes ORDER BY path")]
    finally:
        connection.close()


def fields(message: Message, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every populated field of a message that is no document, at any depth, with its path."""
    for field, value in message.ListFields():
        path = f"{prefix}{field.name}"
        yield path, value
        if isinstance(value, Message) and field.name not in {"public_metadata", "private_metadata", "unsafe_metadata"}:
            yield from fields(value, f"{path}.")
