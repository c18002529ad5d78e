"""Tokens that claim to be a trusted issuer's and are not: all are refused."""

import hashlib
import hmac
from collections.abc import Callable

import jwt
import pytest

from tests.auth.oidc import Oidc, public_jwk, public_pem, segment
from tests.auth.support import NOW, ROGUE, refusal, trusting
from usermeta_server.auth.jws import MAX_TOKEN
from usermeta_server.errors import Reason


def unsigned(oidc: Oidc, _: Oidc) -> str:
    return f"{segment({'alg': 'none', 'kid': 'k1'})}.{segment(oidc.claims(NOW))}."


def unsigned_with_a_signature(oidc: Oidc, _: Oidc) -> str:
    return f"{segment({'alg': 'none', 'kid': 'k1'})}.{oidc.token(NOW).split('.', 1)[1]}"


def hmac_with_the_public_key(oidc: Oidc, _: Oidc) -> str:
    signed = f"{segment({'alg': 'HS256', 'kid': 'k1'})}.{segment(oidc.claims(NOW))}"
    return f"{signed}.{segment(hmac.digest(public_pem(oidc.key), signed.encode(), hashlib.sha256))}"


def hmac_called_rs256(oidc: Oidc, _: Oidc) -> str:
    signed = f"{segment({'alg': 'RS256', 'kid': 'k1'})}.{segment(oidc.claims(NOW))}"
    return f"{signed}.{segment(hmac.digest(public_pem(oidc.key), signed.encode(), hashlib.sha256))}"


def another_algorithm_of_the_key(oidc: Oidc, _: Oidc) -> str:
    return jwt.encode(oidc.claims(NOW), oidc.key, "RS512", {"kid": "k1"})


def pss_called_rs256(oidc: Oidc, _: Oidc) -> str:
    signed = jwt.encode(oidc.claims(NOW), oidc.key, "PS256", {"kid": "k1"}).split(".")
    return ".".join([segment({"alg": "RS256", "kid": "k1"}), *signed[1:]])


def without_algorithm(oidc: Oidc, _: Oidc) -> str:
    return f"{segment({'kid': 'k1'})}.{oidc.token(NOW).split('.', 1)[1]}"


def key_of_another_issuer(oidc: Oidc, other: Oidc) -> str:
    return jwt.encode(oidc.claims(NOW), other.key, "ES256", {"kid": other.kid})


def key_id_of_another_issuer(oidc: Oidc, other: Oidc) -> str:
    return oidc.token(NOW, {"kid": other.kid})


def issuer_of_another_key(oidc: Oidc, other: Oidc) -> str:
    return oidc.token(NOW, iss=other.issuer)


def untrusted_issuer(oidc: Oidc, _: Oidc) -> str:
    return oidc.token(NOW, iss=oidc.issuer + "/")


def without_issuer(oidc: Oidc, _: Oidc) -> str:
    return oidc.token(NOW, iss=None)


def issuers_in_a_list(oidc: Oidc, _: Oidc) -> str:
    payload = segment(oidc.claims(NOW, iss=[oidc.issuer]))
    return f"{segment({'alg': 'RS256', 'kid': 'k1'})}.{payload}.{segment(b'x')}"


def key_of_nobody(oidc: Oidc, _: Oidc) -> str:
    return jwt.encode(oidc.claims(NOW), ROGUE, "RS256", {"kid": "k1"})


def key_in_the_token(oidc: Oidc, _: Oidc) -> str:
    headers = {"kid": "mine", "jwk": public_jwk(ROGUE, kid="mine"), "jku": "http://127.0.0.1:9/", "x5u": oidc.url}
    return jwt.encode(oidc.claims(NOW), ROGUE, "RS256", headers)


def changed_claims(oidc: Oidc, _: Oidc) -> str:
    header, _claims, signature = oidc.token(NOW).split(".")
    return f"{header}.{segment(oidc.claims(NOW, sub='bob'))}.{signature}"


def critical_extension(oidc: Oidc, _: Oidc) -> str:
    return oidc.token(NOW, {"crit": ["x"], "x": 1})


def key_id_that_is_a_number(oidc: Oidc, _: Oidc) -> str:
    return f"{segment({'alg': 'RS256', 'kid': 1})}.{oidc.token(NOW).split('.', 1)[1]}"


def oversized(oidc: Oidc, _: Oidc) -> str:
    return oidc.token(NOW, padding="x" * MAX_TOKEN)


def broken(oidc: Oidc, _: Oidc) -> str:
    return oidc.token(NOW)[:-8] + "!"


def foreign_characters(oidc: Oidc, _: Oidc) -> str:
    return oidc.token(NOW) + "é"


def no_text(oidc: Oidc, _: Oidc) -> str:
    return "\ud800" + oidc.token(NOW)


def four_parts(oidc: Oidc, _: Oidc) -> str:
    return oidc.token(NOW) + ".e30"


def nothing(_: Oidc, __: Oidc) -> str:
    return ""


ATTACKS: list[Callable[[Oidc, Oidc], str]] = [
    unsigned,
    unsigned_with_a_signature,
    hmac_with_the_public_key,
    hmac_called_rs256,
    another_algorithm_of_the_key,
    pss_called_rs256,
    without_algorithm,
    key_of_another_issuer,
    key_id_of_another_issuer,
    issuer_of_another_key,
    untrusted_issuer,
    without_issuer,
    issuers_in_a_list,
    key_of_nobody,
    key_in_the_token,
    changed_claims,
    critical_extension,
    key_id_that_is_a_number,
    oversized,
    broken,
    foreign_characters,
    no_text,
    four_parts,
    nothing,
]


@pytest.mark.parametrize("attack", ATTACKS)
async def test_forgeries(attack: Callable[[Oidc, Oidc], str], oidc: Oidc, other: Oidc) -> None:
    """A token that its issuer did not sign as its settings say is not valid, whatever it says of itself."""
    async with trusting(oidc.trusted(prefix="a|"), other.trusted(prefix="b|")) as tokens:
        for each in (oidc, other):
            assert await tokens.authenticate(each.token(NOW), NOW)
        error = await refusal(tokens, attack(oidc, other))
        assert (error.reason, error.metadata) == (Reason.CREDENTIAL_INVALID, {})


async def test_another_algorithm_asks_for_no_key(oidc: Oidc) -> None:
    """A token whose algorithm is not the pinned one is refused before the issuer hears of it."""
    async with trusting(oidc.trusted()) as tokens:
        for attack in (unsigned, hmac_with_the_public_key, another_algorithm_of_the_key, untrusted_issuer):
            await refusal(tokens, attack(oidc, oidc))
        assert oidc.requests == 0
