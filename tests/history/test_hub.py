"""The hub by itself: what it keeps of users that are erased."""

from typing import Final

from tests.support import USER
from usermeta_server.core.watch import Hub
from usermeta_server.core.watch.hub import Watch, _weight
from usermeta_server.model import Actor, Change, ChangeKind, User

ADA: Final = USER._replace(id="user_ada", first_name="Ada", private_metadata='{"secret":1}')
BOB: Final = ADA._replace(id="user_bob", first_name="Bob")


def change(number: int, kind: ChangeKind, before: User | None, after: User | None) -> Change:
    """Return a change by an outside identity, with a request id."""
    user, actor = after or before, Actor("frontend", "identity:idp|ada")
    assert user is not None
    return Change(number, b"", 0, user.id, kind, actor, "id", ("first_name",), before, after, erased=False)


MADE: Final = [change(1, ChangeKind.CREATED, None, ADA), change(2, ChangeKind.CREATED, None, BOB)]
WRITTEN: Final = change(3, ChangeKind.METADATA_WRITTEN, ADA, ADA)
DELETED: Final = change(4, ChangeKind.DELETED, ADA, None)
MADE_AGAIN: Final = change(5, ChangeKind.CREATED, None, ADA._replace(first_name="Another"))


async def watched() -> Hub:
    """Return a hub that keeps changes, for somebody watches all users."""
    hub = Hub(0)
    hub.join(Watch("key_1"))
    return hub


async def test_a_watcher_that_lags_behind_the_end_of_a_user_is_not_told_who_it_was() -> None:
    """Whether the end comes with what was before it, or long after."""
    for commits in ([[*MADE, WRITTEN, DELETED, MADE_AGAIN]], [MADE, [WRITTEN], [DELETED], [MADE_AGAIN]]):
        hub = await watched()
        for changes in commits:
            hub.publish(changes)
        kept = hub.after(0, 10)
        assert kept is not None
        first, bob, written, tombstone, again = kept
        for erased, was in ((first, MADE[0]), (written, WRITTEN)):
            said = (erased.before, erased.after, erased.parts, erased.request_id, erased.actor)
            assert said == (None, None, (), "", Actor("frontend", "identity:"))
            assert (erased.id, erased.time, erased.user_id, erased.kind) == (was.id, was.time, was.user_id, was.kind)
            assert erased.erased
        assert [bob, tombstone, again] == [MADE[1], DELETED, MADE_AGAIN], "of others, and after it, all is kept"
        assert hub._bytes == sum(map(_weight, kept))


async def test_while_nobody_watches_all_users_nothing_is_kept() -> None:
    hub = Hub(0)
    hub.publish(MADE)
    assert hub.after(0, 10) is None
    assert hub.after(2, 10) == []
    assert not hub._changes
