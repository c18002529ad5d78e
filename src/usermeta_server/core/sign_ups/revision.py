"""The writes of sign-ups: begin one, change it, close it; its etags and times kept."""

from typing import Any, Final

from usermeta_server.core.sign_ups.requirements import SignUpRules
from usermeta_server.ids import Stamp
from usermeta_server.model import HOUR, Document, SignUp, SignUpState
from usermeta_server.policy import SIGN_UP_VISIBLE, AllowedWrite, Viewer, withdraw_verification
from usermeta_server.store.contract import Draft

CLOSED_FOR: Final = 30 * 24 * HOUR
"""How long a closed sign-up is kept, in microseconds."""


def new_sign_up(draft: Draft, stamp: Stamp, write: AllowedWrite[SignUp], idle: int) -> SignUp:
    """Write a new sign-up with the allowed fields and documents, which may be idle for so long (microseconds).

    Raises:
        UsermetaError: ACCESS_DENIED, when the write was allowed for a sign-up that there is.
    """
    values = write.values_for("")
    abandon_time = draft.wall + idle if stamp.real else 0
    blank = SignUp(
        id=stamp.new_id("signup"),
        version=draft.next_version(),
        state=SignUpState.OPEN,
        username="",
        email_address="",
        email_address_verified=False,
        first_name="",
        last_name="",
        external_id="",
        public_metadata="{}",
        private_metadata="{}",
        unsafe_metadata="{}",
        etag=stamp.new_etag(),
        visible_etag=stamp.new_etag(),
        created_user_id="",
        abandon_time=abandon_time,
        create_time=stamp.now,
        update_time=stamp.now,
        visible_update_time=stamp.now,
        close_time=0,
        sweep_time=abandon_time,
    )
    made = blank._replace(**dict[str, Any](values))
    draft.sign_ups.put(made.id, made)
    return made


def revise(draft: Draft, stamp: Stamp, sign_up: SignUp, write: AllowedWrite[SignUp], rules: SignUpRules) -> SignUp:
    """Write those of the allowed values that differ, and return the sign-up after it.

    What its holder is shown of versions and times moves only with what the holder may read, which fields are missing
    included; so does the time when it counts as abandoned.

    Raises:
        UsermetaError: ACCESS_DENIED, when the write was allowed for another sign-up.
    """
    values = withdraw_verification(write, sign_up.email_address).values_for(sign_up.id)
    changed: dict[str, Any] = {name: value for name, value in values.items() if getattr(sign_up, name) != value}
    if not changed:
        return sign_up
    made: dict[str, Any] = {
        **changed,
        "version": draft.next_version(),
        "etag": stamp.new_etag(),
        "update_time": stamp.now,
    }
    missing = rules.requirements.missing
    if not SIGN_UP_VISIBLE[Viewer.SELF].isdisjoint(changed) or missing(sign_up) != missing(sign_up._replace(**changed)):
        made |= {"visible_etag": stamp.new_etag(), "visible_update_time": stamp.now}
        if sign_up.state is SignUpState.OPEN and stamp.real:
            abandon_time = draft.wall + rules.idle
            made |= {"abandon_time": abandon_time, "sweep_time": abandon_time}
    revised = sign_up._replace(**made)
    draft.sign_ups.put(sign_up.id, revised)
    return revised


def close(draft: Draft, stamp: Stamp, sign_up: SignUp, state: SignUpState, user_id: str = "") -> SignUp:
    """Write that a sign-up is closed: it keeps no documents, and never changes again."""
    closed = sign_up._replace(
        version=draft.next_version(),
        state=state,
        created_user_id=user_id,
        etag=stamp.new_etag(),
        visible_etag=stamp.new_etag(),
        update_time=stamp.now,
        visible_update_time=stamp.now,
        close_time=draft.wall,
        sweep_time=draft.wall + CLOSED_FOR,
        **dict[str, Any](dict.fromkeys(Document, "{}")),
    )
    draft.sign_ups.put(sign_up.id, closed)
    return closed
