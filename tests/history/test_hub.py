"""The hub: what it keeps of what was written of late, of users that are erased, and of those who have left."""

import gc
import time
import tracemalloc
import weakref
from pathlib import Path
from typing import Final

import pytest

from tests.support import USER, serving, settings
from usermeta_server.caller import Audience, Caller, Principal, PrincipalKind
from usermeta_server.core.watch import Hub, WatchFilter
from usermeta_server.core.watch.hub import Watch, _weight
from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.model import BEGINNING, HOUR, Actor, Change, ChangeKind, Document, Position, Scope, User
from usermeta_server.store.contract import Committed

USERS: Final = 5_000
SIZE: Final = 100_000
"""Bytes of a document beside which all else of a change is small."""
ADA: Final = USER._replace(id="user_ada", first_name="Ada", private_metadata='{"secret":1}')
BOB: Final = ADA._replace(id="user_bob", first_name="Bob")


def at(number: int) -> Position:
    """Return the place of a change."""
    return Position(number, b"")


def change(number: int, kind: ChangeKind, before: User | None, after: User | None) -> Change:
    """Return a change by an outside identity, with a request id."""
    user, actor = after or before, Actor("frontend", "identity:idp|ada")
    assert user is not None
    place = at(number)
    return Change(place, number, 0, user.id, kind, actor, "id", ("first_name",), before, after, erased=False)


MADE: Final = [change(1, ChangeKind.CREATED, None, ADA), change(2, ChangeKind.CREATED, None, BOB)]
WRITTEN: Final = change(3, ChangeKind.METADATA_WRITTEN, ADA, ADA)
DELETED: Final = change(4, ChangeKind.DELETED, ADA, None)
MADE_AGAIN: Final = change(5, ChangeKind.CREATED, None, ADA._replace(first_name="Another"))


async def watched() -> Hub:
    """Return a hub that keeps changes, for somebody watches all users."""
    hub = Hub(BEGINNING)
    hub.join(Watch("key_1"))
    return hub


async def test_a_watcher_that_lags_behind_the_end_of_a_user_is_not_told_who_it_was() -> None:
    """Whether the end comes with what was before it, or long after."""
    for commits in ([[*MADE, WRITTEN, DELETED, MADE_AGAIN]], [MADE, [WRITTEN], [DELETED], [MADE_AGAIN]]):
        hub = await watched()
        for changes in commits:
            hub.apply(Committed(changes=changes))
        kept = hub.after(BEGINNING, 10)
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
    hub = Hub(BEGINNING)
    hub.apply(Committed(changes=MADE))
    assert hub.after(BEGINNING, 10) is None
    assert hub.after(at(2), 10) == []
    assert not hub._changes


@pytest.mark.parametrize("document", Document)
@pytest.mark.parametrize("large_before", [False, True])
async def test_it_keeps_as_many_bytes_as_it_may(document: Document, *, large_before: bool) -> None:
    """However many changes pass, the newest are there, as many as fit, and no more."""
    large = USER._replace(**{document: f'{{"a":"{"x" * SIZE}"}}'})  # type: ignore[arg-type]  # a document is text
    before, after = (large, USER) if large_before else (USER, large)
    hub = Hub(BEGINNING, max_bytes=10 * SIZE)
    hub.join(Watch("key"))
    for change_id in range(1, 101):
        written = change(change_id, ChangeKind.METADATA_WRITTEN, before, after)
        hub.apply(Committed(changes=[written]))
    kept = [change_id for change_id in range(101) if hub.after(at(change_id), 1) is not None]
    assert kept == list(range(91, 101)), "nine changes, and the place before them"
    assert [each.id for each in hub.after(at(91), 100) or ()] == list(range(92, 101))


async def test_only_a_watch_that_follows_is_ended_for_falling_behind() -> None:
    """One that still reads a snapshot, or what went before, has that from the store."""
    hub = Hub(BEGINNING, max_changes=2)
    reading, following = Watch("key_1"), Watch("key_2")
    for watch in (reading, following):
        hub.join(watch)
    following.live = True
    hub.apply(Committed(changes=[*MADE, WRITTEN]))
    assert following.ended.result().reason is Reason.WATCH_TOO_SLOW
    assert not reading.ended.done()


async def test_a_hub_that_has_closed_takes_no_watch() -> None:
    hub, watch = Hub(BEGINNING), Watch("key")
    hub.join(watch)
    hub.close()
    assert watch.ended.result().reason is Reason.SHUTTING_DOWN
    with pytest.raises(UsermetaError) as caught:
        hub.join(Watch("key"))
    assert caught.value.reason is Reason.SHUTTING_DOWN


async def test_users_who_watched_once_cost_no_memory() -> None:
    """Each of many users watches themself for a moment, on one device and another."""
    hub = Hub(BEGINNING)
    user_ids = [f"user_{number}" for number in range(USERS)]
    tracemalloc.start()
    try:
        for user_id in user_ids:
            watches = [Watch("user"), Watch("user")]
            for watch in watches:
                hub.join(watch, user_id)
            for watch in watches:
                hub.leave(watch, user_id)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 20 * USERS, "an empty set has ten times that"


async def test_when_the_last_watch_of_all_users_has_left_nothing_is_kept(tmp_path: Path) -> None:
    """What is written from then on is read from history by whoever comes."""
    caller = Caller(Audience.BACKEND, "", Principal(PrincipalKind.SECRET_KEY, "key_1", Scope.READ))
    async with serving(settings(tmp_path)) as service:
        app = service.server.app
        async with app.use_cases.watches.users(caller, WatchFilter(), "", snapshot=False):
            place = await app.store.newest()
            await service.user()
            assert app.hub.after(place, 10)
        place = await app.store.newest()
        await service.user()
        assert app.hub.after(place, 10) is None


async def test_a_watch_that_has_left_is_forgotten_though_its_session_goes_on(tmp_path: Path) -> None:
    """Nothing holds on to it until the session's end, which is hours away."""
    async with serving(settings(tmp_path)) as service:
        expire_time = time.time_ns() // 1000 + HOUR
        user_id = (await service.user()).id
        principal = Principal(PrincipalKind.USER, user_id, expire_time=expire_time, user_id=user_id)
        async with service.server.app.use_cases.watches.own(Caller(Audience.FRONTEND, "", principal)) as own:
            watch = weakref.ref(own.watch)
        del own
        gc.collect()
        assert watch() is None
