"""The states of a sign-up and what may be done in each: one table."""

from collections.abc import Mapping
from enum import Enum, unique
from typing import Final

from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.model import ShownSignUp, SignUp, SignUpState, SignUpStatus


@unique
class Action(Enum):
    """What can be done to a sign-up."""

    UPDATE = "update"
    COMPLETE = "complete"
    REJECT = "reject"
    ABANDON = "abandon"


_OPEN, _COMPLETE = SignUpState.OPEN, SignUpState.COMPLETE
_REJECTED, _ABANDONED = SignUpState.REJECTED, SignUpState.ABANDONED
_CLOSED: Final = Reason.SIGN_UP_CLOSED

TRANSITIONS: Final[Mapping[SignUpStatus, Mapping[Action, SignUpState | Reason]]] = {
    SignUpStatus.MISSING_REQUIREMENTS: {
        Action.UPDATE: _OPEN,
        Action.COMPLETE: Reason.SIGN_UP_INCOMPLETE,
        Action.REJECT: _REJECTED,
        Action.ABANDON: _ABANDONED,
    },
    SignUpStatus.READY: {
        Action.UPDATE: _OPEN,
        Action.COMPLETE: _COMPLETE,
        Action.REJECT: _REJECTED,
        Action.ABANDON: _ABANDONED,
    },
    SignUpStatus.COMPLETE: {
        Action.UPDATE: _CLOSED,
        Action.COMPLETE: _COMPLETE,
        Action.REJECT: _CLOSED,
        Action.ABANDON: _CLOSED,
    },
    SignUpStatus.REJECTED: {
        Action.UPDATE: _CLOSED,
        Action.COMPLETE: _CLOSED,
        Action.REJECT: _REJECTED,
        Action.ABANDON: _CLOSED,
    },
    SignUpStatus.ABANDONED: {
        Action.UPDATE: _CLOSED,
        Action.COMPLETE: _CLOSED,
        Action.REJECT: _CLOSED,
        Action.ABANDON: _ABANDONED,
    },
}
"""For each status what an action leads to: a state, or the reason why it is refused."""

_STATUS: Final[Mapping[SignUpState, SignUpStatus]] = {
    SignUpState.COMPLETE: SignUpStatus.COMPLETE,
    SignUpState.REJECTED: SignUpStatus.REJECTED,
    SignUpState.ABANDONED: SignUpStatus.ABANDONED,
}


def status_of(sign_up: SignUp, missing: tuple[str, ...], now: int) -> SignUpStatus:
    """Return where a sign-up stands at a time (microseconds), whether or not it has been swept.

    One that is only validated has no time at which it will be abandoned.
    """
    if sign_up.state is not SignUpState.OPEN:
        return _STATUS[sign_up.state]
    if 0 < sign_up.abandon_time <= now:
        return SignUpStatus.ABANDONED
    return SignUpStatus.MISSING_REQUIREMENTS if missing else SignUpStatus.READY


def step(sign_up: ShownSignUp, action: Action) -> SignUpState:
    """Return the state that an action leads to.

    Raises:
        UsermetaError: SIGN_UP_CLOSED, SIGN_UP_INCOMPLETE.
    """
    after = TRANSITIONS[sign_up.status][action]
    if isinstance(after, Reason):
        metadata = {"status": sign_up.status.name}
        if after is Reason.SIGN_UP_INCOMPLETE:
            metadata = {"missing_fields": ",".join(sign_up.missing_fields)}
        raise UsermetaError(after, metadata=metadata)
    return after
