"""Session tokens: how long they work, and for whom."""

import time
from typing import Final

import jwt
import pytest

from tests.rpc.methods import METHODS, Subject, call, sample
from tests.support import BACKEND, FRONTEND, Service, bearer, refused, request_id
from usermeta.backend.v1 import backend_service_pb2 as backend_pb
from usermeta.frontend.v1 import frontend_service_pb2 as frontend_pb
from usermeta_server.model import HOUR, SECOND

ME: Final = frontend_pb.GetUserRequest()
FRONTEND_METHODS: Final = [path for path in METHODS if path.startswith(FRONTEND) and not path.endswith("SignUp")]
"""The methods that take a session."""
USER_METHODS: Final = [path for path in FRONTEND_METHODS if not path.endswith(("Profile", "Profiles"))]


# Issuing


@pytest.mark.parametrize("seconds", [1, 60, 3600, 24 * 3600])
async def test_a_token_works_for_as_long_as_it_was_asked_for(service: Service, subject: Subject, seconds: int) -> None:
    request = backend_pb.CreateSessionTokenRequest(user_id=subject.user_id)
    request.ttl.FromSeconds(seconds)
    made = await service.admin.CreateSessionToken(request)
    claims = jwt.decode(made.session_token, options={"verify_signature": False})
    assert made.expire_time.seconds == claims["exp"]
    assert made.expire_time.nanos == 0
    assert abs(claims["exp"] - seconds - time.time()) < 3


async def test_a_token_works_for_an_hour_unless_asked_otherwise(service: Service, subject: Subject) -> None:
    made = await service.admin.CreateSessionToken(backend_pb.CreateSessionTokenRequest(user_id=subject.user_id))
    assert abs(made.expire_time.seconds - 3600 - time.time()) < 3


@pytest.mark.parametrize(("seconds", "nanos"), [(0, 0), (0, 999_999_000), (-1, 0), (24 * 3600, 1000), (1 << 40, 0)])
async def test_a_token_for_too_short_or_too_long_is_refused(
    service: Service, subject: Subject, seconds: int, nanos: int
) -> None:
    request = backend_pb.CreateSessionTokenRequest(user_id=subject.user_id)
    request.ttl.seconds, request.ttl.nanos = seconds, nanos
    request.ttl.SetInParent()
    refusal = await refused(service.admin.CreateSessionToken(request), "FIELD_INVALID")
    assert refusal.fields == ("ttl",)


async def test_a_token_names_its_issuer_audience_user_and_type(subject: Subject) -> None:
    header = jwt.get_unverified_header(subject.session)
    claims = jwt.decode(subject.session, options={"verify_signature": False})
    assert header["typ"] == "usermeta-session+jwt"
    assert header["kid"]
    assert claims.keys() == {"iss", "aud", "sub", "iat", "exp", "jti"}
    assert claims["sub"] == subject.user_id


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


async def recreated(service: Service) -> backend_pb.CreateUserResponse:
    """Return a user that was made under the id of one that was erased."""
    first = await service.user()
    await service.admin.DeleteUser(backend_pb.DeleteUserRequest(user_id=first.id))
    return await service.admin.CreateUser(backend_pb.CreateUserRequest(user_id=first.id))


@pytest.mark.parametrize("path", USER_METHODS)
async def test_a_session_is_not_that_of_a_later_user_with_the_same_id(
    service: Service, subject: Subject, path: str
) -> None:
    again = (await recreated(service)).user
    issue_time = again.create_time.seconds * SECOND - 5 * SECOND
    token, _ = service.server.app.tokens.issue(again.id, issue_time, HOUR)
    await refused(call(service, path, sample(path, subject), bearer(token)), "USER_NOT_FOUND")


async def test_a_session_is_not_that_of_a_later_user_with_the_same_id_made_in_the_same_second(
    service: Service,
) -> None:
    again = (await recreated(service)).user
    issue_time = again.create_time.ToMicroseconds() - 1
    token, _ = service.server.app.tokens.issue(again.id, issue_time, HOUR)
    await refused(service.frontend(token).GetUser(ME), "USER_NOT_FOUND")


async def test_a_session_of_a_new_user_works_at_once(service: Service) -> None:
    user = await service.user()
    token = await service.session(user.id)
    assert (await service.frontend(token).GetUser(ME)).user.id == user.id


async def test_a_token_that_is_remembered_still_expires(service: Service, subject: Subject) -> None:
    """The cache of verified tokens is no way around expiry."""
    tokens = service.server.app.tokens
    now = time.time_ns() // 1000
    token, expire_time = tokens.issue(subject.user_id, now, HOUR)
    assert tokens.authenticate(token, now).id == subject.user_id
    assert tokens.authenticate(token, expire_time - 1).id == subject.user_id
    with pytest.raises(Exception, match="CREDENTIAL_EXPIRED"):
        tokens.authenticate(token, expire_time)


async def test_a_session_token_is_no_secret_key(service: Service, subject: Subject) -> None:
    path = f"{BACKEND}GetUser"
    await refused(call(service, path, sample(path, subject), bearer(subject.session)), "CREDENTIAL_INVALID")
