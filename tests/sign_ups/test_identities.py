"""Signing up under the identity that a trusted outside issuer vouches for; here beneath the services."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.support import request_id, settings
from usermeta_server.app import open_app
from usermeta_server.caller import Audience, Caller, Identity, Principal, PrincipalKind
from usermeta_server.core.sign_ups import NewSignUp, SignUps
from usermeta_server.core.sign_ups.use_cases import Values
from usermeta_server.core.writes import Intent
from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.model import Actor, Document, SignUpStatus

ADA = Identity(
    "https://idp.example", "ada", "idp|ada", "Ada@example.com", email_address_verified=True, expire_time=1 << 60
)
GRACE = ADA._replace(subject="grace", external_id="idp|grace", email_address="", email_address_verified=False)


def caller_of(identity: Identity) -> Caller:
    """Return a caller with a session token of an outside issuer."""
    principal = Principal(PrincipalKind.IDENTITY, identity.external_id, identity=identity)
    return Caller(Audience.FRONTEND, "CreateSignUp", principal)


def holder_of(made: NewSignUp) -> Caller:
    """Return the holder of a sign-up's token."""
    return Caller(Audience.FRONTEND, "CompleteSignUp", Principal(PrincipalKind.SIGN_UP, made.sign_up.record.id))


def intent_of(caller: Caller, **more: Any) -> Intent:  # noqa: ANN401  # any field of an intent
    """Return what a request of a caller intends."""
    return Intent(Actor(caller.audience, str(caller.principal)), caller.method, **more)


@pytest_asyncio.fixture
async def sign_ups(tmp_path: Path) -> AsyncIterator[SignUps]:
    """Return the use cases on a store of this test alone."""
    async with open_app(settings(tmp_path)) as app:
        yield app.use_cases.sign_ups


async def create(sign_ups: SignUps, identity: Identity, values: Values | None = None, **more: Any) -> NewSignUp:  # noqa: ANN401  # as above
    """Begin a sign-up under an identity."""
    caller = caller_of(identity)
    return await sign_ups.create(caller, values or {}, {Document.UNSAFE: {"a": 1}}, intent_of(caller, **more))


async def complete(sign_ups: SignUps, made: NewSignUp) -> str:
    """Complete a sign-up as its holder, and return the user's id."""
    caller = holder_of(made)
    return (await sign_ups.complete(caller, made.sign_up.record.id, "", intent_of(caller))).user.id


async def test_what_the_issuer_says_of_the_person_is_taken_over(sign_ups: SignUps) -> None:
    made = await create(sign_ups, ADA)
    record = made.sign_up.record
    assert (record.external_id, record.email_address, record.email_address_verified) == (
        "idp|ada",
        "Ada@example.com",
        True,
    )
    assert made.sign_up.status is SignUpStatus.READY
    caller = holder_of(made)
    user = (await sign_ups.complete(caller, record.id, "", intent_of(caller))).user
    assert (user.external_id, user.email_address, user.email_address_verified) == ("idp|ada", "Ada@example.com", True)


@pytest.mark.parametrize(
    ("given", "address", "verified"),
    [
        ({"email_address": "ADA@EXAMPLE.COM"}, "ADA@EXAMPLE.COM", True),
        ({"email_address": "eve@example.com"}, "eve@example.com", False),
        ({"first_name": "Ada"}, "Ada@example.com", True),
    ],
)
async def test_only_the_address_that_the_issuer_verified_is_verified(
    sign_ups: SignUps, given: Values, address: str, *, verified: bool
) -> None:
    record = (await create(sign_ups, ADA, given)).sign_up.record
    assert (record.email_address, record.email_address_verified) == (address, verified)


async def test_an_address_that_the_issuer_does_not_vouch_for_is_not_verified(sign_ups: SignUps) -> None:
    record = (await create(sign_ups, ADA._replace(email_address_verified=False))).sign_up.record
    assert (record.email_address, record.email_address_verified) == ("Ada@example.com", False)
    made = await create(sign_ups, GRACE)
    assert (made.sign_up.status, made.sign_up.record.email_address) == (SignUpStatus.MISSING_REQUIREMENTS, "")


async def test_an_identity_that_has_a_user_already_cannot_begin(sign_ups: SignUps) -> None:
    await complete(sign_ups, await create(sign_ups, ADA))
    for more in ({}, {"validate_only": True}, {"request_id": request_id()}):
        with pytest.raises(UsermetaError) as caught:
            await create(sign_ups, ADA, {"email_address": "eve@example.com"}, **more)
        assert caught.value.reason is Reason.IDENTIFIER_TAKEN
        assert caught.value.metadata == {"field": "external_id"}
    assert len(await sign_ups.list("", 10)) == 1


async def test_of_two_sign_ups_of_one_identity_one_completes(sign_ups: SignUps) -> None:
    both = [await create(sign_ups, ADA, {"email_address": f"{index}@example.com"}) for index in range(2)]
    first = await complete(sign_ups, both[0])
    with pytest.raises(UsermetaError) as caught:
        await complete(sign_ups, both[1])
    assert caught.value.metadata == {"field": "sign_up"}
    assert await complete(sign_ups, both[0]) == first


async def test_a_repeated_creation_makes_no_other_sign_up_and_shows_the_token_once(sign_ups: SignUps) -> None:
    again = request_id()
    first = await create(sign_ups, ADA, request_id=again)
    assert first.token
    repeated = await create(sign_ups, ADA, request_id=again)
    assert (repeated.sign_up, repeated.token) == (first.sign_up, "")
    assert repeated.view.fields == first.view.fields
    await complete(sign_ups, first)
    replayed = await create(sign_ups, ADA, request_id=again)
    assert (replayed.token, replayed.sign_up.status) == ("", SignUpStatus.COMPLETE)
    assert len(await sign_ups.list("", 10)) == 1


async def test_request_ids_of_two_identities_never_meet(sign_ups: SignUps) -> None:
    again = request_id()
    made = [await create(sign_ups, each, request_id=again) for each in (ADA, GRACE)]
    assert made[0].sign_up.record.id != made[1].sign_up.record.id
