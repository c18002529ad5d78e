"""Signing up under the identity that an outside issuer vouches for, over the whole way."""

from typing import Any, Final

import grpc
import pytest

from tests.rpc.trusting import THEME, Trusting, address, begin, holder, join
from tests.support import document, refused, request_id
from usermeta.backend.v1 import backend_service_pb2 as backend_pb
from usermeta.backend.v1.sign_up_pb2 import SignUp as BackendSignUp
from usermeta.frontend.v1 import frontend_service_pb2 as pb
from usermeta.frontend.v1.sign_up_pb2 import SignUp
from usermeta.type.v1.sign_up_status_pb2 import SIGN_UP_STATUS_MISSING_REQUIREMENTS, SIGN_UP_STATUS_READY

pytestmark = pytest.mark.asyncio(loop_scope="session")


# Becoming a user


async def test_a_caller_without_a_user_signs_up_under_its_identity(trusting: Trusting, sub: str) -> None:
    token = trusting.token(sub)
    await refused(trusting.get(token), "USER_NOT_FOUND")
    made = await begin(trusting, token, email_address=address())
    done = await holder(trusting, made).CompleteSignUp(pb.CompleteSignUpRequest())
    user = await trusting.get(token)
    assert user == done.user
    assert document(user.unsafe_metadata) == THEME
    assert await trusting.get(done.session_token) == user
    assert (await trusting.service.get(user.id)).external_id == f"a|{sub}"


@pytest.mark.parametrize("more", [{}, {"validate_only": True}, {"request_id": request_id()}])
async def test_an_identity_that_is_a_user_is_told_at_once_when_it_signs_up_again(
    trusting: Trusting, sub: str, more: dict[str, Any]
) -> None:
    token = trusting.token(sub)
    user = await join(trusting, token)
    request = pb.CreateSignUpRequest(sign_up=SignUp(email_address=address()), **more)
    refusal = await refused(trusting.service.frontend(token).CreateSignUp(request), "IDENTIFIER_TAKEN")
    assert refusal.code is grpc.StatusCode.ALREADY_EXISTS
    assert await trusting.service.get(user.id) == user


@pytest.mark.parametrize("subject", ["x" * 300, "two\nlines"])
async def test_an_identity_that_no_user_can_have_begins_no_sign_up(trusting: Trusting, subject: str) -> None:
    """Its subject is no external id: too long, or with what none has in it."""
    token = trusting.token(subject)
    request = pb.CreateSignUpRequest(sign_up=SignUp(email_address=address()))
    await refused(trusting.service.frontend(token).CreateSignUp(request), "CREDENTIAL_INVALID")


async def test_of_two_sign_ups_under_one_identity_one_becomes_a_user(trusting: Trusting, sub: str) -> None:
    token = trusting.token(sub)
    first, second = [await begin(trusting, token, email_address=address()) for _ in range(2)]
    user = (await holder(trusting, first).CompleteSignUp(pb.CompleteSignUpRequest())).user
    await refused(holder(trusting, second).CompleteSignUp(pb.CompleteSignUpRequest()), "IDENTIFIER_TAKEN")
    assert (await trusting.get(token)).id == user.id


async def test_a_repeated_creation_makes_no_other_sign_up(trusting: Trusting, sub: str) -> None:
    """Also under another token of the same identity: an identity is a principal, a token is not."""
    request = pb.CreateSignUpRequest(sign_up=SignUp(email_address=address()), request_id=request_id())
    first = await trusting.service.frontend(trusting.token(sub)).CreateSignUp(request)
    again = await trusting.service.frontend(trusting.token(sub)).CreateSignUp(request)
    assert first.sign_up_token
    assert again == pb.CreateSignUpResponse(sign_up=first.sign_up)


# What the issuer says of the person

CLAIMED: Final[list[tuple[dict[str, Any], str, str, bool]]] = [
    ({"email": "{}", "email_verified": True}, "", "{}", True),
    ({"email": "{}", "email_verified": False}, "", "{}", False),
    ({"email": "{}", "email_verified": "true"}, "", "{}", False),
    ({"email": "{}"}, "", "{}", False),
    ({"email": "{}", "email_verified": True}, "other.{}", "other.{}", False),
    ({"email": "{}", "email_verified": True}, "{}", "{}", True),
    ({"email_verified": True}, "{}", "{}", False),
]


@pytest.mark.parametrize(("claims", "given", "expected", "verified"), CLAIMED)
async def test_only_an_address_that_the_issuer_verified_is_verified(
    trusting: Trusting, sub: str, claims: dict[str, Any], given: str, expected: str, *, verified: bool
) -> None:
    """`claims` and `given` are what the token and the person say; {} is the person's address."""
    own = address()
    token = trusting.token(sub, None, **{name: own if value == "{}" else value for name, value in claims.items()})
    user = await join(trusting, token, email_address=given.format(own))
    assert (user.email_address, user.email_address_verified) == (expected.format(own), verified)


async def test_an_address_that_the_person_changes_is_no_longer_verified(trusting: Trusting, sub: str) -> None:
    made = await begin(trusting, trusting.token(sub, email=address(), email_verified=True))
    request = pb.UpdateSignUpRequest(sign_up=SignUp(email_address=address()))
    await holder(trusting, made).UpdateSignUp(request)
    user = (await holder(trusting, made).CompleteSignUp(pb.CompleteSignUpRequest())).user
    assert (user.email_address, user.email_address_verified) == (request.sign_up.email_address, False)


NO_ADDRESSES: Final = (
    "nobody",
    "a@b@c",
    " ada@example.com",
    "a\x00@example.com",
    "a\n@b.c",
    "a\u00ad@b.c",
    "a@b..c",
    "x" * 251 + "@b.c",
    7,
    ["a@b.c"],
)


@pytest.mark.parametrize("claim", NO_ADDRESSES)
async def test_a_claim_that_is_no_email_address_is_not_taken_over(trusting: Trusting, sub: str, claim: object) -> None:
    """No user has an address that no backend could give it; the person can still give one of their own."""
    made = await begin(trusting, trusting.token(sub, email=claim, email_verified=True))
    assert (made.sign_up.status, made.sign_up.email_address) == (SIGN_UP_STATUS_MISSING_REQUIREMENTS, "")
    request = pb.UpdateSignUpRequest(sign_up=SignUp(email_address=address()))
    updated = (await holder(trusting, made).UpdateSignUp(request)).sign_up
    assert updated.status == SIGN_UP_STATUS_READY
    user = (await holder(trusting, made).CompleteSignUp(pb.CompleteSignUpRequest())).user
    assert not user.email_address_verified


NO_EXTERNAL_IDS: Final = ("a\x00b", "a\u2028b", "a\u200bb", "a\nb", "\x1b[2J", "trailing ", "é" * 128)


@pytest.mark.parametrize("claim", NO_EXTERNAL_IDS)
async def test_a_subject_that_can_be_no_external_id_cannot_sign_up(trusting: Trusting, claim: str) -> None:
    """Its token is not valid here, whatever its issuer says: no user can have such an identity."""
    token = trusting.token(claim)
    await refused(begin(trusting, token, email_address=address()), "CREDENTIAL_INVALID")
    await refused(trusting.get(token))


async def test_an_external_id_that_a_backend_attaches_replaces_the_identity(trusting: Trusting, sub: str) -> None:
    """The backend has the last word on who a user is."""
    token = trusting.token(sub)
    made = await begin(trusting, token, email_address=address())
    attached = BackendSignUp(external_id=f"hr|{sub}")
    request = backend_pb.UpdateSignUpRequest(sign_up_id=made.sign_up.id, sign_up=attached)
    await trusting.service.admin.UpdateSignUp(request)
    await holder(trusting, made).CompleteSignUp(pb.CompleteSignUpRequest())
    await refused(trusting.get(token), "USER_NOT_FOUND")
