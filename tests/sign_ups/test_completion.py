"""From a sign-up to its user: exactly once, whoever completes it and however often."""

import asyncio
from pathlib import Path
from typing import Any

import grpc

from tests.sign_ups.support import COMPLETE, HOUR, READY, Pending, begin, email_address
from tests.store.sqlite import engine_of
from tests.support import Clock, Service, document, read_error, refused, request_id, serving, settings
from usermeta.backend.v1 import backend_service_pb2 as backend_pb
from usermeta.backend.v1.user_pb2 import User
from usermeta.frontend.v1 import frontend_service_pb2 as pb
from usermeta.frontend.v1.user_pb2 import User as OwnUser

CALLERS = 50


async def users_called(service: Service, name: str) -> int:
    """Return in how many users' rows a first name stands, of which a sign-up should make one."""
    store = service.server.app.store
    rows = await engine_of(store)._fetch("SELECT count(*) FROM users WHERE first_name = ?", (name,))
    return int(next(iter(rows))[0])


async def ban(service: Service, user_id: str) -> None:
    """Ban a user."""
    await service.admin.UpdateUser(backend_pb.UpdateUserRequest(user=User(id=user_id, banned=True)))


async def delete(service: Service, user_id: str) -> None:
    """Delete a user."""
    await service.admin.DeleteUser(backend_pb.DeleteUserRequest(user_id=user_id))


async def test_the_user_has_what_the_sign_up_had(service: Service) -> None:
    given = {"username": email_address(), "email_address": email_address(), "first_name": "Ada", "last_name": "L"}
    pending = await begin(service, {**given, "unsafe_metadata": {"company": "Engines", "n": [1, None]}})
    done = await pending.complete()
    user = await service.get(done.user.id)
    assert {name: getattr(user, name) for name in given} == given
    assert not user.email_address_verified
    assert document(user.unsafe_metadata) == {"company": "Engines", "n": [1, None]}
    assert (document(user.public_metadata), document(user.private_metadata)) == ({}, {})
    assert done.user == (await service.frontend(done.session_token).GetUser(pb.GetUserRequest())).user


async def test_a_completed_sign_up_keeps_no_documents_and_never_changes_again(service: Service) -> None:
    pending = await begin(service, {"email_address": email_address(), "unsafe_metadata": {"a": 1}})
    await pending.attach({"private_metadata": {"b": 1}, "public_metadata": {"c": 1}})
    done = await pending.complete()
    known, seen = await pending.known(), await pending.seen()
    assert (seen.status, seen.created_user_id) == (known.status, known.created_user_id) == (COMPLETE, done.user.id)
    documents = (known.public_metadata, known.private_metadata, known.unsafe_metadata, seen.unsafe_metadata)
    assert [document(each) for each in documents] == [{}, {}, {}, {}]
    for call in (
        pending.update({"unsafe_metadata": {"a": 2}}),
        pending.update({}),
        pending.attach({"private_metadata": {"b": 2}}),
        pending.reject(),
        pending.update({"unsafe_metadata": {"a": 2}}, validate_only=True),
    ):
        assert (await refused(call, "SIGN_UP_CLOSED")).metadata == {"status": "COMPLETE"}
    await pending.complete()
    await pending.attest()
    assert (await pending.known(), await pending.seen()) == (known, seen)


async def test_fifty_callers_at_once_make_one_user(service: Service) -> None:
    """Holder and backend, with request ids and without: one user, and the same answer for all."""
    name = email_address()
    pending = await begin(service, {"email_address": email_address(), "first_name": name})
    ids = [request_id() for _ in range(5)]
    calls: list[Any] = [
        (pending.attest if index % 2 else pending.complete)(request_id=ids[index % 5] if index % 3 else "")
        for index in range(CALLERS)
    ]
    done = await asyncio.gather(*calls)
    user = await service.get(done[0].user.id)
    assert await users_called(service, name) == 1
    assert [each.user for each in done[1::2]] == [user] * (CALLERS // 2)
    assert len({each.user.SerializeToString(deterministic=True) for each in done[::2]}) == 1
    assert {each.user.id for each in done} == {user.id}


async def test_completing_while_it_is_corrected_loses_nothing(service: Service) -> None:
    """The user has the last correction that was acknowledged; what came too late was refused."""
    name = email_address()
    pending = await begin(service, {"email_address": email_address(), "first_name": name})

    async def correct(index: int) -> bool:
        call = pending.update({"last_name": str(index)})
        try:
            await call
        except grpc.aio.AioRpcError as error:
            assert read_error(error).reason == "SIGN_UP_CLOSED"  # noqa: PT017  # there may be none
            return False
        return True

    async def complete() -> User:
        return (await pending.attest()).user

    corrections = [asyncio.create_task(correct(index)) for index in range(10)]
    completions = [asyncio.create_task(complete()) for _ in range(5)]
    corrections += [asyncio.create_task(correct(index)) for index in range(10, 20)]
    accepted = {str(index) for index, done in enumerate(await asyncio.gather(*corrections)) if done}
    users = await asyncio.gather(*completions)
    assert await users_called(service, name) == 1
    assert users == [users[0]] * 5
    assert users[0].last_name in (accepted or {""})


async def test_an_identifier_taken_in_the_meantime_is_named_and_can_be_corrected(service: Service) -> None:
    for name in ("username", "email_address"):
        taken = email_address()
        pending = await begin(service, {"email_address": email_address(), name: taken.upper()})
        await service.user(**{name: taken})
        before = await pending.known()
        for call in (pending.complete(), pending.attest(), pending.complete(validate_only=True)):
            assert (await refused(call, "IDENTIFIER_TAKEN")).metadata == {"field": f"sign_up.{name}"}
        assert await pending.known() == before
        assert before.status == READY
        await pending.update({name: email_address()})
        assert (await pending.complete()).user.id


async def test_an_external_id_taken_in_the_meantime_is_the_backends_to_correct(service: Service) -> None:
    pending, taken = await begin(service), email_address()
    await pending.attach({"external_id": taken})
    await service.user(external_id=taken)
    assert (await refused(pending.attest(), "IDENTIFIER_TAKEN")).metadata == {"field": "sign_up.external_id"}
    await pending.attach({"external_id": email_address()})
    assert (await pending.attest()).user.id


async def test_of_two_sign_ups_for_one_address_one_completes(service: Service) -> None:
    address = email_address()
    both = [await begin(service, {"email_address": each}) for each in (address, address.upper())]
    results = await asyncio.gather(*(each.complete() for each in both for _ in range(5)), return_exceptions=True)
    by_sign_up = [results[:5], results[5:]]
    winners = [done for done in by_sign_up if not any(isinstance(each, BaseException) for each in done)]
    losers = [done for done in by_sign_up if all(isinstance(each, BaseException) for each in done)]
    assert (len(winners), len(losers)) == (1, 1)
    loser = both[by_sign_up.index(losers[0])]
    assert (await refused(loser.complete(), "IDENTIFIER_TAKEN")).metadata == {"field": "sign_up.email_address"}
    assert (await loser.seen()).status == READY
    assert (await loser.update({"email_address": email_address()})).status == READY
    assert (await loser.complete()).user.id != winners[0][0].user.id  # type: ignore[union-attr]  # it is no error


async def test_completing_on_trial_makes_nothing(service: Service) -> None:
    name = email_address()
    pending = await begin(service, {"email_address": email_address(), "first_name": name})
    before = await pending.known()
    tried = (await pending.attest(validate_only=True)).user
    assert (tried.first_name, tried.id, tried.etag) == (name, "", "")
    assert await users_called(service, name) == 0
    assert await pending.known() == before


async def test_completing_on_trial_shows_its_holder_what_would_be(service: Service) -> None:
    pending = await begin(service, {"email_address": email_address(), "unsafe_metadata": {"a": 1}})
    tried = await pending.complete(validate_only=True)
    assert (tried.user.email_address, tried.user.id, tried.session_token) == (pending.first.email_address, "", "")
    assert document(tried.user.unsafe_metadata) == {"a": 1}
    assert await pending.seen() == pending.first


# Sessions


async def session_of(pending: Pending) -> str:
    """Complete once more, and return the session token that comes of it, if one does."""
    return (await pending.complete()).session_token


async def test_a_session_comes_of_it_for_ten_minutes(own_service: Service, clock: Clock) -> None:
    pending = await begin(own_service)
    again = request_id()
    first = await pending.complete(request_id=again)
    clock.turn(599)
    later = await session_of(pending)
    for token in (first.session_token, later):
        seen = await own_service.frontend(token).GetUser(pb.GetUserRequest())
        assert seen.user.id == first.user.id
    clock.turn(2)
    assert not await session_of(pending)
    assert not (await pending.complete(request_id=again)).session_token
    clock.turn(HOUR)
    await refused(own_service.frontend(later).GetUser(pb.GetUserRequest()), "CREDENTIAL_EXPIRED")


async def told_again(pending: Pending, again: str) -> list[pb.CompleteSignUpResponse]:
    """Complete once more in every way, and return what its holder is told."""
    return [
        await pending.complete(),
        await pending.complete(request_id=again),
        await pending.complete(validate_only=True),
    ]


async def test_after_ten_minutes_its_holder_is_told_only_who_it_became(own_service: Service, clock: Clock) -> None:
    """The token of a sign-up is no way to read its user for a month; a backend reads whom it likes."""
    pending, again = await begin(own_service, {"email_address": email_address(), "first_name": "Ada"}), request_id()
    user = (await pending.complete(request_id=again)).user
    clock.turn(599)
    assert [done.user for done in await told_again(pending, again)] == [user] * 3
    clock.turn(2)
    only_its_id = pb.CompleteSignUpResponse(user=OwnUser(id=user.id))
    assert await told_again(pending, again) == [only_its_id] * 3
    assert (await pending.attest()).user == await own_service.get(user.id)
    assert (await pending.seen()).created_user_id == user.id


async def test_a_backend_or_a_trial_gets_no_session(service: Service) -> None:
    assert "session_token" not in backend_pb.CompleteSignUpResponse.DESCRIPTOR.fields_by_name
    pending, again = await begin(service), request_id()
    done = await pending.complete(request_id=again)
    for tried in (
        await pending.complete(validate_only=True),
        await pending.complete(validate_only=True, request_id=again),
    ):
        assert (tried.user, tried.session_token) == (done.user, "")


async def test_the_holder_is_told_of_a_banned_user_only_who_it_is(service: Service) -> None:
    pending, again = await begin(service), request_id()
    user_id = (await pending.complete(request_id=again)).user.id
    await ban(service, user_id)
    only_its_id = pb.CompleteSignUpResponse(user=OwnUser(id=user_id))
    assert await told_again(pending, again) == [only_its_id] * 3
    assert (await pending.attest()).user.banned


async def test_a_deleted_user_is_not_found_and_not_made_again(service: Service) -> None:
    name, again = email_address(), request_id()
    pending = await begin(service, {"email_address": email_address(), "first_name": name})
    await delete(service, (await pending.complete(request_id=again)).user.id)
    for call in (pending.complete(), pending.complete(request_id=again), pending.attest()):
        await refused(call, "USER_NOT_FOUND")
    assert await users_called(service, name) == 0
    assert (await pending.seen()).status == COMPLETE


async def test_a_user_with_the_id_of_one_that_was_deleted_is_another(service: Service) -> None:
    """The holder of the sign-up token never becomes whoever has the id after them."""
    pending, again = await begin(service), request_id()
    user_id = (await pending.complete(request_id=again)).user.id
    await delete(service, user_id)
    await service.admin.CreateUser(backend_pb.CreateUserRequest(user_id=user_id))
    for call in (pending.complete(), pending.complete(request_id=again), pending.attest()):
        await refused(call, "USER_NOT_FOUND")


async def test_so_is_one_that_was_made_while_time_stood_still(tmp_path: Path) -> None:
    """Which came first is told by versions: by its times the sign-up could be either's."""
    turned = Clock()
    async with serving(settings(tmp_path), clock=turned) as service:
        turned.turn(60)
        await service.user()
        turned.turn(-60)
        pending = await begin(service)
        user_id = (await pending.complete()).user.id
        await delete(service, user_id)
        await service.admin.CreateUser(backend_pb.CreateUserRequest(user_id=user_id))
        for call in (pending.complete(), pending.attest()):
            await refused(call, "USER_NOT_FOUND")
