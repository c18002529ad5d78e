"""Tokens of outside issuers: whose they are, and until when."""

from typing import Any

import jwt
import pytest

from tests.auth.oidc import AUDIENCE, Oidc, segment, serving
from tests.auth.support import NOW, ROGUE, refusal, trusting
from tests.support import USER
from usermeta_server.auth import session_tokens
from usermeta_server.auth.issuers import ALGORITHMS
from usermeta_server.auth.jws import MAX_TOKEN, issuer_of
from usermeta_server.auth.session_tokens import SessionTokens, new_signing_key
from usermeta_server.caller import Identity
from usermeta_server.errors import Reason
from usermeta_server.model import SECOND


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_who_a_token_stands_for(algorithm: str) -> None:
    """With any algorithm that may be pinned, a token says who its caller is."""
    with serving(algorithm=algorithm) as oidc:
        async with trusting(oidc.trusted()) as tokens:
            token = oidc.token(NOW, email="a@example.com", email_verified=True)
            expected = Identity(
                oidc.issuer,
                "alice",
                "alice",
                "a@example.com",
                email_address_verified=True,
                expire_time=NOW + 60 * SECOND + 10 * SECOND,
            )
            assert tokens.cached(token, NOW) is None
            assert await tokens.authenticate(token, NOW) == expected
            assert tokens.cached(token, NOW) == expected


async def test_two_issuers_with_one_subject(oidc: Oidc, other: Oidc) -> None:
    """An identity is issuer and subject together: one subject of two issuers is two external ids."""
    async with trusting(oidc.trusted(prefix="a|"), other.trusted(prefix="b|")) as tokens:
        first, second = [await tokens.authenticate(each.token(NOW), NOW) for each in (oidc, other)]
        assert (first.subject, second.subject) == ("alice", "alice")
        assert (first.issuer, second.issuer) == (oidc.issuer, other.issuer)
        assert (first.external_id, second.external_id) == ("a|alice", "b|alice")


async def test_claims_are_named_by_the_settings(oidc: Oidc) -> None:
    """Subject, address and its verification are read from the claims that the issuer's table names."""
    settings = oidc.trusted(subject_claim="uid", email_claim="mail", verified_claim="mail_ok", prefix="x:")
    async with trusting(settings) as tokens:
        token = oidc.token(NOW, sub=None, uid="7", mail="m@example.com", mail_ok=True, email="e@example.com")
        identity = await tokens.authenticate(token, NOW)
        assert identity[1:5] == ("7", "x:7", "m@example.com", True)
        assert (await refusal(tokens, oidc.token(NOW))).reason is Reason.CREDENTIAL_INVALID


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({}, ("", False)),
        ({"email_verified": True}, ("", False)),
        ({"email": "a@example.com"}, ("a@example.com", False)),
        ({"email": "a@example.com", "email_verified": True}, ("a@example.com", True)),
        ({"email": "a@example.com", "email_verified": False}, ("a@example.com", False)),
        ({"email": "a@example.com", "email_verified": "true"}, ("a@example.com", False)),
        ({"email": "a@example.com", "email_verified": 1}, ("a@example.com", False)),
        ({"email": ["a@example.com"], "email_verified": True}, ("", False)),
        ({"email": 7, "email_verified": True}, ("", False)),
        ({"email": "", "email_verified": True}, ("", False)),
    ],
)
async def test_addresses(claims: dict[str, Any], expected: tuple[str, bool], oidc: Oidc) -> None:
    """An address is a string, and verified only if its issuer says exactly `true`."""
    async with trusting(oidc.trusted()) as tokens:
        identity = await tokens.authenticate(oidc.token(NOW, **claims), NOW)
        assert (identity.email_address, identity.email_address_verified) == expected


LAST = NOW // SECOND
ACCEPTED: list[dict[str, Any]] = [
    {"aud": [AUDIENCE, "another"]},
    {"iat": None},
    {"iat": LAST + 10},
    {"nbf": LAST + 10},
    {"exp": LAST - 9},
    {"exp": LAST + 0.5},
    {"jti": 7},
    {"sub": "é" * 128},
]
REFUSED: list[dict[str, Any]] = [
    {"aud": None},
    {"aud": ""},
    {"aud": []},
    {"aud": "another"},
    {"aud": ["another"]},
    {"aud": [AUDIENCE, 7]},
    {"aud": AUDIENCE + "x"},
    {"aud": {AUDIENCE: 1}},
    {"exp": None},
    {"exp": "1900000000"},
    {"exp": True},
    {"exp": -1},
    {"exp": float("nan")},
    {"exp": float("inf")},
    {"exp": (LAST + 60) * 1000},
    {"exp": 10**400},
    {"exp": [LAST + 60]},
    {"nbf": LAST + 11},
    {"nbf": "now"},
    {"iat": LAST + 11},
    {"iat": "now"},
    {"iat": float("nan")},
    {"sub": None},
    {"sub": ""},
    {"sub": 7},
    {"sub": ["alice"]},
    {"sub": "é" * 129},
    {"sub": "\ud800"},
]


@pytest.mark.parametrize("claims", ACCEPTED)
async def test_claims_that_are_taken(claims: dict[str, Any], oidc: Oidc) -> None:
    """What the standard leaves open, and ten seconds between the clocks, is not held against a token."""
    async with trusting(oidc.trusted()) as tokens:
        assert (await tokens.authenticate(oidc.token(NOW, **claims), NOW)).issuer == oidc.issuer


@pytest.mark.parametrize("claims", REFUSED)
async def test_claims_that_are_refused(claims: dict[str, Any], oidc: Oidc) -> None:
    """A token for somebody else, without an end, from the future or without a subject is not valid."""
    async with trusting(oidc.trusted()) as tokens:
        assert await tokens.authenticate(oidc.token(NOW), NOW)
        error = await refusal(tokens, oidc.token(NOW, **claims))
        assert (error.reason, error.metadata) == (Reason.CREDENTIAL_INVALID, {})


@pytest.mark.parametrize(
    ("settings", "claims", "taken"),
    [
        ({"audience": None, "authorized_party": ("https://a",)}, {"aud": None, "azp": "https://a"}, True),
        ({"audience": None, "authorized_party": ("b", "https://a")}, {"aud": None, "azp": "https://a"}, True),
        ({"audience": None, "authorized_party": ("https://a",)}, {"aud": None, "azp": "https://b"}, False),
        ({"audience": None, "authorized_party": ("https://a",)}, {"aud": None}, False),
        ({"audience": None, "authorized_party": ("https://a",)}, {"aud": None, "azp": ["https://a"]}, False),
        ({"audience": None, "authorized_party": ("https://a",)}, {"azp": "https://a"}, False),
        ({"authorized_party": ("https://a",)}, {"azp": "https://a"}, True),
        ({"authorized_party": ("https://a",)}, {}, False),
        ({"authorized_party": ("https://a",)}, {"aud": None, "azp": "https://a"}, False),
        ({}, {"azp": "whoever"}, True),
        ({}, {"aud": None, "azp": "https://a"}, False),
    ],
)
async def test_whom_a_token_was_issued_to(
    settings: dict[str, Any], claims: dict[str, Any], oidc: Oidc, *, taken: bool
) -> None:
    """An authorized party stands in for the audience, or beside it; an audience that nobody expects is another's."""
    async with trusting(oidc.trusted(**settings)) as tokens:
        token = oidc.token(NOW, **claims)
        if taken:
            assert await tokens.authenticate(token, NOW)
        else:
            assert (await refusal(tokens, token)).reason is Reason.CREDENTIAL_INVALID


@pytest.mark.parametrize("leeway", [0, 300])
async def test_the_leeway_is_the_issuers_setting(leeway: int, oidc: Oidc) -> None:
    async with trusting(oidc.trusted(leeway=leeway)) as tokens:
        assert (await tokens.authenticate(oidc.token(NOW), NOW)).expire_time == NOW + (60 + leeway) * SECOND
        assert await tokens.authenticate(oidc.token(NOW, iat=LAST + leeway), NOW)
        assert (await refusal(tokens, oidc.token(NOW, iat=LAST + leeway + 1))).reason is Reason.CREDENTIAL_INVALID
        assert (await refusal(tokens, oidc.token(NOW, exp=LAST - leeway))).reason is Reason.CREDENTIAL_EXPIRED


async def test_a_token_expires(oidc: Oidc) -> None:
    """A token works until ten seconds after its end, remembered or not; a forged one is never merely expired."""
    async with trusting(oidc.trusted()) as tokens:
        token = oidc.token(NOW)
        end = NOW + 60 * SECOND + 10 * SECOND
        for now in (NOW, end - 1):
            assert await tokens.authenticate(token, now)
            assert tokens.cached(token, now)
        assert (await refusal(tokens, token, end)).reason is Reason.CREDENTIAL_EXPIRED
        assert (await refusal(tokens, oidc.token(NOW, exp=LAST - 10))).reason is Reason.CREDENTIAL_EXPIRED
        forged = jwt.encode(oidc.claims(NOW, exp=LAST - 10), ROGUE, "RS256", {"kid": "k1"})
        assert (await refusal(tokens, forged)).reason is Reason.CREDENTIAL_INVALID


async def test_a_verified_token_is_remembered(oidc: Oidc, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second use of a token checks no signature."""
    async with trusting(oidc.trusted()) as tokens:
        token = oidc.token(NOW)
        first = await tokens.authenticate(token, NOW)
        monkeypatch.setattr(jwt, "decode", None)
        assert await tokens.authenticate(token, NOW) == first
        with pytest.raises(TypeError):
            await tokens.authenticate(oidc.token(NOW, jti="2"), NOW)


def test_the_issuer_that_a_token_claims(oidc: Oidc) -> None:
    """It is read without a key, of built-in tokens too; what is no JWT claims none."""
    built_in, _ = SessionTokens([new_signing_key(NOW)]).issue(USER, NOW, 60 * SECOND)
    assert issuer_of(built_in) == session_tokens.ISSUER
    assert issuer_of(oidc.token(NOW)) == oidc.issuer
    assert issuer_of(oidc.token(NOW, padding="x" * MAX_TOKEN)) is None
    for payload in (segment({}), segment([]), segment({"iss": 1}), segment({"iss": None}), segment(b"\xff"), "", "é"):
        assert issuer_of(f"e30.{payload}.eHg") is None
    for token in ("", ".", "..", "a.b", "sk_abc", "signup_abc", "a.b.c.d", "\ud800.e30.eHg"):
        assert issuer_of(token) is None
