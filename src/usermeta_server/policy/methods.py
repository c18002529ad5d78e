"""Who may call which method: a table by name, and the check against it."""

from collections.abc import Mapping
from enum import StrEnum, unique
from typing import Final, NamedTuple

from usermeta_server.caller import Audience, Principal, PrincipalKind
from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.model import Scope


@unique
class ProfileAudience(StrEnum):
    """Whom the frontend shows profiles to: the operator's setting."""

    ANYONE = "anyone"
    SIGNED_IN = "signed_in"
    OFF = "off"


@unique
class Traffic(StrEnum):
    """What kind of work a method is, by which limits tell calls apart."""

    READS = "reads"
    WRITES = "writes"
    STREAMS = "streams"


class MethodRule(NamedTuple):
    """Who may call a method: kinds of principal, and the scope that one of a backend needs; and what work it is."""

    audience: Audience
    principals: frozenset[PrincipalKind]
    scope: Scope | None = None
    traffic: Traffic = Traffic.WRITES


_VERBS: Final = {
    **dict.fromkeys(("Get", "BatchGet", "List", "Count"), Traffic.READS),
    "Watch": Traffic.STREAMS,
}
"""By which verb the name of a method begins (AIP-131, AIP-132, AIP-231) that does not write."""


_BACKEND_METHODS: Final[Mapping[str, Scope]] = {
    "CreateUser": Scope.WRITE,
    "GetUser": Scope.READ,
    "BatchGetUsers": Scope.READ,
    "UpdateUser": Scope.WRITE,
    "DeleteUser": Scope.WRITE,
    "MergeUserMetadata": Scope.WRITE,
    "ReplaceUserMetadata": Scope.WRITE,
    "PatchUserMetadata": Scope.WRITE,
    "BatchMergeUserMetadata": Scope.WRITE,
    "GetSignUp": Scope.READ,
    "ListSignUps": Scope.READ,
    "UpdateSignUp": Scope.WRITE,
    "CompleteSignUp": Scope.WRITE,
    "RejectSignUp": Scope.WRITE,
    "ListUsers": Scope.READ,
    "CountUsers": Scope.READ,
    "CreateMetadataIndex": Scope.ADMIN,
    "ListMetadataIndexes": Scope.ADMIN,
    "DeleteMetadataIndex": Scope.ADMIN,
    "ListUserChanges": Scope.READ,
    "RestoreUserMetadata": Scope.WRITE,
    "WatchUsers": Scope.READ,
    "CreateSessionToken": Scope.WRITE,
    "CreateSecretKey": Scope.ADMIN,
    "ListSecretKeys": Scope.ADMIN,
    "RevokeSecretKey": Scope.ADMIN,
}
_BACKEND: Final = frozenset({PrincipalKind.SECRET_KEY, PrincipalKind.OPERATOR})
_USER: Final = frozenset({PrincipalKind.USER, PrincipalKind.IDENTITY})
_HOLDER: Final = frozenset({PrincipalKind.SIGN_UP})
BEGINNERS: Final = frozenset({PrincipalKind.ANONYMOUS, PrincipalKind.IDENTITY})
"""Who may begin a sign-up."""
_FRONTEND_METHODS: Final[Mapping[str, frozenset[PrincipalKind]]] = {
    "CreateSignUp": BEGINNERS,
    "GetSignUp": _HOLDER,
    "UpdateSignUp": _HOLDER,
    "CompleteSignUp": _HOLDER,
    "GetUser": _USER,
    "WatchUser": _USER,
    "UpdateUser": _USER,
    "MergeUserMetadata": _USER,
    "ReplaceUserMetadata": _USER,
    "PatchUserMetadata": _USER,
}
_PROFILE_METHODS: Final = ("GetProfile", "BatchGetProfiles")
_PROFILE_PRINCIPALS: Final[Mapping[ProfileAudience, frozenset[PrincipalKind]]] = {
    ProfileAudience.ANYONE: _USER | {PrincipalKind.ANONYMOUS},
    ProfileAudience.SIGNED_IN: _USER,
    ProfileAudience.OFF: frozenset(),
}


def method_rules(profiles: ProfileAudience) -> Mapping[str, MethodRule]:
    """Return the rule of every method, by its full path (`/package.Service/Method`)."""
    backend = "/usermeta.backend.v1.BackendService/"
    frontend = "/usermeta.frontend.v1.FrontendService/"
    rules = {backend + name: MethodRule(Audience.BACKEND, _BACKEND, scope) for name, scope in _BACKEND_METHODS.items()}
    for name, principals in _FRONTEND_METHODS.items():
        rules[frontend + name] = MethodRule(Audience.FRONTEND, principals)
    for name in _PROFILE_METHODS:
        rules[frontend + name] = MethodRule(Audience.FRONTEND, _PROFILE_PRINCIPALS[profiles])
    return {path: rule._replace(traffic=_traffic_of(path.rpartition("/")[2])) for path, rule in rules.items()}


def _traffic_of(name: str) -> Traffic:
    return next((traffic for verb, traffic in _VERBS.items() if name.startswith(verb)), Traffic.WRITES)


def authorize(rule: MethodRule, principal: Principal) -> None:
    """Check that a principal may call a method at all.

    Raises:
        UsermetaError: ACCESS_DENIED, when nobody may; CREDENTIAL_MISSING; CREDENTIAL_INVALID, for a credential
            of the wrong kind; SCOPE_INSUFFICIENT.
    """
    if principal.kind not in rule.principals:
        if not rule.principals:
            raise UsermetaError(Reason.ACCESS_DENIED)
        anonymous = principal.kind is PrincipalKind.ANONYMOUS
        raise UsermetaError(Reason.CREDENTIAL_MISSING if anonymous else Reason.CREDENTIAL_INVALID)
    if rule.scope is not None and (principal.scope is None or principal.scope < rule.scope):
        raise UsermetaError(Reason.SCOPE_INSUFFICIENT, metadata={"required_scope": rule.scope.name.lower()})
