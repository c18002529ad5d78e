"""What every write of a sign-up has in common: its documents checked, its etags and times kept."""

from collections.abc import Mapping
from typing import Any, Final

from usermeta_server.core.profile import with_verification
from usermeta_server.core.sign_ups.requirements import SignUpRules
from usermeta_server.ids import Stamp
from usermeta_server.model import HOUR, Document, SignUp, SignUpState
from usermeta_server.policy import SIGN_UP_VISIBLE, Viewer
from usermeta_server.store.contract import Draft

CLOSED_FOR: Final = 30 * 24 * HOUR
"""How long a closed sign-up is kept, in microseconds."""


def revise(draft: Draft, stamp: Stamp, sign_up: SignUp, values: Mapping[str, Any], rules: SignUpRules) -> SignUp:
    """Write those of the new values that differ, and return the sign-up after it.

    What its holder is shown of versions and times moves only with what the holder may read, which fields are missing
    included; so does the time when it counts as abandoned.
    """
    changed: dict[str, Any] = {
        name: value
        for name, value in with_verification(sign_up.email_address, values).items()
        if getattr(sign_up, name) != value
    }
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
