"""What a backend's watcher is told: a pure function of a change and a filter."""

from collections.abc import Callable
from typing import NamedTuple

from usermeta_server.model import MAKING, Change, ChangeKind, User

Matches = Callable[[User], bool]
"""Whether a filter matches a user."""


class SnapshotEvent(NamedTuple):
    """A user as it is."""

    user: User


class ChangeEvent(NamedTuple):
    """A write."""

    change: Change


class LeftEvent(NamedTuple):
    """A user that the filter does not match any more."""

    user_id: str
    change_id: int


Event = SnapshotEvent | ChangeEvent | LeftEvent


def event_of(change: Change, matches: Matches | None) -> Event | None:
    """Return what a watcher is told of a change, None for nothing.

    Where it is no longer known what the user was before, it is told that the user left: that is harmless when the
    watcher never saw it, and the other mistake is not.
    """
    if matches is None:
        return ChangeEvent(change)
    if change.after is not None and matches(change.after):
        return ChangeEvent(change)
    if change.kind in MAKING or (change.erased and change.kind is not ChangeKind.DELETED):
        return None
    if change.before is not None and not matches(change.before):
        return None
    return LeftEvent(change.user_id, change.id)
