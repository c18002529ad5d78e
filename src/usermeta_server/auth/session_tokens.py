"""The built-in issuer of session tokens: JWTs (RFC 7519) signed with Ed25519 (RFC 8037).

The key is made on first start and kept in the store; several may exist at once, of which the newest signs.
"""

import secrets
from collections.abc import Iterable, Mapping
from typing import Final

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from usermeta_server.auth.jws import header_of
from usermeta_server.caller import Principal, PrincipalKind
from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.ids import new_id
from usermeta_server.lru import LruMap
from usermeta_server.model import SECOND, SigningKey, User

ALGORITHM: Final = "EdDSA"
TYPE: Final = "usermeta-session+jwt"
ISSUER: Final = "usermeta"
AUDIENCE: Final = "usermeta.frontend"
_CREATE_VERSION: Final = "um_cv"
"""The claim that says at which version the user was made; tokens from before there was one lack it."""
MAX_TTL: Final = 24 * 3600 * SECOND
"""How long a session token may work at the most, in microseconds."""
_VERIFIED: Final = 100_000
"""How many verified tokens are remembered: a signature check costs more than the rest of a call."""


def new_signing_key(now: int) -> SigningKey:
    """Make a signing key at a time (microseconds), by which the newest is known."""
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return SigningKey(new_id("sgn", now), pem.decode(), now)


def _load(key: SigningKey) -> Ed25519PrivateKey:
    loaded = load_pem_private_key(key.private_pem.encode(), None)
    if not isinstance(loaded, Ed25519PrivateKey):
        raise TypeError(f"signing key {key.id} is no Ed25519 key")
    return loaded


class SessionTokens:
    """Issues session tokens and verifies them."""

    def __init__(self, keys: Iterable[SigningKey]) -> None:
        """Sign with the newest of these keys, and verify with all."""
        ordered = sorted(keys, key=lambda key: key.create_time)
        self._signing_id = ordered[-1].id
        self._signing = _load(ordered[-1])
        self._verifying = {key.id: _load(key).public_key() for key in ordered}
        self._verified: LruMap[str, Principal] = LruMap(_VERIFIED)

    def issue(self, user: User, now: int, ttl: int) -> tuple[str, int]:
        """Return a token for a user, and when it stops working (all in microseconds, rounded to seconds).

        It says at which version its user was made: so it never stands for another that is given the same id.
        """
        expires = (now + ttl) // SECOND
        claims: Mapping[str, str | int] = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": user.id,
            "iat": now // SECOND,
            "exp": expires,
            _CREATE_VERSION: user.create_version,
            "jti": secrets.token_urlsafe(12),
        }
        headers = {"kid": self._signing_id, "typ": TYPE}
        return jwt.encode(dict(claims), self._signing, ALGORITHM, headers), expires * SECOND

    def knows(self, token: str) -> bool:
        """Tell whether a token was verified before, and so is one of ours."""
        return self._verified.get(token) is not None

    def authenticate(self, token: str, now: int) -> Principal:
        """Return whom a token stands for at a time (microseconds).

        Raises:
            UsermetaError: CREDENTIAL_INVALID, CREDENTIAL_EXPIRED.
        """
        principal = self._verified.get(token) or self._verify(token)
        principal.check_time(now)
        return principal

    def _verify(self, token: str) -> Principal:
        try:
            header = header_of(token)
            key = self._verifying.get(header.get("kid", ""))
            if key is None or header.get("typ") != TYPE:
                raise UsermetaError(Reason.CREDENTIAL_INVALID)
            claims = jwt.decode(
                token,
                key,
                [ALGORITHM],
                audience=AUDIENCE,
                issuer=ISSUER,
                # Times are checked at every use: what is remembered here outlives its token.
                options={"require": ["exp", "iat", "sub"], "verify_exp": False, "verify_iat": False},
            )
        except jwt.PyJWTError as error:
            raise UsermetaError(Reason.CREDENTIAL_INVALID) from error
        user_id = claims["sub"]
        issue_time, expire_time = round(claims["iat"] * SECOND), claims["exp"] * SECOND
        principal = Principal(
            PrincipalKind.USER,
            user_id,
            issue_time=issue_time,
            expire_time=expire_time,
            user_id=user_id,
            create_version=claims.get(_CREATE_VERSION),
        )
        self._verified.put(token, principal, 1)
        return principal
