"""Numbered SQL migrations: `migrations/NNNN_name.sql`, each run once, in a transaction of its own."""

from collections.abc import Sequence
from importlib.resources import files
from typing import NamedTuple

import aiosqlite

from usermeta_server.errors import UnreachableError


class Migration(NamedTuple):
    """One step of the schema: its number, its file's name, its SQL."""

    number: int
    name: str
    sql: str


def migrations() -> Sequence[Migration]:
    """Return all migrations that this program knows, in order."""
    folder = files(__package__) / "migrations"
    found = sorted((entry.name, entry.read_text("utf-8")) for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [Migration(int(name.split("_", 1)[0]), name, sql) for name, sql in found]


async def check_schema(connection: aiosqlite.Connection, newest: int) -> int:
    """Return the schema that a file has, without changing anything.

    Raises:
        UnreachableError: the file was written by a newer program, or is no database of this program.
    """
    ((version,),) = await connection.execute_fetchall("PRAGMA user_version")
    ((tables,),) = await connection.execute_fetchall("SELECT count(*) FROM sqlite_schema")
    if version > newest:
        raise UnreachableError(
            f"the database has schema {version}, newer than this program's {newest}: run a newer usermeta"
        )
    if version == 0 and tables:
        raise UnreachableError("the file is a database of another program")
    if version:
        names = {row[0] for row in await connection.execute_fetchall("SELECT name FROM sqlite_schema")}
        if not {"state", "users"} <= names:
            raise UnreachableError("the file is a database of another program")
    return int(version)


async def migrate(connection: aiosqlite.Connection, version: int, steps: Sequence[Migration]) -> None:
    """Bring a schema up to the last step."""
    for step in steps:
        if step.number > version:
            await connection.executescript(
                f"BEGIN IMMEDIATE;\n{step.sql}\nPRAGMA user_version = {step.number};\nCOMMIT;"
            )
