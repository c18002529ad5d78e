"""What tests of outside tokens share: a verifier for the length of a test, and the errors with which it refuses."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pytest

from tests.auth.oidc import Clock, private_key
from tests.support import DEADLINE
from usermeta_server.auth.issuers import Issuer
from usermeta_server.auth.jwks import KeySet
from usermeta_server.auth.outside_tokens import OutsideTokens
from usermeta_server.errors import UsermetaError
from usermeta_server.model import SECOND

NOW: Final = 1_800_000_000 * SECOND
ROGUE: Final = private_key("RS256", "rogue")
"""A key that no issuer has."""


@asynccontextmanager
async def trusting(*issuers: Issuer, clock: Clock | None = None) -> AsyncIterator[OutsideTokens]:
    """Verify tokens of these issuers until the context is left."""
    tokens = OutsideTokens(issuers, clock or Clock())
    try:
        yield tokens
    finally:
        await tokens.close()


async def refusal(tokens: OutsideTokens, token: str, now: int = NOW) -> UsermetaError:
    """Return the error with which a token is refused, having seen that it is not remembered."""
    with pytest.raises(UsermetaError) as caught:
        await tokens.authenticate(token, now)
    assert tokens.cached(token, now) is None
    return caught.value


@asynccontextmanager
async def key_set(issuer: Issuer, clock: Clock, patience: float = DEADLINE) -> AsyncIterator[KeySet]:
    """Hold the keys of an issuer until the context is left."""
    keys = KeySet(issuer, clock, timeout=patience)
    try:
        yield keys
    finally:
        await keys.close()
