"""Session tokens: how long they work, and for whom."""

import asyncio
import time
from pathlib import Path
from typing import Any, Final

import jwt
import pytest

from tests.rpc.methods import METHODS, Subject, call, sample
from tests.support import (
    BACKEND,
    BACKEND_CALLER,
    FRONTEND,
    Clock,
    Service,
    bearer,
    refused,
    request_id,
    serving,
    settings,
)
from usermeta.backend.v1 import backend_service_pb2 as backend_pb
from usermeta.backend.v1.user_pb2 import User
from usermeta.frontend.v1 import frontend_service_pb2 as frontend_pb
from usermeta_server.core.sessions import Session
from usermeta_server.core.writes import Intent
from usermeta_server.model import HOUR, SECOND, Actor

ME: Final = frontend_pb.GetUserRequest()
FRONTEND_METHODS: Final = [path for path in METHODS if path.startswith(FRONTEND) and not path.endswith("SignUp")]
"""The methods that take a session."""
USER_METHODS: Final = [path for path in FRONTEND_METHODS if not path.endswith(("Profile", "Profiles"))]


# Issuing


@pytest.mark.parametrize("seconds", [1, 60, 3600, 24 * 3600])
async def test_a_token_works_for_as_long_as_it_was_asked_for(service: Service, subject: Subject, seconds: int) -> None:
    request = backend_pb.CreateSessionTokenRequest(user_id=subject.user_id)
    request.ttl.FromSeconds(seconds)
    before = int(time.time())
    made = await service.admin.CreateSessionToken(request)
    claims = jwt.decode(made.session_token, options={"verify_signature": False})
    assert made.expire_time.seconds == claims["exp"]
    assert made.expire_time.nanos == 0
    assert before <= claims["exp"] - seconds <= time.time()


async def test_a_token_works_for_an_hour_unless_asked_otherwise(service: Service, subject: Subject) -> None:
    before = int(time.time())
    made = await service.admin.CreateSessionToken(backend_pb.CreateSessionTokenRequest(user_id=subject.user_id))
    assert before <= made.expire_time.seconds - 3600 <= time.time()


@pytest.mark.parametrize(
    ("seconds", "nanos"),
    [(0, 0), (0, 999_999_000), (-1, 0), (24 * 3600, 1000), (1 << 40, 0), (9, -5), (9, 10**9)],
)
async def test_a_token_for_too_short_or_too_long_or_for_no_duration_is_refused(
    service: Service, subject: Subject, seconds: int, nanos: int
) -> None:
    request = backend_pb.CreateSessionTokenRequest(user_id=subject.user_id)
    request.ttl.seconds, request.ttl.nanos = seconds, nanos
    request.ttl.SetInParent()
    refusal = await refused(service.admin.CreateSessionToken(request), "FIELD_INVALID")
    assert refusal.fields == ("ttl",)


async def test_a_session_that_was_made_is_not_recalled_once_its_user_is_erased(service: Service) -> None:
    user = await service.user()
    request = backend_pb.CreateSessionTokenRequest(user_id=user.id, request_id=request_id())
    await service.admin.CreateSessionToken(request)
    await service.admin.DeleteUser(backend_pb.DeleteUserRequest(user_id=user.id))
    await refused(service.admin.CreateSessionToken(request), "USER_NOT_FOUND")


async def test_a_token_names_its_issuer_audience_user_and_type(subject: Subject) -> None:
    header = jwt.get_unverified_header(subject.session)
    claims = jwt.decode(subject.session, options={"verify_signature": False})
    assert header["typ"] == "usermeta-session+jwt"
    assert header["kid"]
    assert claims.keys() == {"iss", "aud", "sub", "iat", "exp", "jti", "um_cv"}
    assert claims["sub"] == subject.user_id
    assert claims["um_cv"] == subject.change_id


async def test_two_tokens_are_never_the_same(service: Service, subject: Subject) -> None:
    assert await service.session(subject.user_id) != subject.session


async def test_nobody_gets_a_token_for_a_user_that_does_not_exist(service: Service) -> None:
    request = backend_pb.CreateSessionTokenRequest(user_id="user_nobody")
    await refused(service.admin.CreateSessionToken(request), "USER_NOT_FOUND")


async def test_nobody_gets_a_token_for_a_banned_user(service: Service) -> None:
    user = await service.user(banned=True)
    request = backend_pb.CreateSessionTokenRequest(user_id=user.id)
    await refused(service.admin.CreateSessionToken(request), "USER_BANNED")


async def test_a_replay_shows_no_second_token(service: Service, subject: Subject) -> None:
    request = backend_pb.CreateSessionTokenRequest(user_id=subject.user_id, request_id=request_id())
    first = await service.admin.CreateSessionToken(request)
    again = await service.admin.CreateSessionToken(request)
    assert first.session_token
    assert again == backend_pb.CreateSessionTokenResponse(expire_time=first.expire_time)


# Whose token it is


@pytest.mark.parametrize("path", FRONTEND_METHODS)
async def test_the_token_of_a_deleted_user_finds_nobody(service: Service, subject: Subject, path: str) -> None:
    await service.admin.DeleteUser(backend_pb.DeleteUserRequest(user_id=subject.user_id))
    await refused(call(service, path, sample(path, subject), bearer(subject.session)), "USER_NOT_FOUND")


@pytest.mark.parametrize("path", FRONTEND_METHODS)
async def test_the_token_of_a_banned_user_is_refused(service: Service, subject: Subject, path: str) -> None:
    await ban(service, subject, banned=True)
    await refused(call(service, path, sample(path, subject), bearer(subject.session)), "USER_BANNED")
    await ban(service, subject, banned=False)
    await call(service, path, sample(path, subject), bearer(subject.session))


async def ban(service: Service, subject: Subject, *, banned: bool) -> None:
    """Ban a user, or let them in again."""
    request = backend_pb.UpdateUserRequest()
    request.user.id, request.user.banned = subject.user_id, banned
    request.update_mask.paths.append("banned")
    await service.admin.UpdateUser(request)


async def recreate(service: Service, user_id: str) -> User:
    """Erase a user and make another with its id; return that."""
    await service.admin.DeleteUser(backend_pb.DeleteUserRequest(user_id=user_id))
    return (await service.admin.CreateUser(backend_pb.CreateUserRequest(user_id=user_id))).user


@pytest.mark.parametrize("path", USER_METHODS)
async def test_a_session_is_not_that_of_a_later_user_with_the_same_id(
    service: Service, subject: Subject, path: str
) -> None:
    await recreate(service, subject.user_id)
    await refused(call(service, path, sample(path, subject), bearer(subject.session)), "USER_NOT_FOUND")
    token = await service.session(subject.user_id)
    await call(service, path, sample(path, subject), bearer(token))


async def test_sessions_made_in_one_commit_with_the_end_of_their_users_are_not_the_next_ones(service: Service) -> None:
    """One commit has one time: session, erasure and the user made anew are all of the same moment."""
    users = [await service.user() for _ in range(20)]
    use_cases, intent = service.server.app.use_cases, Intent(Actor("", ""), "")
    results = await asyncio.gather(
        *(use_cases.sessions.create(user.id, HOUR, intent) for user in users),
        *(use_cases.users.delete(user.id, "", intent) for user in users),
        *(use_cases.users.create(BACKEND_CALLER, ({}, {}), user.id, intent) for user in users),
    )
    for session, user in zip(results, users, strict=False):
        assert isinstance(session, Session)
        await refused(service.frontend(session.token).GetUser(ME), "USER_NOT_FOUND")
        assert (await service.frontend(await service.session(user.id)).GetUser(ME)).user.id == user.id


async def test_a_session_ends_with_its_user_also_where_time_stands_still(tmp_path: Path) -> None:
    """While the clock is behind all that is written is of one moment."""
    clock = Clock()
    async with serving(settings(tmp_path), clock=clock) as service:
        clock.turn(60)
        user_id = (await service.user()).id
        clock.turn(-60)
        before = await service.session(user_id)
        stream: Any = service.frontend(before).WatchUser(frontend_pb.WatchUserRequest())
        assert (await stream.read()).user.id == user_id
        again = await recreate(service, user_id)
        assert again.create_time == (await service.user()).create_time
        await refused(service.frontend(before).GetUser(ME), "USER_NOT_FOUND")
        await refused(stream.read(), "USER_NOT_FOUND")


# Tokens of an earlier release say nothing of versions: they are as good as they were until they expire.


def token_of_an_earlier_release(service: Service, user_id: str, issue_time: int) -> str:
    """Return a token as the release before versions issued it, at a time in microseconds."""
    issued = issue_time / SECOND
    claims = {"iss": "usermeta", "aud": "usermeta.frontend", "sub": user_id, "iat": issued, "exp": int(issued) + 3600}
    tokens = service.server.app.tokens
    return jwt.encode(claims, tokens._signing, "EdDSA", {"kid": tokens._signing_id, "typ": "usermeta-session+jwt"})


@pytest.mark.parametrize(("later", "works"), [(0, True), (SECOND, True), (-1, False), (-5 * SECOND, False)])
async def test_a_token_of_an_earlier_release_works_unless_it_is_older_than_its_user(
    service: Service, later: int, *, works: bool
) -> None:
    again = await recreate(service, (await service.user()).id)
    token = token_of_an_earlier_release(service, again.id, again.create_time.ToMicroseconds() + later)
    getting = service.frontend(token).GetUser(ME)
    if works:
        assert (await getting).user.id == again.id
    else:
        await refused(getting, "USER_NOT_FOUND")


# Until when it works


async def test_a_session_of_a_new_user_works_at_once(service: Service) -> None:
    user = await service.user()
    token = await service.session(user.id)
    assert (await service.frontend(token).GetUser(ME)).user.id == user.id


async def test_a_token_that_is_remembered_still_expires(service: Service, subject: Subject) -> None:
    """The cache of verified tokens is no way around expiry."""
    tokens, store = service.server.app.tokens, service.server.app.store
    user, now = await store.user(subject.user_id), store.wall_time()
    assert user is not None
    token, expire_time = tokens.issue(user, now, HOUR)
    assert tokens.authenticate(token, now).id == subject.user_id
    assert tokens.authenticate(token, expire_time - 1).id == subject.user_id
    with pytest.raises(Exception, match="CREDENTIAL_EXPIRED"):
        tokens.authenticate(token, expire_time)


async def test_a_session_token_is_no_secret_key(service: Service, subject: Subject) -> None:
    path = f"{BACKEND}GetUser"
    await refused(call(service, path, sample(path, subject), bearer(subject.session)), "CREDENTIAL_INVALID")
