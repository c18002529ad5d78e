"""Opening a store whose identifiers were folded otherwise: who keeps which, and that nobody is lost."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.old_folds import OLD, Row, make_old
from tests.store.contract import creating, deleting
from tests.store.sqlite import open_sqlite
from usermeta_server.errors import UnreachableError
from usermeta_server.store.sqlite.refold import FUNCTIONS
from usermeta_server.unicode import FOLD_VERSION


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "usermeta.db"


def rows(path: Path, sql: str, *parameters: Any) -> list[Any]:  # noqa: ANN401  # values of SQL
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return connection.execute(sql, parameters).fetchall()


def held(path: Path) -> Mapping[tuple[str, str], str]:
    """Return who holds which identifier."""
    return {(kind, key): user_id for kind, key, user_id in rows(path, "SELECT kind, key, user_id FROM identifiers")}


def usernames(path: Path) -> Mapping[str, str]:
    return dict(rows(path, "SELECT id, username FROM users"))


async def reopen(path: Path) -> None:
    await (await open_sqlite(path)).close()


KEPT = {
    ("username", "admin"): "user_9",
    ("username", "ada"): "user_7",
    ("email_address", "a@xn--bcher-kva.de"): "user_2",
    ("email_address", "ada@example.com"): "user_7",
}


async def test_who_was_made_first_keeps_an_identifier_and_everybody_their_text(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The version is kept then, and the operator is told of those who lost theirs."""
    await make_old(path)
    await reopen(path)
    assert held(path) == KEPT
    assert usernames(path) == {row.id: row.username for row in OLD}
    assert rows(path, "SELECT version FROM folding") == [(FOLD_VERSION,)]
    (told,) = [record.getMessage() for record in caplog.records if "usermeta users conflicts" in record.getMessage()]
    assert told.startswith("4 identifiers ")


async def test_of_two_that_were_made_at_once_the_lower_id_keeps_it(path: Path) -> None:
    await make_old(path, [Row("user_b", "a\u00adb"), Row("user_a", "ab\u200b"), Row("user_c", "AB")])
    await reopen(path)
    assert held(path) == {("username", "ab"): "user_a"}


async def test_a_store_of_this_fold_is_left_alone(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is folded again, so nothing is said again."""
    await make_old(path)
    await reopen(path)
    rows(path, "DELETE FROM identifiers")
    caplog.clear()
    await reopen(path)
    assert held(path) == {}
    assert not caplog.records


async def test_a_later_refold_takes_nothing_from_who_has_it_by_then(path: Path) -> None:
    """A name that its owner gave up was free: whoever took it keeps it, though another with that text is older."""
    await make_old(path)
    store = await open_sqlite(path)
    await store.write(*deleting("user_9"))
    await store.write(*creating("user_new", "admin"))
    await store.close()
    rows(path, "UPDATE folding SET version = 'another'")
    await reopen(path)
    assert held(path) == {**KEPT, ("username", "admin"): "user_new"}


async def test_a_name_that_is_free_goes_to_the_first_whose_text_it_is(path: Path) -> None:
    await make_old(path)
    store = await open_sqlite(path)
    await store.write(*deleting("user_9"))
    await store.close()
    rows(path, "UPDATE folding SET version = 'another'")
    await reopen(path)
    assert held(path) == {**KEPT, ("username", "admin"): "user_4"}


async def test_a_refold_that_fails_leaves_all_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the next one does it."""

    def fail(text: str) -> str:
        raise ValueError(text)

    await make_old(path)
    before = held(path)
    with monkeypatch.context() as patch:
        patch.setitem(FUNCTIONS, "fold_email_address", fail)
        with pytest.raises(UnreachableError, match="cannot use it"):
            await open_sqlite(path)
    assert held(path) == before
    await reopen(path)
    assert held(path) == KEPT


async def test_more_users_than_a_batch_are_folded(path: Path) -> None:
    """Each of a thousand names, half of which are another's by now."""
    count = 1000
    await make_old(
        path,
        [
            row
            for number in range(count)
            for row in (
                Row(f"user_{number:04}_b", f"Zoë\u00ad{number}", create_time=2 * number + 1),
                Row(f"user_{number:04}_a", f"ZOË{number}", create_time=2 * number),
            )
        ],
    )
    await reopen(path)
    assert held(path) == {("username", f"zoë{number}"): f"user_{number:04}_a" for number in range(count)}
