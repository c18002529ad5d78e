"""Signed tokens as text: the compact serialization of JWS (RFC 7515, section 7.1), in its one spelling."""

from collections.abc import Mapping
from typing import Any, Final

import jwt
import orjson

from usermeta_server import base64url

MAX_TOKEN: Final = 8192
"""Characters of a credential; a JWT of an identity provider has one or two thousand."""


def header_of(token: str) -> Mapping[str, Any]:
    """Return the header of a token, unverified: what every verification begins with.

    PyJWT takes a token with padding, white space and more for the same as without; so one session would have many
    texts, and whoever remembers or revokes a token by its text would miss the others.

    Raises:
        jwt.InvalidTokenError: it is no token, or is not spelled as its signer spells it.
    """
    try:
        _parts(token)
    except ValueError as error:
        raise jwt.DecodeError("not a JWS in compact serialization") from error
    return jwt.get_unverified_header(token)


def issuer_of(token: str) -> str | None:
    """Return the issuer that a token claims, unverified; None for what is no JWT.

    It tells whose rules a token is to be judged by, and nothing else.
    """
    try:
        claims = orjson.loads(_parts(token)[1])
    except ValueError:
        return None
    issuer = claims.get("iss") if isinstance(claims, dict) else None
    return issuer if isinstance(issuer, str) else None


def _parts(token: str) -> tuple[bytes, bytes, bytes]:
    """Return header, payload and signature."""
    if len(token) > MAX_TOKEN:
        raise ValueError("too long")
    header, payload, signature = map(base64url.decode, token.split("."))
    return header, payload, signature
