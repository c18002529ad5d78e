"""From a call's `authorization` header to its principal: which credentials each audience takes."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from usermeta_server.auth.jws import MAX_TOKEN, issuer_of
from usermeta_server.auth.outside_tokens import OutsideTokens
from usermeta_server.auth.secret_keys import KeyRing
from usermeta_server.auth.session_tokens import ISSUER, SessionTokens
from usermeta_server.auth.sign_up_tokens import PREFIX, SignUpTokens
from usermeta_server.caller import ANONYMOUS, Audience, Identity, Principal, PrincipalKind
from usermeta_server.clock import Clock
from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.model import Identifier, IdentifierKind, User

FindUser = Callable[[Identifier], Awaitable[User | None]]


class FrontendCredentials:
    """What a frontend can prove who it is with: sign-up tokens, our own session tokens, those of outside issuers."""

    def __init__(self, sign_ups: SignUpTokens, sessions: SessionTokens, outside: OutsideTokens, find: FindUser) -> None:
        """Take these; `find` tells which user an outside identity stands for, anew at every call."""
        self._sign_ups = sign_ups
        self._sessions = sessions
        self._outside = outside
        self._find = find

    async def authenticate(self, token: str, now: int) -> Principal:
        """Return whom a token stands for at a time (microseconds).

        Raises:
            UsermetaError: CREDENTIAL_INVALID, CREDENTIAL_EXPIRED.
        """
        if token.startswith(PREFIX):
            return self._sign_ups.authenticate(token)
        if self._sessions.knows(token) or issuer_of(token) == ISSUER:
            return self._sessions.authenticate(token, now)
        return await self._as_principal(await self._outside.authenticate(token, now))

    async def _as_principal(self, identity: Identity) -> Principal:
        user = await self._find(Identifier(IdentifierKind.EXTERNAL_ID, identity.external_id))
        return Principal(
            PrincipalKind.IDENTITY,
            identity.external_id,
            expire_time=identity.expire_time,
            user_id=user.id if user else "",
            identity=identity,
        )


class Authenticator:
    """Tells whose credential a call came with."""

    def __init__(self, ring: KeyRing, frontend: FrontendCredentials, clock: Clock) -> None:
        """Take secret keys for the backend, for the frontend what `frontend` takes; all expires by `clock`."""
        self._clock = clock
        self._ring = ring
        self._by_audience: Mapping[Audience, Callable[[str, int], Awaitable[Principal]]] = {
            Audience.BACKEND: ring.authenticate,
            Audience.FRONTEND: frontend.authenticate,
        }

    async def authenticate(self, audience: Audience, headers: Sequence[str | bytes]) -> Principal:
        """Return the principal of a call to a method of this audience; nobody, if it came without a credential.

        Raises:
            UsermetaError: CREDENTIAL_INVALID, also for a credential of the wrong kind; CREDENTIAL_EXPIRED.
        """
        if not headers:
            return ANONYMOUS
        return await self._by_audience[audience](_bearer_token(headers), self._clock())

    def check(self, principal: Principal) -> None:
        """Check that a call's credential still holds: its body may come long after its headers.

        Raises:
            UsermetaError: CREDENTIAL_INVALID, CREDENTIAL_EXPIRED.
        """
        if principal.kind is PrincipalKind.SECRET_KEY:
            self._ring.check(principal)
        if principal.expire_time:
            principal.check_time(self._clock())


def _bearer_token(headers: Sequence[str | bytes]) -> str:
    """Return the token of the one `authorization: Bearer …` header (RFC 6750, section 2.1)."""
    if len(headers) > 1:
        raise UsermetaError(Reason.CREDENTIAL_INVALID)
    header = headers[0]
    text = header if isinstance(header, str) else header.decode("ascii", "replace")
    scheme, _, token = text.partition(" ")
    if scheme.lower() != "bearer" or not token or len(token) > MAX_TOKEN:
        raise UsermetaError(Reason.CREDENTIAL_INVALID)
    return token
