"""Who calls, and for which audience: audiences, principals, callers."""

from enum import StrEnum, unique
from typing import NamedTuple

from usermeta_server.clock import TOLERANCE
from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.model import Actor, Scope


@unique
class Audience(StrEnum):
    """Whom a method is for. It follows from the method's proto package, never from what a caller says."""

    BACKEND = "backend"
    FRONTEND = "frontend"


@unique
class PrincipalKind(StrEnum):
    """What kind of credential a call came with."""

    ANONYMOUS = "anonymous"
    SECRET_KEY = "secret_key"  # noqa: S105  # the name of a kind, not a secret
    USER = "user"
    IDENTITY = "identity"
    SIGN_UP = "sign_up"
    OPERATOR = "operator"
    """Whoever works on the store itself, in this process: no credential that comes over a network stands for them."""


class Identity(NamedTuple):
    """Who a trusted outside issuer says somebody is: issuer and subject together, which `external_id` stands for.

    `email_address` is empty if the issuer says none; `expire_time` (microseconds) is until when it says so.
    """

    issuer: str
    subject: str
    external_id: str
    email_address: str
    email_address_verified: bool
    expire_time: int


class Principal(NamedTuple):
    """Whose credential a call came with.

    `id` is the key's, the user's, the sign-up's or the outside identity's (its external id), empty for nobody;
    `scope` is the highest scope of a secret key, or the operator's; `issue_time` (microseconds since the epoch) is when
    a session of ours began, 0 for others; `expire_time` is when the credential expires, 0 for never; `user_id` is the
    user that it acts as, empty for none. `create_version` is the version at which the user of a session of ours was
    made, None for others, and for sessions from before they said it.
    """

    kind: PrincipalKind
    id: str = ""
    scope: Scope | None = None
    issue_time: int = 0
    expire_time: int = 0
    user_id: str = ""
    identity: Identity | None = None
    create_version: int | None = None

    def check_time(self, now: int) -> None:
        """Check that the credential holds at a time, the real clock's (microseconds).

        Raises:
            UsermetaError: CREDENTIAL_EXPIRED; CREDENTIAL_INVALID, when it was issued later: by a clock that has been
                set back since, so that there is no telling how long it would hold.
        """
        if self.expire_time and self.expire_time <= now:
            raise UsermetaError(Reason.CREDENTIAL_EXPIRED)
        if self.issue_time > now + TOLERANCE:
            raise UsermetaError(Reason.CREDENTIAL_INVALID)

    def __str__(self) -> str:
        """Return the name under which logs, history and remembered requests know the principal."""
        return f"{self.kind}:{self.id}" if self.id else str(self.kind)


ANONYMOUS = Principal(PrincipalKind.ANONYMOUS)
OPERATOR = Principal(PrincipalKind.OPERATOR, scope=Scope.ADMIN)
"""Whoever can write the database's file: they may do everything that a backend may."""
OPERATOR_ACTOR = Actor("operator", "command line")
"""The same, as history names them."""


class Caller(NamedTuple):
    """A call's audience, method (full path) and principal."""

    audience: Audience
    method: str
    principal: Principal

    @property
    def actor(self) -> Actor:
        """The caller as history and remembered requests name them."""
        is_operator = self.principal.kind is PrincipalKind.OPERATOR
        return OPERATOR_ACTOR if is_operator else Actor(self.audience, str(self.principal))
