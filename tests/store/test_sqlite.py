"""What is particular to the store on SQLite: one owner, one writing connection, and a file that can be trusted."""

import json
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import aiosqlite
import pytest

from tests.store.contract import Write, creating, existing, reason_of, saving
from tests.store.sqlite import engine_of, open_sqlite
from tests.support import USER, Clock, allowed
from usermeta_server.clock import wall_clock
from usermeta_server.core.users import erase, new_user
from usermeta_server.errors import OperatorError, Reason
from usermeta_server.ids import Stamp
from usermeta_server.model import BEGINNING, REMEMBERED_FOR, SECOND, Actor, RememberedRequest, RequestKey, User
from usermeta_server.store.contract import Draft, Reads
from usermeta_server.store.sqlite import connections
from usermeta_server.store.sqlite.migrate import Migration, migrations
from usermeta_server.store.store import Store

OWNER = """
import asyncio, sys
from pathlib import Path
from usermeta_server.store.sqlite import SqliteEngine

async def main():
    await SqliteEngine.open(Path(sys.argv[1]))
    print("open", flush=True)
    sys.stdin.read()

asyncio.run(main())
"""
"""A program that opens a store and holds it until it is killed."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "usermeta.db"


@asynccontextmanager
async def opened(path: Path, clock: Callable[[], int] = wall_clock) -> AsyncIterator[Store]:
    store = await open_sqlite(path, clock=clock)
    try:
        yield store
    finally:
        await store.close()


async def refusal(path: Path) -> str:
    """Return why a database is not opened: one line for the operator."""
    with pytest.raises(OperatorError) as caught:
        await open_sqlite(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def execute(path: Path, *statements: str) -> list[Any]:
    """Run statements on a file as any program might, and return the rows of the last one."""
    path.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return [connection.execute(statement).fetchall() for statement in statements][-1]


def elsewhere(path: Path, statement: str) -> str:
    """Run a statement on a file in another process, and return what that says of it."""
    program = f"import sqlite3; sqlite3.connect({str(path)!r}, timeout=0).execute({statement!r})"
    return subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True).stderr  # noqa: S603  # ours


@contextmanager
def other_process(path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a process that owns a database until it is killed, as by the end of the context at the latest."""
    arguments = [sys.executable, "-c", OWNER, str(path)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # noqa: S603  # ours
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"open\n"
            yield process
        finally:
            process.kill()


# Ownership


async def test_a_second_process_is_refused_until_the_owner_is_gone(path: Path) -> None:
    """While one process owns the database another is told so, with its pid; once it was killed, it can open it."""
    with other_process(path) as owner:
        assert f"owned by another process (pid {owner.pid})" in await refusal(path)
        owner.kill()
        owner.wait()
        async with opened(path) as store:
            await store.write(*saving("user_a"))


async def test_a_second_open_in_the_same_process_is_refused(path: Path) -> None:
    """The owner goes on, and after its end the database opens again."""
    async with opened(path) as store:
        assert "owned by another process" in await refusal(path)
        await store.write(*saving("user_a"))
    async with opened(path) as store:
        assert await store.user("user_a") is not None


async def test_a_refused_open_leaves_the_owners_locks_alone(path: Path) -> None:
    """SQLite's own locks, which other programs respect, are still held after somebody else was refused."""
    async with opened(path) as store:
        await store.write(*saving("user_a"))
        await refusal(path)
        assert "database is locked" in elsewhere(path, "PRAGMA journal_mode = DELETE")


def modes(folder: Path) -> dict[str, int]:
    """Return the permissions of a folder and of what is in it, by name."""
    return {each.name: stat.S_IMODE(each.stat().st_mode) for each in (folder, *folder.iterdir())}


async def test_files_are_for_their_owner_only(path: Path) -> None:
    """The folder that was made is 0700, and every file in it 0600."""
    async with opened(path) as store:
        await store.write(*saving("user_a"))
        found = modes(path.parent)
    assert found.pop("data") == 0o700
    assert found == {f"usermeta.db{suffix}": 0o600 for suffix in ("", "-wal", "-shm", ".lock")}


async def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """A folder is no database, and a file is no folder."""
    (tmp_path / "file").write_text("")
    assert "cannot write the database" in await refusal(tmp_path)
    assert "cannot write the database" in await refusal(tmp_path / "file" / "usermeta.db")


# Connections


async def pragma(connection: aiosqlite.Connection, name: str) -> Any:  # noqa: ANN401  # a number or a word
    ((value,),) = await connection.execute_fetchall(f"PRAGMA {name}")
    return value


async def test_one_connection_writes_and_the_others_only_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all connections that are opened, one may write and checkpoint, durably; the others may do neither."""
    made: list[aiosqlite.Connection] = []
    connect = aiosqlite.connect

    def connecting(*args: Any, **kwargs: Any) -> aiosqlite.Connection:  # noqa: ANN401  # as aiosqlite has it
        made.append(connect(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(aiosqlite, "connect", connecting)
    async with opened(path):
        writers = [each for each in made if not await pragma(each, "query_only")]
        readers = [each for each in made if each not in writers]
        assert [await pragma(each, "wal_autocheckpoint") for each in readers] == [0] * len(readers) != []
        assert [await pragma(each, "journal_mode") for each in made] == ["wal"] * len(made)
        (writer,) = writers
        full = 2
        assert await pragma(writer, "synchronous") == full
        assert await pragma(writer, "secure_delete") == 1
        for reader in readers:
            with pytest.raises(sqlite3.OperationalError, match="readonly"):
                await reader.execute_fetchall("DELETE FROM users")


async def test_closing_leaves_one_whole_file(path: Path) -> None:
    """After a clean end everything is in the database itself, and no log of writes remains beside it."""
    async with opened(path) as store:
        await store.write(*saving("user_a"))
    assert set(modes(path.parent)) == {"data", "usermeta.db", "usermeta.db.lock"}
    assert execute(path, "SELECT id FROM users") == [("user_a",)]


async def test_a_sweep_that_fails_is_store_unavailable(path: Path) -> None:
    """As every other method of a store."""
    async with opened(path) as store:
        await engine_of(store)._writing.execute_fetchall("ALTER TABLE requests RENAME TO elsewhere")
        assert await reason_of(store.sweep()) is Reason.STORE_UNAVAILABLE


async def test_the_time_that_orders_does_not_go_back_with_the_clock_and_the_other_does(path: Path) -> None:
    """When the clock is set back, transactions keep the latest time, also after a restart, and know the real one."""
    clock = Clock()
    async with opened(path, clock) as store:
        user = await store.write(*creating("user_a", "ada"))
        clock.turn(-3600)
        for _ in range(2):
            now, wall = await store.write(Reads(), lambda draft: (draft.now, draft.wall))
            assert now == user.create_time
            assert wall <= clock() <= store.wall_time() < now
            assert 0 < store.clock_behind() <= 3600 * SECOND
    async with opened(path, clock) as store:
        assert 0 < store.clock_behind() <= 3600 * SECOND
        assert (await store.write(*creating("user_b", "bob"))).create_time == user.create_time
        clock.turn(3601)
        assert store.clock_behind() == 0
        assert (await store.write(*creating("user_c", "carl"))).create_time > user.create_time


# Migrations

MORE = Migration(9001, "9001_more.sql", "CREATE TABLE more (id TEXT) STRICT; INSERT INTO more VALUES ('a');")
BROKEN = Migration(9002, "9002_broken.sql", "CREATE TABLE half (id TEXT) STRICT; INSERT INTO nowhere VALUES (1);")


def tables(path: Path) -> set[str]:
    return {name for (name,) in execute(path, "SELECT name FROM sqlite_schema WHERE type = 'table'")}


def version(path: Path) -> int:
    ((number,),) = execute(path, "PRAGMA user_version")
    return int(number)


def test_migrations_are_numbered_without_gaps() -> None:
    """Each file has a number of its own, from 1 on."""
    assert [each.number for each in migrations()] == list(range(1, len(migrations()) + 1))
    assert [each.name for each in migrations()] == sorted(each.name for each in migrations())


async def upgrade(path: Path) -> None:
    """Open a database, which brings it up to date, and close it."""
    async with opened(path):
        pass


def run_script(path: Path, script: str) -> None:
    """Run SQL on a database file, as an earlier program did."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)


async def test_an_old_database_gets_every_later_migration(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From every earlier schema, the empty file first, the steps are applied in order, and rows stay."""
    known = migrations()
    for count in range(len(known) + 1):
        old = path.with_name(f"{count}.db")
        if count:
            for step in known[:count]:
                run_script(old, f"{step.sql}\nPRAGMA user_version = {step.number};")
        monkeypatch.setattr(connections, "migrations", lambda: [*known, MORE])
        await upgrade(old)
        assert version(old) == MORE.number
        assert tables(old) >= {"users", "identifiers", "requests", "secret_keys", "signing_keys", "secrets", "more"}
        await upgrade(old)
        assert execute(old, "SELECT * FROM more") == [("a",)]


async def test_a_migration_that_fails_leaves_nothing_of_itself(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The steps before it stand, its own beginning does not, and a mended program goes on from there."""
    known = migrations()
    async with opened(path) as store:
        user = await store.write(*creating("user_a", "ada"))
    monkeypatch.setattr(connections, "migrations", lambda: [*known, MORE, BROKEN])
    assert "nowhere" in await refusal(path)
    assert version(path) == MORE.number
    assert "more" in tables(path)
    assert "half" not in tables(path)
    mended = BROKEN._replace(sql="CREATE TABLE half (id TEXT) STRICT;")
    monkeypatch.setattr(connections, "migrations", lambda: [*known, MORE, mended])
    async with opened(path) as store:
        assert await store.user("user_a") == user
    assert version(path) == mended.number


async def test_what_a_store_of_before_versions_has_stays_right(path: Path) -> None:
    """Its users are told from later ones, its history is read, its requests and sign-ups stay with their users."""
    user = list(USER)[:21]
    with_quote = 'public_metadata."a user_b"'
    script = "".join(f"{step.sql}\nPRAGMA user_version = {step.number};\n" for step in migrations()[:4])
    path.parent.mkdir()
    run_script(path, script)
    marks = ", ".join("?" * 21)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"INSERT INTO users VALUES ({marks})", user)  # noqa: S608  # marks
        connection.execute(
            "INSERT INTO changes VALUES (1, x'00', 7, 'user_1', 1, 'backend', 'b', '', '', 0, ?, 0, 1)",
            (json.dumps(user),),
        )
        for outcome in ("user_1", "user_2 USER_BANNED user_1", "1700000000", with_quote):
            row = ("key", outcome, "m", b"d", outcome, 2**62)
            connection.execute(
                "INSERT INTO requests (principal, request_id, method, digest, outcome, expire_time)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                row,
            )
        for sign_up_id, close_time in (("signup_own", USER.create_time), ("signup_of_the_last", 0)):
            sign_up = [sign_up_id, 1, "complete", *[""] * 2, 0, *[""] * 8, USER.id, 0, 0, 0, 0, close_time, 2**62]
            connection.execute(f"INSERT INTO sign_ups VALUES ({marks})", sign_up)  # noqa: S608  # marks
        connection.commit()
    async with opened(path) as store:
        assert await store.user(USER.id) == USER._replace(create_version=0)
        (change,) = await store.changes_after(BEGINNING, 10)
        assert change.after == USER._replace(create_version=0)
        signed_up = {each.id: each.created_user_id for each in await store.sign_ups("", 10)}
        assert signed_up == {"signup_own": USER.id, "signup_of_the_last": ""}
        again, erased = await store.write(*replacing(USER.id)), "SELECT outcome FROM requests ORDER BY number"
        assert again.create_version > 0
        assert execute(path, erased) == [("1700000000",), (with_quote,)]
        assert await store.user(USER.id) == again


def replacing(user_id: str) -> Write:
    """Return a write that erases a user and makes another with its id, and returns that."""

    def change(draft: Draft) -> User:
        stamp = Stamp(draft.now, real=True, actor=Actor("test", "test"), request_id="")
        user = existing(draft, user_id)
        erase(draft, stamp, user)
        return new_user(draft, stamp, allowed("", {}), user_id)

    return Reads(users=(user_id,)), change


async def test_a_user_that_is_made_again_at_the_same_time_is_kept_as_another(path: Path) -> None:
    """What never changes of a user is written of one that takes the place of another."""
    async with opened(path, lambda: SECOND) as store:
        first = await store.write(*creating("user_a", "ada"))
        again = await store.write(*replacing("user_a"))
        assert again.create_time == first.create_time
        assert again.create_version > first.create_version
    async with opened(path) as store:
        assert await store.user("user_a") == again


async def test_requests_that_a_clock_ahead_let_live_longer_hold_up_no_others(path: Path) -> None:
    """The sweep begins with the oldest, and passes over those that expire later than any does that is made now."""
    clock, day = Clock(), REMEMBERED_FOR // SECOND

    def remember(name: str) -> Write:
        def change(draft: Draft) -> None:
            request = RememberedRequest("/m", b"d", "", draft.wall + REMEMBERED_FOR)
            draft.requests.put(RequestKey("key", name), request)

        return Reads(), change

    async with opened(path, clock) as store:
        clock.turn(10 * day)
        for number in range(5):
            await store.write(*remember(f"ahead {number}"))
        clock.turn(-10 * day)
        await store.write(*remember("late"))
        clock.turn(day - 1)
        assert await store.sweep(2) == 0
        clock.turn(2)
        assert await store.sweep(2) == 1
        clock.turn(10 * day)
        assert [await store.sweep(2) for _ in range(4)] == [2, 2, 1, 0]


# Files that are not ours: each is refused as it is found, byte for byte


def newer(path: Path) -> None:
    execute(path, "CREATE TABLE users (id TEXT)", "PRAGMA user_version = 9999")


def foreign(path: Path) -> None:
    execute(path, "CREATE TABLE songs (id TEXT)")


def foreign_with_a_version(path: Path) -> None:
    execute(path, "CREATE TABLE songs (id TEXT)", "PRAGMA user_version = 1")


def no_database(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"This is not a database. " * 1000)


def contents(path: Path) -> bytes:
    return path.read_bytes()


@pytest.mark.parametrize("make", [newer, foreign, foreign_with_a_version, no_database])
async def test_files_that_are_not_ours_are_refused_and_left_alone(path: Path, make: Any) -> None:  # noqa: ANN401  # above
    """A newer program's database, another program's, and what is no database at all."""
    make(path)
    before = contents(path)
    await refusal(path)
    assert contents(path) == before
    await refusal(path)
