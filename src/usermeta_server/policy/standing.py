"""In what relation a caller stands to a user or a sign-up, and whether the call may go on as that."""

from typing import Final

from usermeta_server.caller import Audience, Caller, Principal, PrincipalKind
from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.model import User
from usermeta_server.policy.tables import Viewer

# To look up a member of an enumeration is dear in Python 3.11, and these are on the way of every call.
_FOR_BACKENDS: Final = Audience.BACKEND
_BACKEND: Final = Viewer.BACKEND
_SELF: Final = Viewer.SELF


def viewer_of(caller: Caller, user_id: str) -> Viewer:
    """Return in what relation a caller stands to a user."""
    if caller.audience is _FOR_BACKENDS:
        return _BACKEND
    return _SELF if user_id and caller.principal.user_id == user_id else Viewer.ANYONE


def sign_up_viewer_of(caller: Caller, sign_up_id: str) -> Viewer:
    """Return in what relation a caller stands to a sign-up."""
    if caller.audience is _FOR_BACKENDS:
        return _BACKEND
    holds = bool(sign_up_id) and caller.principal.kind is PrincipalKind.SIGN_UP and caller.principal.id == sign_up_id
    return _SELF if holds else Viewer.ANYONE


def admit(caller: Caller, user: User | None) -> User:
    """Return the user that a call is about, if the caller may go on: a session acts as its user, or not at all.

    Raises:
        UsermetaError: USER_NOT_FOUND; also for the session of another, who had the id before, and for an outside
            identity that is the user's no more; USER_BANNED, when the user's own session calls.
    """
    if user is None:
        raise UsermetaError(Reason.USER_NOT_FOUND)
    if viewer_of(caller, user.id) is _SELF:
        principal = caller.principal
        if principal.kind is PrincipalKind.USER and not _is_session_of(principal, user):
            raise UsermetaError(Reason.USER_NOT_FOUND)
        if principal.identity and principal.identity.external_id != user.external_id:
            raise UsermetaError(Reason.USER_NOT_FOUND)
        if user.banned:
            raise UsermetaError(Reason.USER_BANNED)
    return user


def _is_session_of(principal: Principal, user: User) -> bool:
    """Tell whether a session began as this user's, not as that of another who had the same id."""
    if principal.create_version is None:  # from before sessions said it
        return principal.issue_time >= user.create_time
    return principal.create_version == user.create_version


def admit_to_sign_up(caller: Caller, sign_up_id: str) -> Viewer:
    """Return in what relation a caller stands to the sign-up that a call is about, if the caller may go on.

    Raises:
        UsermetaError: ACCESS_DENIED, when the caller is no backend and does not hold it.
    """
    viewer = sign_up_viewer_of(caller, sign_up_id)
    if viewer is Viewer.ANYONE:
        raise UsermetaError(Reason.ACCESS_DENIED)
    return viewer
