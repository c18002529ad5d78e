"""What every write of a user has in common: expected etags before it, versions, etags and times after it."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from usermeta_server.core import erasure
from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.ids import Stamp
from usermeta_server.model import BEGINNING, Change, ChangeKind, Document, User
from usermeta_server.policy import VISIBLE, AllowedWrite, Viewer
from usermeta_server.store.contract import Draft

P = TypeVar("P", bound=str)


def check_etags(expected: Mapping[P, str], current: Callable[[P], str]) -> None:
    """Check the etags that a write expects; an empty one expects nothing.

    Raises:
        UsermetaError: ETAG_MISMATCH, with the current etag of each part that has another.
    """
    mismatched = {str(part): current(part) for part, etag in expected.items() if etag and etag != current(part)}
    if mismatched:
        raise UsermetaError(Reason.ETAG_MISMATCH, metadata=mismatched)


def revise(draft: Draft, stamp: Stamp, user: User, write: AllowedWrite[User]) -> User:
    """Write those of the allowed values that differ, and return the user after it.

    A write that changes nothing keeps every etag and time. What the user themself is shown of them moves only
    with what the user may read.

    Raises:
        UsermetaError: ACCESS_DENIED, when the write was allowed for another user.
    """
    changed = {part: value for part, value in write.values_for(user.id).items() if getattr(user, part) != value}
    if not changed:
        return user
    made: dict[str, Any] = {**changed, "version": draft.next_version(), "update_time": stamp.now}
    visible = VISIBLE[Viewer.SELF]
    if not visible.isdisjoint(changed):
        made["visible_update_time"] = stamp.now
    for part in _DOCUMENTS.intersection(changed):
        made[f"{part}_etag"] = stamp.new_etag()
    profile = changed.keys() - _DOCUMENTS
    if profile:
        made["etag"] = stamp.new_etag()
        if not visible.isdisjoint(profile):
            made["visible_etag"] = stamp.new_etag()
    revised = User._make(map(made.get, User._fields, user))
    draft.users.put(user.id, revised)
    draft.record(change_of(stamp, _kind_of(changed), user, revised, changed))
    if "external_id" in changed and user.external_id:
        draft.erase(erasure.of_identity(user.external_id, revised.version))
    return revised


def _kind_of(changed: Mapping[str, object]) -> ChangeKind:
    if "banned" in changed:
        return ChangeKind.BANNED if changed["banned"] else ChangeKind.UNBANNED
    return ChangeKind.METADATA_WRITTEN if _DOCUMENTS.issuperset(changed) else ChangeKind.PROFILE_UPDATED


def change_of(stamp: Stamp, kind: ChangeKind, before: User | None, after: User, parts: Iterable[str]) -> Change:
    """Return the change that a write leaves: whose it is, and the user before and after it."""
    names = tuple(map(str, parts))
    who, request_id = stamp.actor, stamp.request_id
    return Change(
        BEGINNING, after.version, stamp.now, after.id, kind, who, request_id, names, before, after, erased=False
    )


def tombstone_of(stamp: Stamp, user: User, version: int) -> Change:
    """Return the change that erasing a user leaves: that it was, and nothing that it was."""
    kind, who, request_id = ChangeKind.DELETED, stamp.actor, stamp.request_id
    return Change(BEGINNING, version, stamp.now, user.id, kind, who, request_id, (), user, None, erased=False)


_DOCUMENTS = frozenset(Document)
