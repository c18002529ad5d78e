"""What tests look at from outside: the rows of a database, the fields of a message."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from google.protobuf.message import Message

SHOWN_ONCE: Final = ("secret", "session_token")
"""The fields that only the first reply to a request has."""


def rows(database: Path, *without: str) -> list[str]:
    """Return all that a database holds, as SQL, but for some tables."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        return [
            line for line in connection.iterdump() if not line.startswith(tuple(f'INSERT INTO "{t}"' for t in without))
        ]
    finally:
        connection.close()


def fields(message: Message, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every populated field of a message that is no document, at any depth, with its path."""
    for field, value in message.ListFields():
        path = f"{prefix}{field.name}"
        yield path, value
        if isinstance(value, Message) and field.name not in {"public_metadata", "private_metadata", "unsafe_metadata"}:
            yield from fields(value, f"{path}.")
