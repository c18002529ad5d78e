"""What does not pass for a session token."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.auth.spellings import other_spellings
from tests.rpc.methods import Subject
from tests.support import Service, refused
from usermeta.frontend.v1 import frontend_service_pb2 as frontend_pb
from usermeta_server.auth.session_tokens import SessionTokens

ME: Final = frontend_pb.GetUserRequest()


def parts(service: Service, subject: Subject) -> tuple[SessionTokens, dict[str, Any], dict[str, Any]]:
    """Return the issuer, and header and claims of a good token, for a test to spoil."""
    tokens = service.server.app.tokens
    header = {"kid": tokens._signing_id, "typ": "usermeta-session+jwt"}
    now = time.time()
    claims = {
        "iss": "usermeta",
        "aud": "usermeta.frontend",
        "sub": subject.user_id,
        "iat": now,
        "exp": int(now) + 60,
        "jti": "j",
    }
    return tokens, header, claims


async def test_a_token_as_the_tests_make_them_works_before_it_is_spoilt(service: Service, subject: Subject) -> None:
    tokens, header, claims = parts(service, subject)
    token = jwt.encode(claims, tokens._signing, "EdDSA", header)
    assert (await service.frontend(token).GetUser(ME)).user.id == subject.user_id


SPOILT: Final[Mapping[str, tuple[dict[str, Any], dict[str, Any]]]] = {
    "another kid": ({"kid": "sgn_other"}, {}),
    "an empty kid": ({"kid": ""}, {}),
    "no kid": ({"kid": None}, {}),
    "a plain JWT's typ": ({"typ": "JWT"}, {}),
    "no typ": ({"typ": None}, {}),
    "another issuer": ({}, {"iss": "https://elsewhere.example"}),
    "no issuer": ({}, {"iss": None}),
    "another audience": ({}, {"aud": "usermeta.backend"}),
    "no audience": ({}, {"aud": None}),
    "no subject": ({}, {"sub": None}),
    "a number as subject": ({}, {"sub": 7}),
    "no expiry": ({}, {"exp": None}),
    "no time of issue": ({}, {"iat": None}),
    "more than 8,192 characters": ({}, {"jti": "j" * 8192}),
    "an unknown critical extension": ({"crit": ["b64"], "b64": False}, {}),
}


def without_none(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with changes; None takes one away."""
    return {name: value for name, value in {**values, **changes}.items() if value is not None}


@pytest.mark.parametrize(("headers", "claimed"), SPOILT.values(), ids=SPOILT)
async def test_a_token_of_our_own_key_but_of_another_form_is_refused(
    service: Service, subject: Subject, headers: dict[str, Any], claimed: dict[str, Any]
) -> None:
    tokens, header, claims = parts(service, subject)
    pieces = [without_none({"alg": "EdDSA", **header}, headers), without_none(claims, claimed)]
    signed = b".".join(encoded(json.dumps(piece).encode()) for piece in pieces)
    token = b".".join([signed, encoded(tokens._signing.sign(signed))]).decode()
    await refused(service.frontend(token).GetUser(ME), "CREDENTIAL_INVALID")


def encoded(data: bytes) -> bytes:
    """Return bytes as a JWT writes them."""
    return base64.urlsafe_b64encode(data).rstrip(b"=")


Forge = Callable[[SessionTokens, dict[str, Any], dict[str, Any]], str]


def unsigned(_: SessionTokens, header: dict[str, Any], claims: dict[str, Any]) -> str:
    """Sign with nothing, and say so."""
    pieces = [{"alg": "none", **header}, claims]
    return ".".join([*(encoded(json.dumps(piece).encode()).decode() for piece in pieces), ""])


def hmac_with(public: Callable[[SessionTokens], bytes]) -> Forge:
    """Sign with the public key as if it were a shared secret."""

    def forge(tokens: SessionTokens, header: dict[str, Any], claims: dict[str, Any]) -> str:
        pieces = [{"alg": "HS256", **header}, claims]
        signed = b".".join(encoded(json.dumps(piece).encode()) for piece in pieces)
        mac = hmac.new(public(tokens), signed, hashlib.sha256).digest()
        return b".".join([signed, encoded(mac)]).decode()

    return forge


def public_pem(tokens: SessionTokens) -> bytes:
    """Return the public key as PEM."""
    return tokens._signing.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def public_raw(tokens: SessionTokens) -> bytes:
    """Return the public key's bytes."""
    return tokens._signing.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def anothers_key(_: SessionTokens, header: dict[str, Any], claims: dict[str, Any]) -> str:
    """Sign with a key of one's own under the issuer's name."""
    return jwt.encode(claims, Ed25519PrivateKey.generate(), "EdDSA", header)


def own_key_in_the_header(_: SessionTokens, header: dict[str, Any], claims: dict[str, Any]) -> str:
    """Sign with a key of one's own and send it along."""
    key = Ed25519PrivateKey.generate()
    raw = encoded(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()
    return jwt.encode(claims, key, "EdDSA", {**header, "jwk": {"kty": "OKP", "crv": "Ed25519", "x": raw}})


def other_claims(tokens: SessionTokens, header: dict[str, Any], claims: dict[str, Any]) -> str:
    """Put other claims between a good token's header and signature."""
    head, _, signature = jwt.encode(claims, tokens._signing, "EdDSA", header).split(".")
    return f"{head}.{encoded(json.dumps({**claims, 'exp': claims['exp'] + 1}).encode()).decode()}.{signature}"


def no_signature(tokens: SessionTokens, header: dict[str, Any], claims: dict[str, Any]) -> str:
    """Leave the signature away."""
    return jwt.encode(claims, tokens._signing, "EdDSA", header).rpartition(".")[0] + "."


FORGERIES: Final[Mapping[str, Forge]] = {
    "alg none": unsigned,
    "HMAC with the public key as PEM": hmac_with(public_pem),
    "HMAC with the public key's bytes": hmac_with(public_raw),
    "another's key": anothers_key,
    "own key in the header": own_key_in_the_header,
    "other claims": other_claims,
    "no signature": no_signature,
}


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES)
async def test_a_forged_token_is_refused(service: Service, subject: Subject, forge: Forge) -> None:
    token = forge(*parts(service, subject))
    await refused(service.frontend(token).GetUser(ME), "CREDENTIAL_INVALID")


NONSENSE: Final = ("a.b.c", "..", ".", "e30.e30.e30", "W10.W10.W10", "bnVsbA.bnVsbA.", "eyJhbGciOlsxXX0.e30.AA", "%00")


@pytest.mark.parametrize("token", NONSENSE)
async def test_nonsense_is_no_token(service: Service, token: str) -> None:
    await refused(service.frontend(token).GetUser(ME), "CREDENTIAL_INVALID")


async def test_another_spelling_of_a_good_token_is_none(service: Service, subject: Subject) -> None:
    """Neither our own nor an outside issuer's; also when the token itself was taken just before."""
    for token in (subject.session, subject.identity):
        assert (await service.frontend(token).GetUser(ME)).user.id == subject.user_id
        for other in other_spellings(token):
            if other.isascii() and other.isprintable() and other.strip() == other:  # what a header can hold
                await refused(service.frontend(other).GetUser(ME), "CREDENTIAL_INVALID")
