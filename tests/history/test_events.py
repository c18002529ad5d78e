"""What a watcher with a filter is told: of users that it matches after a change, and of those that leave it."""

import pytest

from tests.support import USER
from usermeta_server.core.watch import ChangeEvent, Event, LeftEvent
from usermeta_server.core.watch.events import event_of
from usermeta_server.model import Actor, Change, ChangeKind, Position, User

PRO = USER._replace(public_metadata='{"plan":"pro"}')
FREE = USER._replace(public_metadata='{"plan":"free"}')
CREATED, WRITTEN, DELETED = ChangeKind.CREATED, ChangeKind.METADATA_WRITTEN, ChangeKind.DELETED


def is_pro(user: User) -> bool:
    """Stand for the filter `public_metadata.plan = "pro"`."""
    return user.public_metadata == PRO.public_metadata


def change(kind: ChangeKind, before: User | None, after: User | None, *, erased: bool = False) -> Change:
    """Return a change of the user."""
    return Change(Position(7, b"nonce"), 7, 0, USER.id, kind, Actor("", ""), "", (), before, after, erased=erased)


TOLD = "told"
LEFT = "left"
NOTHING = "nothing"


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        pytest.param(change(CREATED, None, PRO), TOLD, id="made and matches"),
        pytest.param(change(CREATED, None, FREE), NOTHING, id="made and does not match"),
        pytest.param(change(WRITTEN, FREE, PRO), TOLD, id="enters"),
        pytest.param(change(WRITTEN, PRO, PRO), TOLD, id="stays"),
        pytest.param(change(WRITTEN, PRO, FREE), LEFT, id="leaves"),
        pytest.param(change(WRITTEN, FREE, FREE), NOTHING, id="stays out"),
        pytest.param(change(WRITTEN, None, FREE), LEFT, id="was perhaps in: what was before is not kept"),
        pytest.param(change(WRITTEN, None, None, erased=True), NOTHING, id="erased: its tombstone follows"),
        pytest.param(change(DELETED, PRO, None), LEFT, id="deleted while it matched"),
        pytest.param(change(DELETED, FREE, None), NOTHING, id="deleted while it did not match"),
        pytest.param(change(DELETED, None, None), LEFT, id="deleted, and erased before it was told"),
    ],
)
def test_what_is_told(made: Change, expected: str) -> None:
    """A filter is asked of the user after the change; a user that it matched before is said to have left."""
    told: dict[str, Event | None] = {TOLD: ChangeEvent(made), LEFT: LeftEvent(USER.id, 7), NOTHING: None}
    assert event_of(made, is_pro) == told[expected]
    assert event_of(made, None) == ChangeEvent(made), "without a filter everything is told"
