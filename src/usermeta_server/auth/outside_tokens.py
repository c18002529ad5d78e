"""Session tokens of outside issuers: verified JWTs (RFC 7519), each of which says an identity.

Which user an identity stands for is not known here, and so cannot be remembered here: it may change at any call.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

import jwt

from usermeta_server.auth.issuers import Issuer
from usermeta_server.auth.jwks import KeySet
from usermeta_server.auth.jws import header_of, issuer_of
from usermeta_server.caller import Identity
from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.lru import LruMap
from usermeta_server.model import MAX_EXTERNAL_ID, SECOND
from usermeta_server.unicode import HIDDEN, first_of

_MAX_TIME: Final = 253_402_300_799
"""The last second of the year 9999: a time after it is most likely in milliseconds."""
_CACHE_BYTES: Final = 64 << 20
_ENTRY_BYTES: Final = 1024
"""About what a remembered token takes besides its own characters."""


class _Trusted(NamedTuple):
    issuer: Issuer
    keys: KeySet


class _Verified(NamedTuple):
    identity: Identity
    keys: KeySet
    version: int


class OutsideTokens:
    """Verifies the tokens of trusted issuers."""

    def __init__(self, issuers: Iterable[Issuer], clock: Callable[[], float] = time.monotonic) -> None:
        """Trust these issuers; `clock` tells how old their keys are, in seconds."""
        self._trusted = {issuer.issuer: _Trusted(issuer, KeySet(issuer, clock)) for issuer in issuers}
        self._verified: LruMap[str, _Verified] = LruMap(_CACHE_BYTES)

    def cached(self, token: str, now: int) -> Identity | None:
        """Return the identity of a token that was verified before and still holds at a time (microseconds).

        None sends the caller to `authenticate`: also when the issuer's keys have changed or are due, so that
        a key that was withdrawn takes its tokens with it.
        """
        known = self._verified.get(token)
        if known is None or known.identity.expire_time <= now:
            return None
        current = known.version == known.keys.version and not known.keys.overdue
        return known.identity if current else None

    async def authenticate(self, token: str, now: int) -> Identity:
        """Return whom a token stands for at a time (microseconds).

        Raises:
            UsermetaError: CREDENTIAL_INVALID, with the `issuer` in its metadata when that could not be reached
                for its keys; CREDENTIAL_EXPIRED.
        """
        identity = self.cached(token, now)
        if identity is not None:
            return identity
        trusted = self._trusted.get(issuer_of(token) or "")
        if trusted is None:
            raise UsermetaError(Reason.CREDENTIAL_INVALID)
        verified = await _verify(token, trusted, now)
        self._verified.put(token, verified, len(token) + _ENTRY_BYTES)
        return verified.identity

    async def close(self) -> None:
        """End fetches under way."""
        for trusted in self._trusted.values():
            await trusted.keys.close()


async def _verify(token: str, trusted: _Trusted, now: int) -> _Verified:
    issuer, keys = trusted
    try:
        header = header_of(token)
        if header.get("alg") != issuer.algorithm:  # refused before its key is looked for
            raise UsermetaError(Reason.CREDENTIAL_INVALID)
        key = await keys.key(header.get("kid"))
        if key is None:
            raise _no_key(trusted)
        claims = jwt.decode(
            token,
            key,
            [issuer.algorithm],
            audience=issuer.audience,
            issuer=issuer.issuer,
            # The times are checked below, by our clock.
            options={
                "require": ["exp", issuer.subject_claim],
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
                "verify_sub": False,
                "verify_jti": False,
            },
        )
    except jwt.PyJWTError as error:
        raise UsermetaError(Reason.CREDENTIAL_INVALID) from error
    _check_authorized_party(claims, issuer)
    expire_time = _expire_time(claims, now, issuer.leeway * SECOND)
    return _Verified(_identity(claims, issuer, expire_time), keys, keys.version)


def _check_authorized_party(claims: Mapping[str, Any], issuer: Issuer) -> None:
    """Check whom a token was issued to (OpenID Connect Core, section 2), if its issuer names those who may use it."""
    if issuer.authorized_party and claims.get("azp") not in issuer.authorized_party:
        raise UsermetaError(Reason.CREDENTIAL_INVALID)


def _no_key(trusted: _Trusted) -> UsermetaError:
    if trusted.keys.reachable:
        return UsermetaError(Reason.CREDENTIAL_INVALID)
    return UsermetaError(
        Reason.CREDENTIAL_INVALID,
        "The credential cannot be verified, for its issuer cannot be reached: retry later.",
        {"issuer": trusted.issuer.issuer},
    )


def _identity(claims: Mapping[str, Any], issuer: Issuer, expire_time: int) -> Identity:
    subject = claims[issuer.subject_claim]
    if not isinstance(subject, str) or not subject:
        raise UsermetaError(Reason.CREDENTIAL_INVALID)
    external_id = issuer.prefix + subject
    hidden = first_of(external_id, HIDDEN) or external_id.strip() != external_id
    if hidden or len(external_id.encode()) > MAX_EXTERNAL_ID:
        raise UsermetaError(Reason.CREDENTIAL_INVALID)
    email = claims.get(issuer.email_claim)
    email_address = email if isinstance(email, str) else ""
    verified = bool(email_address) and claims.get(issuer.verified_claim) is True
    return Identity(issuer.issuer, subject, external_id, email_address, verified, expire_time)


def _expire_time(claims: Mapping[str, Any], now: int, leeway: int) -> int:
    """Return until when a token may be used, having checked that it may be used now (microseconds)."""
    expire_time = _time(claims, "exp") + leeway
    if max(_time(claims, "nbf"), _time(claims, "iat")) > now + leeway:
        raise UsermetaError(Reason.CREDENTIAL_INVALID)
    if expire_time <= now:
        raise UsermetaError(Reason.CREDENTIAL_EXPIRED)
    return expire_time


def _time(claims: Mapping[str, Any], name: str) -> int:
    """Return a NumericDate (RFC 7519, section 2) in microseconds; 0 if it is not there."""
    value = claims.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MAX_TIME:
        raise UsermetaError(Reason.CREDENTIAL_INVALID)
    return int(value * SECOND)
