"""Contract: cancelling a caller never harms the store; its write happens whole or not at all."""

import asyncio
import logging
import random
from typing import Any

import pytest

from tests.store.contract import Moments, OpenStore, Write, counting, saving, soon, started
from usermeta_server.store.contract import Draft, Reads


def pair(name: str) -> Write:
    """Return a write of rows in two tables."""

    def change(draft: Draft) -> None:
        saving(f"user_{name}", first_name=name)[1](draft)
        draft.secrets.put(name, name.encode())

    return Reads(users=(f"user_{name}",)), change


async def cancel(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel calls, and see that their callers are let go, whatever their writes wait for."""
    for task in tasks:
        task.cancel()
    await soon(asyncio.wait(tasks))
    assert all(task.cancelled() for task in tasks)


async def test_a_caller_that_leaves_before_its_batch_leaves_nothing_half_done(
    open_store: OpenStore, moments: Moments
) -> None:
    """Its write is not there, or wholly; those of its neighbours are."""
    async with open_store() as store:
        async with moments.hold("before_commit") as reached:
            (first,) = await started(store.write(*saving("user_other")))
            await soon(reached.wait())
            tasks = await started(*(store.write(*pair(name)) for name in "abc"))
            await cancel(tasks[1])
        await soon(asyncio.gather(first, tasks[0], tasks[2]))
        names = await soon(store.write(*written("abc")))
        assert names in (["a", "c"], ["a", "b", "c"])


def written(names: str) -> Write:
    """Return a write that returns which pairs are there, having seen that none is there by half."""
    user_ids = tuple(f"user_{name}" for name in names)

    def look(draft: Draft) -> list[str]:
        users = [draft.users.get(user_id) for user_id in user_ids]
        secrets = [draft.secrets.get(name) for name in names]
        assert [user and user.first_name for user in users] == [secret and secret.decode() for secret in secrets]
        return [user.first_name for user in users if user is not None]

    return Reads(users=user_ids, secrets=tuple(names)), look


@pytest.mark.parametrize("moment", ["before_commit", "after_commit"])
async def test_a_caller_that_leaves_during_its_commit_is_written_whole(
    open_store: OpenStore, moments: Moments, moment: str
) -> None:
    """The commit goes on without it."""
    async with open_store() as store:
        async with moments.hold(moment) as reached:
            tasks = await started(*(store.write(*pair(name)) for name in "a"))
            await soon(reached.wait())
            await cancel(*tasks)
        assert await soon(store.write(*written("a"))) == ["a"]
    async with open_store() as store:
        assert await soon(store.write(*written("a"))) == ["a"]


async def test_a_batch_that_everybody_left_is_no_failure(
    open_store: OpenStore, moments: Moments, caplog: pytest.LogCaptureFixture
) -> None:
    """When all callers of a batch went away before its turn, nothing is written and nothing is logged as an error."""
    async with open_store() as store:
        async with moments.hold("before_commit") as reached:
            (first,) = await started(store.write(*counting("user_a")))
            await soon(reached.wait())
            tasks = await started(*(store.write(*counting("user_a")) for _ in range(3)))
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        await soon(first)
        assert await soon(store.write(*counting("user_a"))) == 2
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("seed", range(5))
async def test_any_number_of_callers_may_leave_at_any_time(open_store: OpenStore, seed: int) -> None:
    """Every acknowledged write is there, no write is there by half, and the store goes on writing."""
    chance = random.Random(seed)  # noqa: S311  # schedules, not secrets
    names = "".join(map(chr, range(0x4E00, 0x4E00 + 200)))

    async def leave(task: "asyncio.Task[Any]") -> None:
        for _ in range(chance.randrange(40)):
            await asyncio.sleep(0)
        task.cancel()

    async with open_store() as store:
        tasks = []
        leaving = []
        for name in names:
            tasks += await started(store.write(*pair(name)))
            if chance.random() < 0.5:
                leaving += await started(leave(tasks[-1]))
        await soon(asyncio.wait([*tasks, *leaving]))
        acknowledged = {name for name, task in zip(names, tasks, strict=True) if not task.cancelled()}
        found = await soon(store.write(*written(names)))
        assert acknowledged <= set(found)
        assert 0 < len(acknowledged) < len(names)
    async with open_store() as store:
        assert await soon(store.write(*written(names))) == found
