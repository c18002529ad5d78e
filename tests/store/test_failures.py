"""Contract: engines that fail, too much work, expiry, and the end."""

import asyncio
import errno
import logging
from contextlib import AsyncExitStack

import pytest

from tests.store.contract import (
    Moments,
    OpenStore,
    Recorder,
    counting,
    creating,
    every_view,
    keeping,
    named,
    reason_of,
    recovered,
    renaming,
    saving,
    soon,
    started,
)
from usermeta_server.errors import Reason
from usermeta_server.model import RememberedRequest, RequestKey, Scope, SecretKey
from usermeta_server.store import writer
from usermeta_server.store.condition import Cause
from usermeta_server.store.contract import Draft, Reads


@pytest.mark.parametrize("cache_bytes", [0, 1 << 20])
async def test_a_commit_that_fails_writes_nothing(open_store: OpenStore, moments: Moments, cache_bytes: int) -> None:
    """Its callers are told STORE_UNAVAILABLE, no read shows anything of it, and later writes work."""
    async with open_store(cache_bytes=cache_bytes) as store:
        before = await store.write(*creating("user_a", "ada"))
        with moments.fail("before_commit"):
            assert await reason_of(store.write(*renaming("user_a", "bob"))) is Reason.STORE_UNAVAILABLE
        assert (await every_view(store, before))[:3] == [before] * 3
        assert await store.user_by(named("bob")) is None
        await recovered(store)
        after = await store.write(*renaming("user_a", "carl"))
        assert after.version > before.version
        assert (await every_view(store, after))[:3] == [after] * 3
        assert await store.user_by(named("ada")) is None


async def test_a_commit_that_fails_fails_all_of_its_batch(open_store: OpenStore, moments: Moments) -> None:
    """Nobody of the batch is told that a write stands, and none does."""
    reached, gone = asyncio.Event(), asyncio.Event()

    async def hold_the_first_and_fail_the_next() -> None:
        if gone.is_set():
            raise moments.failure
        reached.set()
        await gone.wait()

    async with open_store() as store:
        moments.before_commit = hold_the_first_and_fail_the_next
        (other,) = await started(store.write(*saving("user_other")))
        await soon(reached.wait())
        tasks = await started(*(store.write(*counting("user_a")) for _ in range(3)))
        gone.set()
        await soon(other)
        assert [await reason_of(task) for task in tasks] == [Reason.STORE_UNAVAILABLE] * 3
        moments.before_commit = Moments().before_commit
        await recovered(store)
        assert await store.write(*counting("user_a")) == 1


async def test_a_commit_of_unknown_outcome_is_read_as_it_turned_out(open_store: OpenStore, moments: Moments) -> None:
    """When the engine fails after its commit took effect, all ways of reading agree, and later writes build on it."""
    async with open_store() as store:
        before = await store.write(*creating("user_a", "ada"))
        with moments.fail("after_commit"):
            assert await reason_of(store.write(*renaming("user_a", "bob"))) is Reason.STORE_UNAVAILABLE
        after = await store.user_by(named("bob"))
        assert after is not None
        assert after.version > before.version
        assert await every_view(store, after) == [after] * 4
        await recovered(store)
        assert (await store.write(*saving("user_a", first_name="Ada"))).version > after.version
    async with open_store() as store:
        found = await store.user("user_a")
        assert found is not None
        assert (found.username, found.first_name) == ("bob", "Ada")


@pytest.mark.parametrize("failure", [OSError(errno.EIO, "I/O error"), RuntimeError("of no known cause")])
async def test_what_a_commit_of_unknown_outcome_wrote_is_told(
    open_store: OpenStore, moments: Moments, failure: Exception
) -> None:
    """Listeners hear of it once, before what comes after it, whether or not the engine knows what went wrong."""
    recorder = Recorder()

    def heard() -> list[str]:
        return [change.user_id for each in recorder.committed for change in each.changes]

    def keys() -> list[str]:
        return [key for each in recorder.committed for key in each.secret_keys]

    async with open_store() as store:
        store.subscribe(recorder)
        await store.write(*saving("user_a"))
        moments.failure = failure
        with moments.fail("after_commit"):
            tasks = await started(store.write(*saving("user_b")), store.write(*keeping("key_1")))
            assert [await reason_of(task) for task in tasks] == [Reason.STORE_UNAVAILABLE] * 2
        assert (heard(), keys()) == (["user_a"], [])
        await recovered(store)
        await store.write(*saving("user_c"))
        assert (heard(), keys()) == (["user_a", "user_b", "user_c"], ["key_1"])


async def test_no_version_is_given_out_twice(open_store: OpenStore, moments: Moments) -> None:
    """Neither after a commit that failed before it was made, nor after one that failed when it was."""
    versions = []
    async with open_store() as store:
        for moment in ("before_commit", "after_commit"):
            with moments.fail(moment):
                assert await reason_of(store.write(*saving("user_a"))) is Reason.STORE_UNAVAILABLE
            found = await store.user("user_a")
            versions += [found.version] if found else []
            await recovered(store)
            versions.append((await store.write(*saving("user_a", first_name=moment))).version)
    async with open_store() as store:
        versions.append((await store.write(*saving("user_a"))).version)
    assert versions == sorted(set(versions))


async def test_while_writes_fail_they_are_refused_and_reads_go_on(
    open_store: OpenStore, moments: Moments, caplog: pytest.LogCaptureFixture
) -> None:
    """Upkeep is a write too. The log says that it began and that it ended, once each, without tracebacks."""
    async with open_store(cache_bytes=0) as store:
        user = await store.write(*creating("user_a", "ada"))
        causes: list[Cause | None] = []
        store.condition.subscribe(causes.append)
        caplog.clear()
        with moments.fail("before_commit"):
            failing = [*(store.write(*counting("user_b")) for _ in range(10)), store.sweep(), store.build_indexes()]
            assert [await reason_of(each) for each in failing] == [Reason.STORE_UNAVAILABLE] * 12
        assert (await every_view(store, user))[:3] == [user] * 3
        await recovered(store)
        assert await store.write(*counting("user_b")) == 1
    assert causes == [Cause.IO_ERROR, None]
    assert [(record.levelname, record.exc_info) for record in caplog.records] == [("ERROR", None), ("WARNING", None)]


async def test_a_read_that_fails_is_store_unavailable(open_store: OpenStore, moments: Moments) -> None:
    """Everyone who shared it is told, and the next read works."""
    async with open_store(cache_bytes=0) as store:
        user = await store.write(*creating("user_a", "ada"))
        reads = (store.user("user_a"), store.user("user_a"), store.users(["user_a"]), store.user_by(named("ada")))
        with moments.fail("after_read"):
            tasks = await started(*reads, store.secret_keys(), store.signing_keys())
            assert [await reason_of(task) for task in tasks] == [Reason.STORE_UNAVAILABLE] * 6
        assert await every_view(store, user) == [user, user, user, None]


async def test_a_projection_that_fails_fails_no_write(open_store: OpenStore, caplog: pytest.LogCaptureFixture) -> None:
    """The write stands by then, and others follow it; that the projection failed is logged."""
    recorder = Recorder()
    async with open_store() as store:
        store.subscribe(Recorder(fails=True))
        store.subscribe(recorder)
        key = SecretKey("key_1", "", (Scope.READ,), b"", 1, 0, 0)
        await soon(store.write(Reads(), lambda draft: draft.secret_keys.put(key.id, key)))
        assert list(await soon(store.secret_keys())) == [key]
        assert [each.secret_keys for each in recorder.committed] == [{key.id: key}]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


async def test_too_many_waiting_writes_are_refused(
    open_store: OpenStore, moments: Moments, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past the limit a write is OVERLOADED at once; those that wait are written, and then there is room again."""
    monkeypatch.setattr(writer, "MAX_WAITING", 10)
    async with open_store() as store:
        async with moments.hold("before_commit") as reached:
            (other,) = await started(store.write(*saving("user_other")))
            await soon(reached.wait())
            tasks = await started(*(store.write(*counting("user_a")) for _ in range(10)))
            assert await reason_of(store.write(*counting("user_a"))) is Reason.OVERLOADED
        await soon(other)
        assert await soon(asyncio.gather(*tasks)) == list(range(1, 11))
        assert await store.write(*counting("user_a")) == 11


async def test_closing_finishes_what_waits_and_refuses_what_comes(open_store: OpenStore, moments: Moments) -> None:
    """Writes that were taken before the end are written; later ones are SHUTTING_DOWN, while closing too."""
    stack = AsyncExitStack()
    store = await stack.enter_async_context(open_store())
    async with moments.hold("before_commit") as reached:
        (first,) = await started(store.write(*counting("user_a")))
        await soon(reached.wait())
        tasks = await started(*(store.write(*counting("user_a")) for _ in range(600)), store.sweep())
        (closing,) = await started(stack.aclose())
        assert await reason_of(store.write(*counting("user_a"))) is Reason.SHUTTING_DOWN
        assert await reason_of(store.sweep()) is Reason.SHUTTING_DOWN
        assert not closing.done()
    assert await soon(asyncio.gather(first, *tasks)) == [*range(1, 602), 0]
    await soon(closing)
    assert await reason_of(store.write(*counting("user_a"))) is Reason.SHUTTING_DOWN
    assert await reason_of(store.sweep()) is Reason.SHUTTING_DOWN
    async with open_store() as store:
        assert await store.write(*counting("user_a")) == 602


@pytest.mark.parametrize("read", ["user", "users", "user_by", "secret_keys", "signing_keys"])
async def test_reads_after_the_end_are_refused_as_unavailable(open_store: OpenStore, read: str) -> None:
    """A read that comes too late gets an error of the domain, not one of the engine's."""
    arguments = {"user": ("user_a",), "users": (["user_a"],), "user_by": (named("ada"),)}.get(read, ())
    async with open_store() as store:
        pass
    reason = await reason_of(getattr(store, read)(*arguments))
    assert reason in {Reason.STORE_UNAVAILABLE, Reason.SHUTTING_DOWN}


async def test_sweeping_deletes_expired_requests_only_a_few_at_a_time(open_store: OpenStore) -> None:
    """Each step deletes up to its limit and says how many; what has not expired stays, and so does all else."""
    expired = [RequestKey("secret_key:key_1", f"old {number}") for number in range(25)]
    current = RequestKey("secret_key:key_1", "new")

    def change(draft: Draft) -> None:
        for key in (*expired, current):
            expire_time = draft.now + 3_600_000_000 if key == current else draft.now - 1
            draft.requests.put(key, RememberedRequest("/method", b"digest", "user_a", expire_time))

    def kept(draft: Draft) -> list[RequestKey]:
        return [key for key in (*expired, current) if draft.requests.get(key) is not None]

    async with open_store() as store:
        user = await store.write(*creating("user_a", "ada"))
        await store.write(Reads(), change)
        reads = Reads(requests=(*expired, current))
        steps = []
        for _ in range(4):
            steps.append(await store.sweep(10))
            assert len(await store.write(reads, kept)) == 26 - sum(steps)
        assert steps == [10, 10, 5, 0]
        assert await store.write(reads, kept) == [current]
        assert await every_view(store, user) == [user] * 4


async def test_sweeping_lets_writes_through(open_store: OpenStore) -> None:
    """A write that comes while many sweeps wait has its turn before the last of them."""
    async with open_store() as store:
        sweeps = await started(*(store.sweep(1) for _ in range(20)))
        await soon(sweeps[0])
        assert await soon(store.write(*counting("user_a"))) == 1
        assert not sweeps[-1].done()
        await soon(asyncio.gather(*sweeps))
