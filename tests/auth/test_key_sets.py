"""Which keys of a set are an issuer's: those that fit its algorithm."""

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from tests.auth.oidc import Jwk, private_key, public_jwk
from usermeta_server.auth.issuers import ALGORITHMS
from usermeta_server.auth.jwks import parse


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_key_of_the_right_kind(algorithm: str) -> None:
    """A key that says nothing of its use or algorithm fits if its kind does."""
    key = private_key(algorithm)
    assert parse(orjson.dumps({"keys": [public_jwk(key, kid="k")]}), algorithm).by_kid == {"k": key.public_key()}


RSA, EC = generate_rsa(65537, 2048), generate_ec(SECP256R1())
UNFIT: list[tuple[str, object]] = [
    ("RS256", public_jwk(EC)),
    ("ES256", public_jwk(RSA)),
    ("EdDSA", public_jwk(EC)),
    ("ES256", public_jwk(private_key("ES384"))),
    ("ES384", public_jwk(EC)),
    ("RS256", public_jwk(RSA, alg="RS512")),
    ("RS256", public_jwk(RSA, alg="HS256")),
    ("RS256", public_jwk(RSA, alg=["RS256"])),
    ("RS256", public_jwk(RSA, use="enc")),
    ("RS256", RSAAlgorithm.to_jwk(RSA, as_dict=True)),
    ("ES256", ECAlgorithm.to_jwk(EC, as_dict=True)),
    ("RS256", public_jwk(RSA, n="")),
    ("RS256", public_jwk(RSA, n=7)),
    ("RS256", public_jwk(RSA, e="AA")),
    ("RS256", public_jwk(private_key("RS256", "short"))),
    ("ES256", {**public_jwk(EC), "x": public_jwk(EC)["y"]}),
    ("EdDSA", public_jwk(private_key("EdDSA"), crv="X25519")),
    ("RS256", {"kty": "oct", "k": "c2VjcmV0"}),
    ("RS256", {"kty": "RSA"}),
    ("RS256", {"kty": ["RSA"]}),
    ("RS256", {}),
    ("RS256", None),
    ("RS256", "key"),
    ("RS256", []),
]


@pytest.mark.parametrize(("algorithm", "jwk"), UNFIT)
def test_unfit_keys_are_ignored(algorithm: str, jwk: object) -> None:
    """A key of another kind, curve, algorithm or use, a private, short or broken one harms none of its neighbours."""
    named = {**jwk, "kid": "unfit"} if isinstance(jwk, dict) else jwk
    good = public_jwk(private_key(algorithm, "good"), kid="good")
    assert list(parse(orjson.dumps({"keys": [named, good, named]}), algorithm).by_kid) == ["good"]


def test_tokens_without_a_key_id() -> None:
    """The only fit key is found without an id; of several, none is guessed."""
    one, other = public_jwk(EC), public_jwk(private_key("ES256", "other"), kid="other")
    numbered = public_jwk(private_key("ES256", "third"), kid=3)

    def only(*jwks: Jwk) -> object:
        return parse(orjson.dumps({"keys": jwks}), "ES256").only

    assert only(one) == EC.public_key()
    assert only(public_jwk(RSA), one) == EC.public_key()
    assert only(other) == private_key("ES256", "other").public_key()
    assert only(one, other) is None
    assert only(one, numbered) is None
    assert only() is None
