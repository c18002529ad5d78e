"""Contract: the log has every change once, in the order of commits, without gaps, and trims from its beginning."""

import asyncio
from collections.abc import Sequence

import pytest

from tests.store.contract import Moments, OpenStore, Recorder, at_once, creating, making, recovered, revising, soon
from usermeta_server.model import BEGINNING, Change, ChangeKind, Position
from usermeta_server.store.contract import Draft, Reads
from usermeta_server.store.store import Store


async def whole_log(store: Store, step: int = 1000) -> list[Change]:
    """Return every change that is kept, read `step` at a time."""
    log: list[Change] = []
    while page := await soon(store.changes_after(log[-1].position if log else BEGINNING, step)):
        log += page
    return log


def ids(changes: Sequence[Change]) -> list[tuple[str, int]]:
    return [(change.user_id, change.id) for change in changes]


async def test_an_empty_log_stands_at_its_beginning(open_store: OpenStore) -> None:
    async with open_store() as store:
        assert await store.newest() == BEGINNING
        assert await store.is_kept(BEGINNING)
        assert await store.changes_after(BEGINNING, 10) == []
        assert await store.user_changes("user_a", 0, 10) == []


async def test_a_change_says_what_was_before_and_after(open_store: OpenStore) -> None:
    """What a write recorded is in the log as it was recorded, with the states on both sides of it."""
    async with open_store() as store:
        made = await store.write(*creating("user_a", "ada"))
        revised = await store.write(*revising("user_a", first_name="Ada", unsafe_metadata='{"a":1}'))
        first, second = await whole_log(store)
    assert (first.kind, first.before, first.after) == (ChangeKind.CREATED, None, made)
    assert (second.kind, second.before, second.after) == (ChangeKind.PROFILE_UPDATED, made, revised)
    assert set(second.parts) == {"first_name", "unsafe_metadata"}
    assert (first.id, second.id) == (made.version, revised.version)
    assert not first.erased
    assert first.time == made.create_time


@pytest.mark.parametrize("step", [1, 2, 1000])
async def test_the_log_has_every_change_once_in_the_order_of_commits(open_store: OpenStore, step: int) -> None:
    """Positions rise, the changes of one user come by rising ids, and reading on from any place misses nothing."""
    async with open_store() as store:
        users = [f"user_{number}" for number in range(5)]
        await soon(asyncio.gather(*(store.write(*making(each)) for each in users)))
        for round_ in range(4):
            await soon(asyncio.gather(*(store.write(*revising(each, first_name=str(round_))) for each in users)))
        log = await whole_log(store, step)
        assert len(log) == 25
        sequences = [change.position.sequence for change in log]
        assert sequences == sorted(set(sequences))
        assert await store.newest() == log[-1].position
        for user in users:
            own = [change for change in log if change.user_id == user]
            assert [change.id for change in own] == sorted(change.id for change in own)
            assert [change.before for change in own[1:]] == [change.after for change in own[:-1]]
        for place in range(0, len(log), 7):
            assert await store.changes_after(log[place].position, 3) == log[place + 1 : place + 4]


async def test_a_log_survives_the_store(open_store: OpenStore) -> None:
    """Opened again, the log is the same, positions too, and goes on behind them."""
    async with open_store() as store:
        await store.write(*creating("user_a", "ada"))
        before = await whole_log(store)
    async with open_store() as store:
        assert await whole_log(store) == before
        await store.write(*revising("user_a", first_name="Ada"))
        after = await whole_log(store)
    assert after[:-1] == before
    assert after[-1].position.sequence > before[-1].position.sequence
    assert after[-1].id > before[-1].id


async def test_changes_of_one_write_are_marked_as_one(open_store: OpenStore, moments: Moments) -> None:
    """All but the last of a write's changes say that another follows, whatever else its batch holds."""

    def two(draft: Draft) -> None:
        making("user_a")[1](draft)
        making("user_b")[1](draft)

    async with open_store() as store:
        await at_once(store, moments, [making("user_x"), (Reads(users=("user_a", "user_b")), two), making("user_y")])
        log = {change.user_id: change.last for change in await whole_log(store)}
    assert (log["user_x"], log["user_a"], log["user_b"], log["user_y"]) == (True, False, True, True)


async def test_a_write_that_fails_or_is_tried_leaves_no_change(open_store: OpenStore) -> None:
    def fail(draft: Draft) -> None:
        making("user_a")[1](draft)
        raise LookupError

    async with open_store() as store:
        with pytest.raises(LookupError):
            await store.write(Reads(users=("user_a",)), fail)
        await store.write(*making("user_b"), dry_run=True)
        assert await whole_log(store) == []
        assert await store.newest() == BEGINNING


async def test_a_position_of_another_log_is_not_kept(open_store: OpenStore) -> None:
    """The same number with another nonce is another log's, as after a backup was restored; so is one to come."""
    async with open_store() as store:
        await store.write(*making("user_a"))
        place = await store.newest()
        assert await store.is_kept(place)
        assert not await store.is_kept(Position(place.sequence, bytes(8)))
        assert not await store.is_kept(Position(place.sequence + 1, place.nonce))


async def test_the_changes_of_a_user_come_newest_first_in_pages(open_store: OpenStore) -> None:
    async with open_store() as store:
        await store.write(*making("user_a"))
        for number in range(6):
            await store.write(*revising("user_a", first_name=str(number)))
            await store.write(*making(f"user_b{number}"))
        whole = await store.user_changes("user_a", 0, 100)
        assert ids(whole) == [each for each in reversed(ids(await whole_log(store))) if each[0] == "user_a"]
        pages: list[Change] = []
        before = 0
        while page := await store.user_changes("user_a", before, 3):
            pages += page
            before = page[-1].id
        assert pages == whole
        for change in whole:
            assert await store.find_change("user_a", change.id) == change
            assert await store.find_change("user_b0", change.id) is None
        assert await store.find_change("user_a", 10**9) is None


async def test_trimming_leaves_no_gap(open_store: OpenStore) -> None:
    """The oldest go, a few at a time, up to the first that is to stay; places before it are no longer kept."""
    async with open_store() as store:
        for number in range(10):
            await store.write(*making(f"user_{number}"))
        log = await whole_log(store)
        keep = log[-1].position.sequence - log[6].position.sequence + 1
        steps = [await store.trim_changes(0, keep, 4) for _ in range(3)]
        assert steps == [4, 2, 0]
        assert [change.position for change in await whole_log(store)] == [change.position for change in log[6:]]
        assert not await store.is_kept(BEGINNING)
        assert not await store.is_kept(log[5].position)
        assert await store.is_kept(log[6].position)
        assert await store.user_changes("user_0", 0, 10) == []
        assert await store.find_change("user_0", log[0].id) is None
        assert await store.user("user_0") is not None


async def test_trimming_by_age_keeps_what_is_young_and_the_newest(open_store: OpenStore) -> None:
    """What is older than the limit goes, and the newest change stays however old it is."""
    async with open_store() as store:
        for number in range(3):
            await store.write(*making(f"user_{number}"))
        log = await whole_log(store)
        assert await store.trim_changes(0, 2**40, 10) == 0
        assert await store.trim_changes(log[-1].time + 1, 2**40, 10) == 2
        assert [change.user_id for change in await whole_log(store)] == ["user_2"]
        assert await store.newest() == log[-1].position


async def test_a_projection_follows_every_commit_in_order(open_store: OpenStore, moments: Moments) -> None:
    """It is told of users, keys, indexes and changes, as the log has them, and of nothing that was not committed."""
    async with open_store() as store:
        recorder = Recorder()
        store.subscribe(recorder)
        await at_once(store, moments, [making(f"user_{number}") for number in range(5)])
        with moments.fail("before_commit"), pytest.raises(Exception, match="STORE_UNAVAILABLE"):
            await store.write(*making("user_lost"))
        await recovered(store)
        await store.write(*making("user_tried"), dry_run=True)
        await store.write(*revising("user_0", first_name="Ada"))
        log = await whole_log(store)
        assert [change for each in recorder.committed for change in each.changes] == log
        told = {key: user for each in recorder.committed for key, user in each.users.items()}
        assert told == await store.users(list(told))
