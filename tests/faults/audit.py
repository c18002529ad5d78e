"""Whether a database agrees with itself, read by SQL."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from tests.faults.ledger import Fault, Flaw
from usermeta_server.store.sqlite.tables import USER_COLUMNS

_CHANGES: Final = "SELECT id, nonce, user_id, kind, previous FROM changes ORDER BY id"
_STATES: Final = f"""
    SELECT users.id, c.state, {", ".join(f"users.{each.strip()}" for each in USER_COLUMNS.split(","))}
    FROM users LEFT JOIN changes AS c ON c.id = users.version AND c.user_id = users.id
"""  # noqa: S608  # constants
_CONTRADICTIONS: Final = {
    "the history keeps a user that is gone": """
        SELECT DISTINCT user_id FROM changes WHERE state != '' AND user_id NOT IN (SELECT id FROM users)
    """,
    "a user has a change that is newer than the user": """
        SELECT users.id FROM users JOIN changes AS c ON c.user_id = users.id AND c.id > users.version
    """,
    "a name belongs to nobody": """
        SELECT i.user_id FROM identifiers AS i LEFT JOIN users ON users.id = i.user_id WHERE users.id IS NULL
    """,
    "a user's name is not its own": """
        SELECT users.id FROM users LEFT JOIN identifiers AS i ON i.kind = 'username' AND i.user_id = users.id
        WHERE users.username != '' AND i.key IS NOT users.username
    """,
    "a time goes back": """
        SELECT user_id FROM (SELECT user_id, time, lag(time) OVER (ORDER BY id) AS before FROM changes)
        WHERE time < before
    """,
}


def history(database: Path) -> Sequence[tuple[Any, ...]]:
    """Return the history of all users, but for what may be erased of it later."""
    with closing(_read_only(database)) as connection:
        return connection.execute(_CHANGES).fetchall()


def audit(database: Path) -> Iterator[Flaw]:
    """Yield where a database contradicts itself. Its users' names are lower case ASCII."""
    with closing(_read_only(database)) as connection:
        for (text,) in connection.execute("PRAGMA integrity_check"):
            if text != "ok":
                yield Flaw(Fault.TORN, f"integrity_check: {text}")
        for what, sql in _CONTRADICTIONS.items():
            for (user_id,) in connection.execute(sql):
                yield Flaw(Fault.TORN, f"{user_id}: {what}")
        for user_id, state, *row in connection.execute(_STATES):
            if state is None or json.loads(state) != row:
                yield Flaw(Fault.TORN, f"{user_id}: is not what its last change made of it")


def compare(found: Sequence[tuple[Any, ...]], whole: Sequence[tuple[Any, ...]]) -> Iterator[Flaw]:
    """Yield where a history of an earlier moment is not the beginning of the whole one."""
    if list(found) != list(whole[: len(found)]):
        yield Flaw(Fault.TORN, "the history is not the beginning of what it was to be")


def _read_only(database: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    return connection
