"""Limits by themselves: how many calls, how fast, in whose turn, and in how much memory."""

import asyncio
from typing import Final

import pytest

from tests.admission.test_admission import BACKEND, FRONTEND, World, answer, bearer, peer
from usermeta_server.admission.call import Call
from usermeta_server.admission.limits import ALLOWANCES, Lane, Limits
from usermeta_server.caller import PrincipalKind
from usermeta_server.errors import OperatorError, Reason, UsermetaError
from usermeta_server.policy import Traffic

SECOND: Final = 1_000_000_000
USER_READS: Final = ALLOWANCES[PrincipalKind.USER][Traffic.READS]


def lane_of(limits: Limits, who: str = "user:1", traffic: Traffic = Traffic.READS, now: int = 0) -> Lane:
    """Return the lane of a user."""
    return limits.lane(who, PrincipalKind.USER, traffic, now)


def admitted(limits: Limits, lane: Lane, count: int, now: int = 0) -> int:
    """Return how many of so many calls are let in."""
    good = 0
    for _ in range(count):
        try:
            limits.admit(lane, now)
        except UsermetaError:
            continue
        good += 1
    return good


def test_a_burst_is_let_in_and_then_a_rate() -> None:
    limits = Limits({"user.reads": 10})
    lane = lane_of(limits)
    assert admitted(limits, lane, 100) == 50
    assert admitted(limits, lane, 100, SECOND) == 10
    assert admitted(limits, lane, 100, 100 * SECOND) == 50


def test_a_refusal_says_when_there_is_room_again() -> None:
    limits = Limits({"user.reads": 10})
    lane = lane_of(limits)
    admitted(limits, lane, 50)
    with pytest.raises(UsermetaError, match="RATE_LIMITED") as caught:
        limits.admit(lane, 0)
    assert caught.value.retry_after == pytest.approx(0.1)
    limits.admit(lane, round(caught.value.retry_after * SECOND))


def test_reads_and_writes_are_counted_apart_and_so_are_principals() -> None:
    limits = Limits({"user.reads": 1, "user.writes": 1})
    assert admitted(limits, lane_of(limits), 10) == 5
    assert admitted(limits, lane_of(limits, traffic=Traffic.WRITES), 10) == 5
    assert admitted(limits, lane_of(limits, "user:2"), 10) == 5


def test_keys_have_no_rate_unless_one_is_set() -> None:
    for rates, let_in in (({}, 10_000), ({"secret_key.reads": 2.0}, 10)):
        limits = Limits(rates)
        lane = limits.lane("secret_key:1", PrincipalKind.SECRET_KEY, Traffic.READS, 0)
        assert admitted(limits, lane, 10_000) == let_in


@pytest.mark.parametrize("traffic", [Traffic.READS, Traffic.WRITES])
def test_two_hundred_and_fifty_six_calls_of_one_key_are_worked_on_at_once(traffic: Traffic) -> None:
    limits = Limits()
    lane = limits.lane("secret_key:1", PrincipalKind.SECRET_KEY, traffic, 0)
    for _ in range(256):
        limits.admit(lane, 0)
        assert limits.begin(lane, 0)


def test_a_rate_of_nothing_is_a_wrong_setting() -> None:
    with pytest.raises(OperatorError, match=r"user\.reeds"):
        Limits({"user.reeds": 1})


@pytest.mark.parametrize("reason", [Reason.IDENTIFIER_TAKEN, Reason.CREDENTIAL_INVALID, Reason.USER_NOT_FOUND])
def test_refusals_that_tell_something_count_more(reason: Reason) -> None:
    limits = Limits({"user.reads": 10})
    lane = lane_of(limits)
    tries = 0
    while admitted(limits, lane, 1):
        limits.charge(lane, reason)
        tries += 1
    assert tries < 10


def test_who_is_only_logged_is_refused_nothing(caplog: pytest.LogCaptureFixture) -> None:
    limits = Limits({"user.reads": 1}, refuses=False)
    assert admitted(limits, lane_of(limits), 10_000) == 10_000
    (record,) = caplog.records
    assert "would have refused" in record.getMessage()


# Memory


def test_a_hundred_thousand_principals_are_not_all_remembered() -> None:
    limits = Limits(max_lanes=100)
    for number in range(100_000):
        limits.admit(lane_of(limits, f"user:{number}", now=number), number)
        assert limits.remembered <= 100


def test_who_has_a_call_in_flight_is_not_forgotten() -> None:
    limits = Limits(max_lanes=10)
    busy = [lane_of(limits, f"busy:{number}") for number in range(5)]
    assert all(limits.begin(lane, 0) for lane in busy)
    for number in range(1000):
        lane_of(limits, f"user:{number}")
    assert [lane_of(limits, f"busy:{number}") for number in range(5)] == busy
    assert limits.remembered == 10


# Turns


def flooded(limits: Limits, *, shared: bool = True) -> Lane:
    """Return the lane of who makes most calls, if the server is shared while another calls, too."""
    for _ in range(1000):
        lane_of(limits)
    if shared:
        lane_of(limits, "other:1")
    return limits._lanes["user:1", Traffic.READS]


def begun(limits: Limits, lane: Lane, now: int) -> int:
    """Return how many calls begin at once."""
    count = 0
    while count <= USER_READS.in_flight and limits.begin(lane, now):
        count += 1
    return count


def test_who_calls_alone_has_all_calls_worked_on() -> None:
    limits = Limits()
    assert begun(limits, flooded(limits, shared=False), 1) == USER_READS.in_flight


def test_who_makes_most_calls_has_to_wait_while_others_call_too_and_they_need_not() -> None:
    limits = Limits()
    assert begun(limits, flooded(limits), 1) == 0
    assert begun(limits, lane_of(limits, "other:2"), 1) == USER_READS.in_flight
    assert begun(limits, lane_of(limits), 2 * SECOND) == USER_READS.in_flight


def test_of_many_who_call_alike_none_has_to_wait() -> None:
    limits = Limits()
    for number in range(3000):
        lane = lane_of(limits, f"user:{number % 3}")
        assert limits.begin(lane, 1)
        limits.end(lane)


async def waiting(limits: Limits, lane: Lane, count: int) -> list["asyncio.Task[None]"]:
    """Let so many calls wait for their turn."""
    tasks = [asyncio.create_task(limits.wait(lane)) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


def full_lane(limits: Limits) -> Lane:
    """Return a lane with as many calls as may be worked on at once, of a server that stays shared."""
    limits._shared_until = 1 << 62
    lane = lane_of(limits)
    limits._shared_until = 1 << 62
    lane.running = USER_READS.at_once
    return lane


async def test_calls_that_wait_begin_one_by_one_as_others_end_first_come_first_served() -> None:
    limits = Limits()
    lane = full_lane(limits)
    tasks = await waiting(limits, lane, 3)
    for number, task in enumerate(tasks):
        assert not task.done()
        limits.end(lane)
        await task
        assert lane.running == USER_READS.at_once
        assert [each.done() for each in tasks] == [place <= number for place in range(3)]


async def test_lanes_have_their_turns_one_after_the_other() -> None:
    limits = Limits()
    limits._shared_until = 1 << 62
    lanes = [lane_of(limits, f"user:{number}") for number in range(2)]
    begun: list[str] = []

    async def wait(lane: Lane) -> None:
        await limits.wait(lane)
        begun.append(lane.who)
        limits.end(lane)

    await asyncio.gather(*[wait(lane) for lane in lanes for _ in range(4)])
    assert sorted(begun[:4]) == ["user:0", "user:0", "user:1", "user:1"]


async def test_a_caller_who_leaves_frees_its_place_in_the_queue() -> None:
    limits = Limits()
    lane = full_lane(limits)
    first, second = await waiting(limits, lane, 2)
    first.cancel()
    await asyncio.wait([first])
    assert len(lane.waiting) == 1
    limits.end(lane)
    await second


async def test_a_caller_who_leaves_as_its_turn_comes_passes_it_on() -> None:
    limits = Limits()
    lane = full_lane(limits)
    first, second = await waiting(limits, lane, 2)
    limits.end(lane)
    while lane.running < USER_READS.at_once:  # noqa: ASYNC110  # until the turn has come
        await asyncio.sleep(0)
    first.cancel()
    await second
    assert first.cancelled()
    assert (lane.running, len(lane.waiting)) == (USER_READS.at_once, 0)


async def test_when_all_callers_leave_at_once_nothing_is_left() -> None:
    limits = Limits()
    lane = full_lane(limits)
    tasks = await waiting(limits, lane, 5)
    for task in tasks:
        task.cancel()
    limits.end(lane)
    await asyncio.wait(tasks)
    assert all(task.cancelled() for task in tasks)
    assert (lane.running, len(lane.waiting)) == (USER_READS.at_once - 1, 0)


async def test_a_queue_that_is_full_is_refused_before_a_body_is_read() -> None:
    limits = Limits()
    lane = full_lane(limits)
    tasks = await waiting(limits, lane, USER_READS.in_flight - USER_READS.at_once)
    with pytest.raises(UsermetaError, match="RATE_LIMITED"):
        limits.admit(lane, 0)
    with pytest.raises(UsermetaError, match="RATE_LIMITED"):
        await limits.wait(lane)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert not lane.waiting


async def test_refusals_are_held_back_and_all_said_in_the_end() -> None:
    limits = Limits()
    order: list[int] = []

    async def refuse(number: int) -> None:
        await limits.hold()
        order.append(number)

    tasks = [asyncio.create_task(refuse(number)) for number in range(20)]
    tasks[3].cancel()
    await asyncio.wait(tasks)
    assert order == [number for number in range(20) if number != 3]


# Calls


async def in_flight(world: World, method: str, token: str) -> Lane:
    """Return the lane of a kind of call."""
    lane = (await world.admission.admit(method, bearer(token), 0)).lane
    assert lane
    return lane


async def test_a_call_is_in_flight_until_it_ends_however_it_ends() -> None:
    limits = Limits()
    world = World(limits)
    method = f"{BACKEND}GetUser"
    lane = await in_flight(world, method, "reader")
    seen = []

    async def fail(_: bytes, __: Call) -> None:
        seen.append(lane.running)
        raise UsermetaError(Reason.USER_NOT_FOUND)

    async def hang(_: bytes, __: Call) -> None:
        seen.append(lane.running)
        await asyncio.Event().wait()

    await world.carry_out(await world.admission.admit(method, bearer("reader"), 0), fail)
    hanging = asyncio.create_task(world.carry_out(await world.admission.admit(method, bearer("reader"), 0), hang))
    await asyncio.sleep(0)
    hanging.cancel()
    await asyncio.wait([hanging])
    assert seen == [1, 1]
    assert lane.running == 0


async def test_streams_are_in_flight_until_they_end_and_take_no_other_calls_place() -> None:
    world = World(Limits())
    reads, streams = [await in_flight(world, f"{FRONTEND}{name}", "person") for name in ("GetUser", "WatchUser")]
    ended = asyncio.Event()

    async def watch(_: bytes, __: Call) -> None:
        await ended.wait()

    call = await world.admission.admit(f"{FRONTEND}WatchUser", bearer("person"), 0)
    watching = asyncio.create_task(world.carry_out(call, watch))
    await asyncio.sleep(0)
    assert (streams.running, reads.running) == (1, 0)
    ended.set()
    await watching
    assert streams.running == 0


async def test_anonymous_callers_are_limited_by_their_address() -> None:
    world = World(Limits({"anonymous.reads": 1}))

    async def told(address: str) -> object:
        call = await world.admission.admit(f"{FRONTEND}GetProfile", (), 0)
        return await world.admission.carry_out(call, lambda: address, b"", answer)

    outcomes = [await told("192.0.2.1") for _ in range(7)]
    assert [outcome == "answered" for outcome in outcomes] == [True] * 5 + [False] * 2
    assert await told("192.0.2.2") == "answered"


async def test_wrong_credentials_are_soon_answered_by_nothing_but_that_there_were_too_many() -> None:
    world = World(Limits())
    reasons = []
    for _ in range(200):
        error = UsermetaError(Reason.CREDENTIAL_INVALID)
        reasons.append((await world.admission.turn_away(f"{BACKEND}GetUser", 0, (), error, peer)).reason)
    assert (reasons[0], reasons[-1]) == (Reason.CREDENTIAL_INVALID, Reason.RATE_LIMITED)
