"""A store of an earlier program, whose identifiers were compared otherwise."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from tests.store.sqlite import open_sqlite
from usermeta_server.model import User
from usermeta_server.store.sqlite.tables import TABLES


class Row(NamedTuple):
    """A user of the earlier program: made in the order of `create_time`."""

    id: str
    username: str = ""
    email_address: str = ""
    create_time: int = 1


OLD: Sequence[Row] = (
    Row("user_5", "ad\u00admin", create_time=3),
    Row("user_4", "a\u00addmin", create_time=2),
    Row("user_9", "Admin", create_time=1),
    Row("user_1", "", "a@bücher.de", create_time=5),
    Row("user_2", "", "A@xn--bcher-kva.de", create_time=4),
    Row("user_6", "\u200b", create_time=6),
    Row("user_7", "ada", "ada@example.com", create_time=7),
)
"""`user_9` and `user_2` were made before those who have the same identifiers now; `user_6` has none any more."""


async def make_old(path: Path, rows: Sequence[Row] = OLD) -> None:
    """Make a store of the earlier program with these users."""
    store = await open_sqlite(path)
    await store.close()
    blank = User(*([""] * len(User._fields)))._replace(  # type: ignore[arg-type]  # the numbers follow
        version=1,
        email_address_verified=False,
        banned=False,
        public_metadata="{}",
        private_metadata="{}",
        unsafe_metadata="{}",
        update_time=1,
        visible_update_time=1,
        create_version=0,
    )
    statements: list[tuple[str, Sequence[Any]]] = [
        ("UPDATE folding SET version = 'old'", ()),
        ("UPDATE state SET value = 1 WHERE name = 'version'", ()),
    ]
    for row in rows:
        statements.append((TABLES["users"].upsert, blank._replace(**row._asdict())))
        held = (("username", row.username), ("email_address", row.email_address))
        statements += [
            ("INSERT INTO identifiers VALUES (?, ?, ?)", (kind, text.lower(), row.id)) for kind, text in held if text
        ]
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(*statement)
