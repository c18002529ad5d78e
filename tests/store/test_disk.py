"""The store on SQLite when its disk or its files are not what they should be."""

import asyncio
import logging
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing, nullcontext
from pathlib import Path

import pytest

from tests.store.contract import creating, every_view, named, reason_of, recovered, saving, soon
from tests.store.sqlite import engine_of, open_sqlite
from tests.support import DEADLINE
from usermeta_server.errors import OperatorError, Reason, UsermetaError
from usermeta_server.store import store as store_module
from usermeta_server.store.condition import Cause
from usermeta_server.store.predicates import EVERYONE
from usermeta_server.store.sqlite import connections
from usermeta_server.store.sqlite import engine as engine_module
from usermeta_server.store.sqlite.causes import cause_of
from usermeta_server.store.store import Store


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(store_module, "LOOK_SECONDS", 0.01)
    return tmp_path / "usermeta.db"


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Store]:
    """Open a store, and close it; where nothing can be written any more the end says so too."""
    store = await open_sqlite(path)
    try:
        yield store
    finally:
        final = store.condition.is_final
        with pytest.raises(UsermetaError) if final else nullcontext():
            await store.close()


async def cause(call: Awaitable[object]) -> str:
    """Await a call that must be STORE_UNAVAILABLE, and return the cause that its metadata names."""
    with pytest.raises(UsermetaError) as caught:
        await soon(call)
    assert caught.value.reason is Reason.STORE_UNAVAILABLE
    return caught.value.metadata["cause"]


async def until(store: Store, expected: Cause) -> None:
    """Wait until a store is in a condition."""
    reached = asyncio.Event()
    store.condition.subscribe(lambda cause: reached.set() if cause is expected else None)
    if store.condition.cause is not expected:
        await soon(reached.wait())


# A full disk


async def test_a_full_disk_is_said_until_there_is_room(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that SQLite has no room for leaves nothing; the store reads on, and writes again by itself."""
    async with opened(path) as store:
        user = await store.write(*creating("user_a", "ada"))
        ((pages,),) = await engine_of(store)._writing.execute_fetchall("PRAGMA page_count")
        full = f"PRAGMA max_page_count = {pages}"
        await engine_of(store)._writing.execute_fetchall(full)
        with monkeypatch.context() as disk:
            disk.setattr(connections, "WRITER_PRAGMAS", (*connections.WRITER_PRAGMAS, full))
            large = saving("user_a", public_metadata="x" * 100_000)
            assert await cause(store.write(*large)) == "disk_full"
            assert await cause(store.write(*saving("user_a"))) == "disk_full"
            assert (await every_view(store, user))[:3] == [user] * 3
        await recovered(store)
        assert await store.write(*large) == await store.user("user_a")
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM secrets WHERE name = 'probe'").fetchone() == (0,)


# Damage


def damage(path: Path, table: str) -> None:
    """Overwrite the pages of a table and of what belongs to it."""
    with closing(sqlite3.connect(path)) as connection:
        ((size,),) = connection.execute("PRAGMA page_size")
        roots = connection.execute("SELECT rootpage FROM sqlite_schema WHERE tbl_name = ?", (table,)).fetchall()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("r+b") as file:
        for (root,) in roots:
            file.seek((root - 1) * size)
            file.write(b"\xff" * size)


async def test_a_damaged_database_says_to_restore_a_backup(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever meets it first, a read, a search or a write; nothing is written any more, and the log has one line."""
    async with opened(path) as store:
        await store.write(*creating("user_a", "ada"))
    damage(path, "users")
    meetings: list[Callable[[Store], Awaitable[object]]] = [
        lambda store: store.user("user_a"),
        lambda store: store.count_users(EVERYONE),
        lambda store: store.write(*saving("user_a")),
    ]
    for first in meetings:
        caplog.clear()
        async with opened(path) as store:
            for meet in (first, *meetings):
                assert await cause(meet(store)) == "damaged"
            assert await cause(store.write(*saving("user_b"))) == "damaged"
            (record,) = caplog.records
            assert "restore a backup" in record.getMessage()
            assert record.exc_info is None


async def test_a_database_that_is_damaged_where_it_begins_is_not_opened(path: Path) -> None:
    async with opened(path) as store:
        await store.write(*creating("user_a", "ada"))
    damage(path, "state")
    with pytest.raises(OperatorError, match="restore a backup"):
        await open_sqlite(path)
    with path.open("r+b") as file:
        file.write(b"\0" * 16)
    with pytest.raises(OperatorError, match="restore a backup"):
        await open_sqlite(path)


async def test_damage_that_a_fault_of_the_disk_left_is_found_before_anything_is_written(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a commit that failed the database is checked, in parts that the write itself does not touch, too."""
    async with opened(path) as store:
        await store.write(*creating("user_a", "ada"))
    damage(path, "sign_ups")
    async with opened(path) as store:

        async def fail(*_: object) -> None:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
            raise error

        monkeypatch.setattr(engine_of(store)._writing, "executemany", fail)
        assert await cause(store.write(*saving("user_a"))) == "io_error"
        await until(store, Cause.DAMAGED)
        assert await cause(store.write(*saving("user_a"))) == "damaged"
        assert await store.user_by(named("ada")) is not None


# Causes


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (sqlite3.SQLITE_FULL, Cause.DISK_FULL),
        (sqlite3.SQLITE_IOERR_FSYNC, Cause.IO_ERROR),
        (sqlite3.SQLITE_IOERR_WRITE, Cause.IO_ERROR),
        (sqlite3.SQLITE_CANTOPEN, Cause.IO_ERROR),
        (sqlite3.SQLITE_READONLY, Cause.IO_ERROR),
        (sqlite3.SQLITE_READONLY_DBMOVED, Cause.REPLACED),
        (sqlite3.SQLITE_CORRUPT_VTAB, Cause.DAMAGED),
        (sqlite3.SQLITE_NOTADB, Cause.DAMAGED),
        (sqlite3.SQLITE_BUSY, Cause.LOCKED),
        (sqlite3.SQLITE_CONSTRAINT_UNIQUE, None),
        (sqlite3.SQLITE_ERROR, None),
    ],
)
def test_an_error_of_sqlite_says_its_cause(code: int, expected: Cause | None) -> None:
    error = sqlite3.OperationalError("as SQLite says it")
    error.sqlite_errorcode = code
    assert cause_of(error) is expected


# Files


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", ".lock"])
async def test_a_file_that_is_replaced_ends_writing(path: Path, suffix: str) -> None:
    """By another file of the same content, so that only what it is tells: no write is acknowledged any more."""
    async with opened(path) as store:
        user = await store.write(*creating("user_a", "ada"))
        file = path.with_name(path.name + suffix)
        other = path.with_name("other")
        other.write_bytes(file.read_bytes())
        other.rename(file)
        assert await cause(store.write(*saving("user_a", first_name="Ada"))) == "replaced"
        assert await reason_of(store.sweep()) is Reason.STORE_UNAVAILABLE
        found = await store.user("user_a")
        assert found is not None
        assert found.username == user.username


@pytest.mark.parametrize("suffix", ["", "-wal"])
async def test_a_file_that_is_emptied_ends_writing(path: Path, suffix: str) -> None:
    """As a shell's `>` does it: what is written behind a hole would be acknowledged, and lost."""
    async with opened(path) as store:
        await store.write(*creating("user_a", "ada"))
        os.truncate(path.with_name(path.name + suffix), 0)
        assert await cause(store.write(*saving("user_a", first_name="Ada"))) == "replaced"


async def test_a_log_that_another_process_empties_in_order_is_no_trouble(path: Path) -> None:
    async with opened(path) as store:
        await store.write(*creating("user_a", "ada"))
        with closing(sqlite3.connect(path)) as other:
            assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
            other.execute("VACUUM")
        await store.write(*saving("user_b"))


async def test_who_comes_after_removed_files_is_left_alone(path: Path) -> None:
    """An owner whose files were removed closes without touching those of the next one at the same path."""
    earlier = await open_sqlite(path)
    await earlier.write(*saving("user_a"))
    for suffix in ("", "-wal", "-shm", ".lock"):
        path.with_name(path.name + suffix).unlink()
    async with opened(path) as store:
        await store.write(*saving("user_b"))
        await until(earlier, Cause.REPLACED)
        assert await cause(earlier.close()) == "replaced"
        await store.write(*saving("user_c"))
    async with opened(path) as store:
        assert [user.id for user in await store.users_after("", 10)] == ["user_b", "user_c"]


async def test_a_link_that_is_turned_to_another_file_ends_writing(path: Path, tmp_path: Path) -> None:
    """What was opened is no longer what is there by the name that the operator gave."""
    link = tmp_path / "link.db"
    link.symlink_to(path)
    async with opened(link) as store:
        await store.write(*saving("user_a"))
        assert path.with_name("usermeta.db.lock").exists()
        other = tmp_path / "other.db"
        other.touch()
        turned = tmp_path / "turned"
        turned.symlink_to(other)
        turned.rename(link)
        await until(store, Cause.REPLACED)


async def test_a_database_with_two_names_is_refused(path: Path, tmp_path: Path) -> None:
    """By the other name it would have another lock."""
    async with opened(path):
        pass
    os.link(path, tmp_path / "other.db")
    for name in (path, tmp_path / "other.db"):
        with pytest.raises(OperatorError, match="another name"):
            await open_sqlite(name)


# The end


async def test_who_reads_from_the_log_holds_up_neither_writes_nor_the_end(path: Path) -> None:
    """Emptying the log does not wait for them, however long a write may wait for the lock."""
    store = await open_sqlite(path, lock_seconds=60)
    await store.write(*saving("user_a"))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN")
        assert other.execute("SELECT count(*) FROM users").fetchone() == (1,)
        await store.write(*saving("user_b"))
        engine_of(store)._erasing = True
        await soon(store.sweep())
        assert engine_of(store)._erasing
        await soon(store.write(*saving("user_c")))
        await soon(store.close())


@pytest.mark.parametrize("part", ["_writer", "_reading", "_search", "_writing"])
async def test_closing_goes_on_when_a_part_of_it_fails(path: Path, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    """The error is raised, but no thread is left, and the database is free for the next owner."""
    store = await open_sqlite(path)
    await store.write(*saving("user_a"))
    whole = store if part == "_writer" else engine_of(store)
    closing_part = getattr(whole, part).close
    closed = asyncio.Event()

    async def close_and_fail() -> None:
        await closing_part()
        closed.set()
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(getattr(whole, part), "close", close_and_fail)
    threads = [
        each._thread
        for each in (engine_of(store)._reading, engine_of(store)._writing, *engine_of(store)._search._connections)
    ]
    assert await reason_of(store.close()) is Reason.STORE_UNAVAILABLE
    assert closed.is_set()
    for thread in threads:
        thread.join(DEADLINE)
        assert not thread.is_alive()
    async with opened(path) as store:
        assert await store.user("user_a") is not None


async def test_a_last_checkpoint_that_fails_is_raised_and_the_rest_is_done(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing of what was acknowledged is lost, and the log says in a line what happened."""

    async def fail(_: object) -> bool:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    store = await open_sqlite(path)
    await store.write(*saving("user_a"))
    monkeypatch.setattr(engine_module, "empty_log", fail)
    assert await cause(store.close()) == "disk_full"
    (record,) = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert "closing the store failed" in record.getMessage()
    monkeypatch.undo()
    async with opened(path) as store:
        assert await store.user("user_a") is not None
