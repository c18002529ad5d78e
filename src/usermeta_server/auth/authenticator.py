"""From a call's `authorization` header to its principal: which credentials each audience takes."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from usermeta_server.audience import ANONYMOUS, Audience, Principal
from usermeta_server.auth.secret_keys import KeyRing
from usermeta_server.auth.session_tokens import SessionTokens
from usermeta_server.auth.sign_up_tokens import PREFIX, SignUpTokens
from usermeta_server.errors import Reason, UsermetaError

_MAX_TOKEN: Final = 8192
"""Characters of a credential; a JWT of an identity provider has one or two thousand."""


def _now() -> int:
    return time.time_ns() // 1000


class Authenticator:
    """Tells whose credential a call came with."""

    def __init__(
        self, ring: KeyRing, tokens: SessionTokens, sign_up_tokens: SignUpTokens, clock: Callable[[], int] = _now
    ) -> None:
        """Take secret keys for the backend, and session tokens and sign-up tokens for the frontend."""
        self._clock = clock
        self._tokens = tokens
        self._sign_up_tokens = sign_up_tokens
        self._by_audience: Mapping[Audience, Callable[[str, int], Principal]] = {
            Audience.BACKEND: ring.authenticate,
            Audience.FRONTEND: self._frontend,
        }

    async def authenticate(self, audience: Audience, headers: Sequence[str | bytes]) -> Principal:
        """Return the principal of a call to a method of this audience; nobody, if it came without a credential.

        Raises:
            UsermetaError: CREDENTIAL_INVALID, also for a credential of the wrong kind; CREDENTIAL_EXPIRED.
        """
        if not headers:
            return ANONYMOUS
        return self._by_audience[audience](_bearer_token(headers), self._clock())

    def _frontend(self, token: str, now: int) -> Principal:
        if token.startswith(PREFIX):
            return self._sign_up_tokens.authenticate(token)
        return self._tokens.authenticate(token, now)


def _bearer_token(headers: Sequence[str | bytes]) -> str:
    """Return the token of the one `authorization: Bearer …` header (RFC 6750, section 2.1)."""
    if len(headers) > 1:
        raise UsermetaError(Reason.CREDENTIAL_INVALID)
    header = headers[0]
    text = header if isinstance(header, str) else header.decode("ascii", "replace")
    scheme, _, token = text.partition(" ")
    if scheme.lower() != "bearer" or not token or len(token) > _MAX_TOKEN:
        raise UsermetaError(Reason.CREDENTIAL_INVALID)
    return token
