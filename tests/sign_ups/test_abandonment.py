"""Sign-ups that nobody finishes: abandoned when idle for too long, closed by the sweeper, deleted later."""

from pathlib import Path
from typing import Any, Final

from tests.sign_ups.support import ABANDONED, COMPLETE, DAY, HOUR, READY, REJECTED, begin, email_address
from tests.store.sqlite import engine_of
from tests.support import Clock, Service, document, refused, request_id, serving, settings
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta_server.core.sign_ups.revision import CLOSED_FOR
from usermeta_server.model import SECOND

MICROSECOND: Final = 1e-6
"""In seconds."""


async def sweep(service: Service) -> int:
    """Sweep once, and return how many sign-ups that was about."""
    return await service.server.app.use_cases.sign_ups.sweep()


async def test_an_idle_sign_up_is_abandoned(own_service: Service, clock: Clock) -> None:
    """When its time has come, to the microsecond."""
    clock.stop()
    pending = await begin(own_service)
    clock.turn(DAY - MICROSECOND)
    assert (await pending.known()).status == READY
    clock.turn(MICROSECOND)
    assert (await pending.known()).status == ABANDONED, "also before it is swept"
    for call in (pending.seen(), pending.update({}), pending.complete()):
        await refused(call, "CREDENTIAL_EXPIRED")
    for refusal in (pending.attach({"first_name": "A"}), pending.attest(), pending.reject()):
        assert (await refused(refusal, "SIGN_UP_CLOSED")).metadata == {"status": "ABANDONED"}


async def test_a_replay_does_not_bring_it_back(own_service: Service, clock: Clock) -> None:
    pending, again = await begin(own_service), request_id()
    await pending.update({"first_name": "Ada"}, request_id=again)
    clock.turn(DAY)
    await refused(pending.update({"first_name": "Ada"}, request_id=again), "CREDENTIAL_EXPIRED")


async def test_a_change_begins_the_time_anew_and_a_call_that_changes_nothing_does_not(
    own_service: Service, clock: Clock
) -> None:
    pending = await begin(own_service)
    clock.turn(DAY - 60)
    await pending.seen()
    await pending.update({})
    await pending.update({"first_name": "Ada"}, validate_only=True)
    await pending.attach({"private_metadata": {"a": 1}})
    assert (await pending.seen()).abandon_time == pending.first.abandon_time
    after = await pending.update({"first_name": "Ada"})
    assert after.abandon_time.ToMicroseconds() - after.update_time.ToMicroseconds() == DAY * SECOND
    clock.turn(DAY - 60)
    assert await sweep(own_service) == 0
    assert (await pending.seen()).status == READY
    clock.turn(60)
    assert (await pending.known()).status == ABANDONED


async def test_how_long_is_a_setting(tmp_path: Path, clock: Clock) -> None:
    async with serving(settings(tmp_path, sign_up_idle=HOUR), clock=clock) as service:
        pending = await begin(service)
        made = pending.first
        assert made.abandon_time.ToMicroseconds() - made.create_time.ToMicroseconds() == HOUR * SECOND
        clock.turn(HOUR)
        assert (await pending.known()).status == ABANDONED


async def test_sweeping_closes_first_and_deletes_later(own_service: Service, clock: Clock) -> None:
    pending = await begin(own_service, {"email_address": email_address(), "unsafe_metadata": {"a": 1}})
    await pending.attach({"private_metadata": {"b": 1}, "public_metadata": {"c": 1}})
    clock.turn(DAY)
    assert await sweep(own_service) == 1
    assert await sweep(own_service) == 0
    closed = await pending.known()
    assert closed.status == ABANDONED
    assert (document(closed.unsafe_metadata), document(closed.private_metadata)) == ({}, {})
    assert document(closed.public_metadata) == {}
    clock.turn(CLOSED_FOR / SECOND - 60)
    assert await sweep(own_service) == 0
    clock.turn(60)
    assert await sweep(own_service) == 1
    await refused(pending.known(), "SIGN_UP_NOT_FOUND")
    assert not (await own_service.admin.ListSignUps(pb.ListSignUpsRequest())).sign_ups


async def test_what_was_closed_otherwise_is_deleted_in_its_time_too(own_service: Service, clock: Clock) -> None:
    completed, rejected = await begin(own_service), await begin(own_service)
    user = (await completed.complete()).user
    await rejected.reject()
    clock.turn(CLOSED_FOR / SECOND - 60)
    assert await sweep(own_service) == 0
    assert [(await each.known()).status for each in (completed, rejected)] == [COMPLETE, REJECTED]
    clock.turn(60)
    assert await sweep(own_service) == 2
    for each in (completed, rejected):
        await refused(each.known(), "SIGN_UP_NOT_FOUND")
        await refused(each.seen(), "CREDENTIAL_EXPIRED")
        await refused(each.complete(), "CREDENTIAL_EXPIRED")
    assert (await own_service.get(user.id)).id == user.id


async def test_a_sweep_takes_so_many_and_those_that_wait_longest(own_service: Service, clock: Clock) -> None:
    made = []
    for _ in range(5):
        made.append(await begin(own_service))
        clock.turn(60)
    fresh = await begin(own_service)
    clock.turn(DAY - 60)
    sign_ups, store = own_service.server.app.use_cases.sign_ups, own_service.server.app.store
    for taken, swept in ((2, 2), (2, 4), (1, 5)):
        assert await sign_ups.sweep(limit=2) == taken
        states = [record.state for each in made if (record := await store.sign_up(each.id))]
        assert states == ["abandoned"] * swept + ["open"] * (5 - swept)
    assert (await fresh.seen()).status == READY


async def test_what_moves_between_looking_and_closing_stays_open(own_service: Service, clock: Clock) -> None:
    """The sweeper looks first and writes later: a sign-up that a transaction in between took up is left alone."""
    pending = await begin(own_service)
    clock.turn(DAY - 1)
    sign_ups, store = own_service.server.app.use_cases.sign_ups, own_service.server.app.store
    looked = store.due_sign_ups

    async def look_then_wait(now: int, limit: int) -> object:
        found = await looked(now + 2 * SECOND, limit)
        await pending.update({"first_name": "Ada"})
        return found

    store.due_sign_ups = look_then_wait  # type: ignore[assignment,method-assign]  # for this test alone
    assert await sign_ups.sweep() == 1
    assert (await pending.seen()).first_name == "Ada"


async def test_looking_for_what_to_sweep_does_not_look_at_the_rest(own_service: Service) -> None:
    """SQLite itself says so: it searches an index, and neither scans the table nor sorts."""
    store: Any = own_service.server.app.store
    statements: list[str] = []
    reading: Any = engine_of(store)._reading
    await reading.set_trace_callback(statements.append)
    await store.due_sign_ups(1, 500)
    await reading.set_trace_callback(None)
    (statement,) = {each for each in statements if "sweep_time <= 1 " in each}
    plan = [row[3] for row in await engine_of(store)._fetch(f"EXPLAIN QUERY PLAN {statement}", ())]
    assert plan == ["SEARCH sign_ups USING INDEX sign_ups_by_sweep_time (sweep_time<?)"]
