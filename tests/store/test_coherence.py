"""Contract: reads are linearizable for each user, cache or not.

A later read never returns an older version than an earlier read returned, or than an acknowledged write made. The
versions of a user are in commit order, so the suite compares versions: whenever an operation begins, its floor is the
highest version that any ended one has seen of that user.
"""

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import pytest

from tests.store.contract import Moments, OpenStore, Write, creating, deleting, every_view, named, saving, soon, started
from usermeta_server.model import User
from usermeta_server.store.contract import Draft, Reads
from usermeta_server.store.store import Store

CACHES: Final = {"no cache": 0, "room for two": 2500, "room for all": 1 << 20}


async def _one(store: Store, user_id: str) -> User | None:
    return await store.user(user_id)


async def _one_of_many(store: Store, user_id: str) -> User | None:
    return (await store.users(["user_x", user_id, "user_0"])).get(user_id)


async def _at_hand(store: Store, user_id: str) -> User | None:
    """Read as the use cases do: what is at hand, otherwise from the store."""
    return store.cached_user(user_id) or await store.user(user_id)


async def _by_name(store: Store, user_id: str) -> User | None:
    return await store.user_by(named(user_id))


READS: Final[Mapping[str, Callable[[Store, str], Awaitable[User | None]]]] = {
    "user": _one,
    "users": _one_of_many,
    "user_by": _by_name,
    "cached_user": _at_hand,
}


@pytest.fixture(params=CACHES)
def cache_bytes(request: pytest.FixtureRequest) -> int:
    return CACHES[request.param]


@pytest.mark.parametrize("read", READS)
async def test_no_read_goes_back_around_a_commit(
    open_store: OpenStore, moments: Moments, cache_bytes: int, read: str
) -> None:
    """A user read before, during and after its commit is old, then old or new, then new: never old after new."""
    async with open_store(cache_bytes=cache_bytes) as store:
        versions = [(await store.write(*creating("user_a", "user_a"))).version]

        async def look() -> None:
            user = await soon(READS[read](store, "user_a"))
            assert user is not None
            versions.append(user.version)

        await look()
        async with moments.hold("after_commit") as after:
            async with moments.hold("before_commit") as before:
                (writing,) = await started(store.write(*saving("user_a", first_name="Ada")))
                await soon(before.wait())
                await look()
                await look()
            await soon(after.wait())
            await look()
            await look()
            assert not writing.done()
        versions.append((await soon(writing)).version)
        await look()
        await look()
    assert versions == sorted(versions)
    assert versions[0] == versions[1] < versions[-1] == versions[-3]


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("write", [saving, deleting])
async def test_a_read_that_was_overtaken_by_a_write_is_not_served_to_others(
    open_store: OpenStore, moments: Moments, cache_bytes: int, read: str, write: Callable[[str], Any]
) -> None:
    """A read that holds its answer while a write is acknowledged neither fills a cache nor is shared."""
    async with open_store(cache_bytes=cache_bytes) as store:
        await store.write(*creating("user_a", "user_a"))
    async with open_store(cache_bytes=cache_bytes) as store:
        async with moments.hold("after_read") as reached:
            (early,) = await started(READS[read](store, "user_a"))
            await soon(reached.wait())
            written = await soon(store.write(*write("user_a")))
            late = await started(*(each(store, "user_a") for each in READS.values()))
        now = None if write is deleting else written
        assert await soon(early) is not None
        assert await soon(asyncio.gather(*late)) == [now] * 4
        assert [await soon(each(store, "user_a")) for each in READS.values()] == [now] * 4


async def test_a_read_begun_during_a_commit_is_not_shared_after_it(
    open_store: OpenStore, moments: Moments, cache_bytes: int
) -> None:
    """A read that saw the old state while its commit was under way is not what a read after it gets."""
    async with open_store(cache_bytes=cache_bytes) as store:
        old = await store.write(*creating("user_a", "user_a"))
        async with moments.hold("after_read") as read:
            async with moments.hold("before_commit") as before:
                (writing,) = await started(store.write(*saving("user_a")))
                await soon(before.wait())
                (early,) = await started(store.user("user_a"))
                await soon(read.wait())
            new = await soon(writing)
            (late,) = await started(store.user("user_a"))
        assert await soon(early) == old
        assert await soon(late) == new
        assert (await every_view(store, new))[:3] == [new] * 3


async def test_a_read_begun_during_a_commit_is_not_shared_with_later_ones(
    open_store: OpenStore, moments: Moments, cache_bytes: int
) -> None:
    """Once one read has shown the new state, a later one does not get the old from a read that is slow to return."""
    async with open_store(cache_bytes=cache_bytes) as store:
        old = await store.write(*creating("user_a", "user_a"))
        async with moments.hold("after_commit") as after:
            async with moments.hold("after_read") as read:
                async with moments.hold("before_commit") as before:
                    (writing,) = await started(store.write(*saving("user_a")))
                    await soon(before.wait())
                    (early,) = await started(store.user("user_a"))
                    await soon(read.wait())
                await soon(after.wait())
                moments.after_read = Moments().after_read  # which lets only new reads pass
                seen = await soon(store.user_by(named("user_a")))
                (late,) = await started(store.user("user_a"))
            assert await soon(early) == old
            assert await soon(late) == seen != old
        assert await soon(writing) == seen


async def test_a_read_begun_before_a_commit_is_not_shared_with_later_ones(
    open_store: OpenStore, moments: Moments, cache_bytes: int
) -> None:
    """As above, where the slow read began before the write: not only the acknowledgement parts it from later ones."""
    async with open_store(cache_bytes=cache_bytes) as store:
        old = await store.write(*creating("user_a", "user_a"))
    async with open_store(cache_bytes=cache_bytes) as store:
        async with moments.hold("after_commit") as after:
            async with moments.hold("after_read") as read:
                (early,) = await started(store.user("user_a"))
                await soon(read.wait())
                (writing,) = await started(store.write(*saving("user_a")))
                await soon(after.wait())
                moments.after_read = Moments().after_read  # which lets only new reads pass
                seen = await soon(store.user_by(named("user_a")))
                (late,) = await started(store.user("user_a"))
            assert await soon(early) == old
            assert await soon(late) == seen != old
        assert await soon(writing) == seen


async def test_a_cached_user_is_the_very_record_that_was_written(open_store: OpenStore) -> None:
    """As long as a user does not change, every hit is one and the same record."""
    async with open_store() as store:
        made = await store.write(*saving("user_a"))
        assert store.cached_user("user_a") is made
        assert await store.user("user_a") is made
        after = await store.write(*saving("user_a", first_name="Ada"))
        assert store.cached_user("user_a") is after


class History:
    """What has been seen of each user, and whether anything contradicts it."""

    def __init__(self) -> None:
        """Begin with users that do not exist, at version 0."""
        self.floors: dict[str, int] = defaultdict(int)
        self.deletions: dict[str, list[int]] = defaultdict(lambda: [0])
        self.seen: Counter[str] = Counter()

    def returned(self, kind: str, user_id: str, floor: int, user: User | None) -> None:
        """Take in what a read returned that began when the floor was this."""
        if user is None:
            absent = [version for version in self.deletions[user_id] if version >= floor]
            assert absent, f"{kind} of {user_id} found nothing, after version {floor} was seen"
            version = min(absent)
        else:
            assert user.id == user_id
            assert user.version >= floor, f"{kind} of {user_id} went back from version {floor} to {user.version}"
            version = user.version
        self.seen["nothing" if user is None else "something"] += 1
        self.floors[user_id] = max(self.floors[user_id], version)


def _toggling(user_id: str, history: "History", *, delete: bool) -> Write:
    """Return a write that deletes a user if it is there and that is wanted, else saves it; returns its version."""
    name = named(user_id)

    def change(draft: Draft) -> int:
        if draft.users.get(user_id) is None:
            return _version(creating(user_id, user_id)[1](draft))
        if not delete:
            return _version(saving(user_id)[1](draft))
        version = int(deleting(user_id)[1](draft))
        history.deletions[user_id].append(version)
        return version

    return Reads(users=(user_id,), identifiers=(name,)), change


def _version(user: User) -> int:
    return user.version


@pytest.mark.parametrize("seed", range(8))
async def test_no_read_goes_back_under_random_load(
    open_store: OpenStore, moments: Moments, cache_bytes: int, seed: int
) -> None:
    """Readers of all kinds and writers that save and delete, a few users, and every moment drawn out at random."""
    chance = random.Random(seed)  # noqa: S311  # schedules, not secrets
    history = History()
    user_ids = [f"user_{number}" for number in range(4)]

    async def dawdle() -> None:
        for _ in range(chance.choice((0, 0, 1, 3, 10))):
            await asyncio.sleep(0)

    async def write(store: Store) -> None:
        user_id = chance.choice(user_ids)
        floor = history.floors[user_id]
        version = await store.write(*_toggling(user_id, history, delete=chance.random() < 0.3))
        assert version > floor
        history.seen["write"] += 1
        history.floors[user_id] = max(history.floors[user_id], version)

    async def read(store: Store) -> None:
        user_id = chance.choice(user_ids)
        kind = chance.choice(list(READS))
        floor = history.floors[user_id]
        history.returned(kind, user_id, floor, await READS[kind](store, user_id))

    async def keep_writing(store: Store) -> None:
        for _ in range(12):
            await write(store)
            await dawdle()

    async def keep_reading(store: Store) -> None:
        while history.seen["write"] < 48:
            await read(store)
            await asyncio.sleep(0)
            await dawdle()

    moments.before_commit = moments.after_commit = moments.after_read = dawdle
    async with open_store(cache_bytes=cache_bytes) as store:
        workers = [keep_writing(store) for _ in range(4)] + [keep_reading(store) for _ in range(12)]
        await soon(asyncio.gather(*workers))
    assert history.seen["write"] == 48
    assert history.seen["something"] > 48
    assert history.seen["nothing"] > 0
