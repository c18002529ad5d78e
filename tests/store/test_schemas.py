"""The way up: from a dump of every schema so far to this program, with nothing lost that was acknowledged.

A new migration needs a dump of its schema: `make schema-dump`.
"""

import json
import logging
import sqlite3
import stat
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from tests.store.contract import saving
from tests.store.sqlite import open_sqlite
from usermeta_server.app import open_app
from usermeta_server.core.profile import identifiers_of
from usermeta_server.errors import OperatorError
from usermeta_server.model import BEGINNING, Document, RequestKey, Scope
from usermeta_server.settings import ServerSettings
from usermeta_server.store.contract import Reads
from usermeta_server.store.predicates import Comparison, DocumentPath, Operator
from usermeta_server.store.sqlite.migrate import migrations
from usermeta_server.store.store import Store

FOLDER: Final = Path(__file__).parent / "schemas"
DUMPS: Final[Mapping[int, Path]] = {int(file.stem): file for file in sorted(FOLDER.glob("*.sql"))}
NEWEST: Final = migrations()[-1].number
OLDER: Final = [schema for schema in DUMPS if schema != NEWEST]

READ: Final[Mapping[str, Callable[[Any], object]]] = {
    "parts": lambda text: tuple(text.split(",")) if text else (),
    "scopes": lambda text: tuple(Scope[name] for name in text.split()),
    "user_ids": lambda text: tuple(json.loads(text)),
}
"""How columns are read that hold several values."""

Rows = Sequence[Mapping[str, Any]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "usermeta.db"


def load(path: Path, schema: int) -> None:
    """Make a database of a dump, as its program left it, in the place of what is there."""
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(DUMPS[schema].read_text())
        connection.execute("PRAGMA journal_mode = WAL")


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Store]:
    store = await open_sqlite(path)
    try:
        yield store
    finally:
        await store.close()


async def go_up(path: Path) -> None:
    """Open a database, which brings its schema up to date, and close it."""
    async with opened(path):
        pass


def contents(path: Path) -> list[str]:
    """Return a whole database as SQL."""
    with closing(sqlite3.connect(path)) as connection:
        return [*connection.iterdump(), *map(str, connection.execute("PRAGMA user_version"))]


def rows(path: Path, table: str) -> Rows:
    """Return a table's rows by the names of their columns; none if there is no such table."""
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        known = {row[1] for row in connection.execute("PRAGMA table_list")}
        return [dict(row) for row in connection.execute(f"SELECT * FROM {table}")] if table in known else []  # noqa: S608  # ours


def schema_of(connection: sqlite3.Connection) -> set[tuple[str, str]]:
    return set(connection.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL"))


def kept_fields(row: Mapping[str, Any], record: Any) -> Iterator[tuple[str, Any, Any]]:  # noqa: ANN401  # any named tuple
    """Yield what a row and a record both have, by name."""
    for name, value in row.items():
        if name in record._fields:
            yield name, READ[name](value) if name in READ else value, getattr(record, name)


def test_every_schema_has_a_dump() -> None:
    assert list(DUMPS) == [step.number for step in migrations()]


@pytest.mark.parametrize("schema", DUMPS)
def test_a_dump_is_what_the_migrations_up_to_it_make(schema: int) -> None:
    """And it has something in every table."""
    with closing(sqlite3.connect(":memory:")) as dumped, closing(sqlite3.connect(":memory:")) as made:
        dumped.executescript(DUMPS[schema].read_text())
        for step in migrations()[:schema]:
            made.executescript(step.sql)
        assert schema_of(dumped) == schema_of(made)
        for name, sql in schema_of(dumped):
            if sql.startswith("CREATE TABLE"):
                assert dumped.execute(f"SELECT count(*) > 0 FROM {name}").fetchone() == (1,), name  # noqa: S608  # ours


@pytest.mark.parametrize("schema", DUMPS)
async def test_what_was_acknowledged_is_the_same_after_the_way_up(path: Path, schema: int) -> None:
    """Users by id and by every identifier, keys, sign-ups, remembered requests, indexes, and history."""
    load(path, schema)
    names = ("users", "secret_keys", "signing_keys", "sign_ups", "requests", "secrets", "changes", "metadata_indexes")
    old = {name: rows(path, name) for name in names}
    async with opened(path) as store:
        users = {user.id: user for user in await store.users_after("", 1000)}
        pairs: list[tuple[Rows, dict[Any, Any]]] = [
            (old["users"], users),
            (old["secret_keys"], {key.id: key for key in await store.secret_keys()}),
            (old["signing_keys"], {key.id: key for key in await store.signing_keys()}),
            (old["sign_ups"], {each.id: each for each in await store.sign_ups("", 1000)}),
            (old["changes"], {each.id: each for each in await store.changes_after(BEGINNING, 1000)}),
        ]
        for before, after in pairs:
            assert [row["id"] for row in before] == list(after)
            for row in before:
                for name, was, is_now in kept_fields(row, after[row["id"]]):
                    assert is_now == was, (row["id"], name)
        for user in users.values():
            for identifier in identifiers_of(user):
                assert await store.user_by(identifier) == user
        await compare_transaction(store, old)
        await compare_history(store, old["changes"])
        assert [list(index.path) for index in store.metadata_indexes()] == [
            json.loads(row["path"]) for row in old["metadata_indexes"]
        ]
        is_pro = Comparison(DocumentPath(Document.PUBLIC, ("plan",)), Operator.EQUAL, "pro")
        assert await store.count_users(is_pro) == 1
        versions = [row["version"] for row in (*old["users"], *old["sign_ups"])] + [row["id"] for row in old["changes"]]
        assert (await store.write(*saving("user_new"))).version > max(versions)


async def compare_transaction(store: Store, old: Mapping[str, Rows]) -> None:
    """See that a transaction finds the requests that were remembered, and the store's own secrets."""
    requests = {RequestKey(row["principal"], row["request_id"]): row for row in old["requests"]}
    secrets = {row["name"]: row["value"] for row in old["secrets"]}
    reads = Reads(requests=tuple(requests), secrets=tuple(secrets))
    found = await store.write(
        reads,
        lambda draft: (
            {key: draft.requests.get(key) for key in requests},
            {name: draft.secrets.get(name) for name in secrets},
        ),
    )
    assert found[1] == secrets
    for key, row in requests.items():
        for name, was, is_now in kept_fields(row, found[0][key]):
            assert is_now == was, (key, name)


async def compare_history(store: Store, changes: Rows) -> None:
    """See that each change says what the user was after it, column by column."""
    for row in changes:
        change = await store.find_change(row["user_id"], row["id"])
        assert change is not None
        state = json.loads(row["state"]) if row["state"] else []
        assert list(change.after or ())[: len(state)] == state
        assert change.id in [each.id for each in await store.user_changes(row["user_id"], 0, 1000)]


@pytest.mark.parametrize("schema", DUMPS)
async def test_the_whole_service_begins_on_every_schema(path: Path, schema: int) -> None:
    """With the keys, and the session keys, that were there."""
    load(path, schema)
    keys = {row["id"] for row in rows(path, "secret_keys")}
    async with open_app(ServerSettings(database_url=path)) as app:
        assert {key.id for key in await app.use_cases.secret_keys.list("", 1000)} == keys


# What is kept


@pytest.mark.parametrize("schema", OLDER)
async def test_before_its_schema_changes_the_database_is_kept(
    path: Path, schema: int, caplog: pytest.LogCaptureFixture
) -> None:
    """As it was, one file, for its owner only; the log says where. The program before opens it."""
    load(path, schema)
    before = contents(path)
    with caplog.at_level(logging.INFO):
        await go_up(path)
    kept = path.with_name(f"usermeta.db.schema-{schema}.bak")
    assert {file.name for file in path.parent.iterdir()} == {"usermeta.db", "usermeta.db.lock", kept.name}
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert contents(kept) == before
    assert [str(kept) in record.getMessage() for record in caplog.records] == [True]


async def test_a_database_that_is_new_or_up_to_date_is_not_copied(path: Path) -> None:
    for _ in range(2):
        await go_up(path)
    assert {file.name for file in path.parent.iterdir()} == {"usermeta.db", "usermeta.db.lock"}


async def test_a_copy_of_the_same_schema_is_replaced(path: Path) -> None:
    """Who went back to the program before, wrote with it, and comes up again, has what they wrote in the copy."""
    for name in ("first", "second"):
        load(path, OLDER[-1])
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE users SET first_name = ?", (name,))
        await go_up(path)
        kept = path.with_name(f"usermeta.db.schema-{OLDER[-1]}.bak")
        assert {row["first_name"] for row in rows(kept, "users")} == {name}


class Failing(sqlite3.Connection):
    """A connection whose backup meets a full disk when it is half done."""

    def backup(self, target: sqlite3.Connection, **_: Any) -> None:  # noqa: ANN401  # as sqlite3 has it
        target.execute("CREATE TABLE half (id TEXT)")
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error


class Incomplete(sqlite3.Connection):
    """A connection whose backup leaves rows out."""

    def backup(self, target: sqlite3.Connection, **_: Any) -> None:  # noqa: ANN401  # as sqlite3 has it
        super().backup(target)
        with target:
            target.execute("DELETE FROM users")


@pytest.mark.parametrize(("kind", "said"), [(Failing, "disk is full"), (Incomplete, "another number of rows")])
async def test_without_a_whole_copy_the_schema_stays_as_it_is(
    path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[sqlite3.Connection], said: str
) -> None:
    """The operator is told in a line, nothing half done is left, and with room the way up goes on."""
    load(path, OLDER[-1])
    before = contents(path)
    with monkeypatch.context() as disk:
        disk.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=kind))
        with pytest.raises(OperatorError, match=said) as caught:
            await open_sqlite(path)
    assert f"stays at schema {OLDER[-1]}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert contents(path) == before
    assert {file.name for file in path.parent.iterdir()} == {"usermeta.db", "usermeta.db.lock"}
    await go_up(path)
    assert contents(path.with_name(f"usermeta.db.schema-{OLDER[-1]}.bak")) == before
