"""A clock that is set forward and back: what orders never goes back, what expires goes by the clock."""

import logging
from pathlib import Path
from typing import Final

import jwt
import pytest

from tests.history.support import all_changes
from tests.rpc.requests import patch
from tests.sign_ups.support import begin
from tests.support import Clock, Service, document, refused, request_id, serving, settings
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1.secret_key_pb2 import SCOPE_READ
from usermeta.frontend.v1 import frontend_service_pb2 as frontend_pb
from usermeta_server.app import open_app
from usermeta_server.clock import TOLERANCE, ClockWatch
from usermeta_server.model import SECOND

ME: Final = frontend_pb.GetUserRequest()
HOUR: Final = 3600
JUMP: Final = 25 * HOUR


async def jump(service: Service, clock: Clock) -> str:
    """Set the clock forward, write, and set it back; return the id of the user that was made meanwhile."""
    clock.turn(JUMP)
    user = await service.user()
    clock.turn(-JUMP)
    return user.id


async def test_a_session_works_for_as_long_as_the_clock_says(tmp_path: Path) -> None:
    clock = Clock()
    async with serving(settings(tmp_path), clock=clock) as service:
        user_id = await jump(service, clock)
        token = await service.session(user_id, seconds=60)
        expire_time = jwt.decode(token, options={"verify_signature": False})["exp"] * SECOND
        assert expire_time <= clock() + 60 * SECOND
        assert (await service.frontend(token).GetUser(ME)).user.id == user_id
        clock.turn(61)
        await refused(service.frontend(token).GetUser(ME), "CREDENTIAL_EXPIRED")


async def test_a_session_that_began_in_the_future_does_not_work(tmp_path: Path) -> None:
    """Whether the server has seen it before or not; by the clock it would live for more than a day."""
    clock = Clock()
    async with serving(settings(tmp_path), clock=clock) as service:
        user = await service.user()
        clock.turn(JUMP)
        seen, unseen = [await service.session(user.id, seconds=60) for _ in range(2)]
        assert (await service.frontend(seen).GetUser(ME)).user.id == user.id
        clock.turn(-JUMP)
        for token in (seen, unseen):
            await refused(service.frontend(token).GetUser(ME), "CREDENTIAL_INVALID")


async def test_clocks_that_differ_a_little_do_no_harm(tmp_path: Path) -> None:
    clock = Clock()
    async with serving(settings(tmp_path), clock=clock) as service:
        user = await service.user()
        token = await service.session(user.id)
        clock.turn(-TOLERANCE / SECOND + 10)
        assert (await service.frontend(token).GetUser(ME)).user.id == user.id


async def test_sessions_of_users_from_the_future_work_at_once(tmp_path: Path) -> None:
    """Before a restart and after it."""
    clock = Clock()
    async with serving(settings(tmp_path), clock=clock) as service:
        early = await jump(service, clock)
        first = await service.session(early)
        assert (await service.frontend(first).GetUser(ME)).user.id == early
    async with serving(settings(tmp_path), clock=clock) as service:
        for user_id in (early, (await service.user()).id):
            assert (await service.frontend(await service.session(user_id)).GetUser(ME)).user.id == user_id
        assert (await service.frontend(first).GetUser(ME)).user.id == early


async def test_times_of_writes_never_go_back_not_by_a_restart_either(tmp_path: Path) -> None:
    clock = Clock()
    for turn in (0, JUMP, -JUMP, 60, -HOUR):
        clock.turn(turn)
        async with serving(settings(tmp_path), clock=clock) as service:
            for _ in range(2):
                await service.user()
    async with serving(settings(tmp_path), clock=clock) as service:
        changes = await all_changes(service)
    times = [change.time for change in changes]
    assert times == sorted(times)
    instants = [change.user_id[:14] for change in changes]  # an id begins with the time that it was made at
    assert instants == sorted(instants)
    assert times[-1] > clock() + HOUR * SECOND


async def test_a_request_is_remembered_for_24_hours_of_the_clock(tmp_path: Path) -> None:
    clock = Clock()
    async with serving(settings(tmp_path), clock=clock) as service:
        change = patch(await jump(service, clock), public_metadata=[{"op": "increment", "path": "/n", "value": 1}])
        change.request_id = request_id()
        for turn, n in ((0, 1), (24 * HOUR - 60, 1), (120, 2)):
            clock.turn(turn)
            reply = await service.admin.PatchUserMetadata(change)
            assert document(reply.user.public_metadata)["n"] == n


async def test_a_sign_up_is_abandoned_by_the_clock(tmp_path: Path) -> None:
    clock = Clock()
    async with serving(settings(tmp_path), clock=clock) as service:
        await jump(service, clock)
        pending, corrected = await begin(service), await begin(service)
        assert pending.first.abandon_time.ToMicroseconds() <= clock() + 24 * HOUR * SECOND
        clock.turn(23 * HOUR)
        after = await corrected.update({"first_name": "Ada"})
        assert after.abandon_time.ToMicroseconds() <= clock() + 24 * HOUR * SECOND
        await pending.seen()
        clock.turn(HOUR)
        await refused(pending.seen(), "CREDENTIAL_EXPIRED")
        assert await service.server.app.use_cases.sign_ups.sweep() == 1
        assert (await corrected.complete()).session_token


async def test_a_sign_up_gives_a_session_for_ten_minutes_of_the_clock(tmp_path: Path) -> None:
    clock = Clock()
    async with serving(settings(tmp_path), clock=clock) as service:
        await jump(service, clock)
        pending = await begin(service)
        assert (await pending.complete()).session_token
        clock.turn(599)
        assert (await pending.complete()).session_token
        clock.turn(2)
        assert not (await pending.complete()).session_token


async def test_a_sign_up_that_was_completed_in_the_future_gives_none(tmp_path: Path) -> None:
    clock = Clock()
    async with serving(settings(tmp_path), clock=clock) as service:
        clock.turn(JUMP)
        pending = await begin(service)
        user_id = (await pending.complete()).user.id
        clock.turn(-JUMP)
        done = await pending.complete()
        assert (done.user.id, done.user.email_address, done.session_token) == (user_id, "", "")


async def test_a_key_may_expire_before_the_newest_change(tmp_path: Path) -> None:
    clock = Clock()
    async with serving(settings(tmp_path), clock=clock) as service:
        user_id = await jump(service, clock)
        request = pb.CreateSecretKeyRequest(display_name="short", scopes=[SCOPE_READ])
        request.expire_time.FromMicroseconds(clock() + 60 * SECOND)
        backend = service.backend((await service.admin.CreateSecretKey(request)).secret)
        await backend.GetUser(pb.GetUserRequest(user_id=user_id))
        clock.turn(61)
        await refused(backend.GetUser(pb.GetUserRequest(user_id=user_id)), "CREDENTIAL_EXPIRED")


async def test_the_newest_signing_key_signs_also_where_time_stands_still(tmp_path: Path) -> None:
    clock = Clock()
    async with serving(settings(tmp_path), clock=clock) as service:
        await jump(service, clock)
    signing = []
    for _ in range(5):
        async with open_app(settings(tmp_path), rotate_session_key=True, clock=clock) as app:
            signing.append(app.tokens._signing_id)
            assert [key.id for key in await app.store.signing_keys()][: len(signing)] == signing[::-1]
    assert len(set(signing)) == 5


# What is said of it


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was said of the clock since the last time, by its first words."""
    texts = [record.getMessage() for record in caplog.records if record.name == ClockWatch.__module__]
    caplog.clear()
    return [" ".join(text.split()[:3]) for text in texts]


def test_a_clock_that_is_behind_is_said_now_and_then_and_once_when_it_has_caught_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    behind = 0
    watch = ClockWatch(lambda: behind)
    for behind, times, expected in (  # noqa: B007  # the clock reads it
        (0, 3, []),
        (TOLERANCE, 3, []),
        (TOLERANCE + 1, 1, ["the clock is"]),
        (JUMP * SECOND, 59, []),
        (JUMP * SECOND, 1, ["the clock is"]),
        (0, 3, ["the clock has"]),
        (TOLERANCE + 1, 1, ["the clock is"]),
    ):
        for _ in range(times):
            watch.look()
        assert said(caplog) == expected


async def test_a_server_says_at_its_start_that_the_clock_is_behind(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    clock = Clock()
    async with serving(settings(tmp_path), clock=clock) as service:
        await service.user()
        assert said(caplog) == []
        clock.turn(-61)
    async with serving(settings(tmp_path), clock=clock) as service:
        await service.user()
        assert said(caplog) == ["the clock is"]
