"""History: what is listed of a user, what is restored, and what is no more after trimming and erasure."""

import pytest

from tests.core.support import INTENT, TRIAL, Core, asked, document, refusal, username
from tests.support import BACKEND_CALLER
from usermeta_server.core.history import History, Restoration
from usermeta_server.core.metadata import Metadata
from usermeta_server.errors import Reason
from usermeta_server.model import ChangeKind, Document, User

PUBLIC, PRIVATE = Document.PUBLIC, Document.PRIVATE


def restoring(user: User, then: User, *documents: Document, **etags: str) -> Restoration:
    """Return the restoration of documents of a user as they were at a version."""
    return Restoration(user.id, then.version, documents, {Document(name): etag for name, etag in etags.items()})


async def test_every_kind_of_write_is_a_change_of_its_kind_with_what_it_changed(core: Core) -> None:
    user = await core.user(first_name="Ada", public_metadata={"a": 1})
    await core.update(user.id, first_name="Eve", username="eve")
    await core.write(user, public_metadata={"b": 1}, private_metadata={"c": 1})
    await core.update(user.id, banned=True)
    await core.update(user.id, banned=False)
    await core.update(user.id, banned=False)
    kinds = [(each.kind, sorted(each.parts)) for each in await core.history.list(user.id, 0, 10)]
    assert kinds == [
        (ChangeKind.UNBANNED, ["banned"]),
        (ChangeKind.BANNED, ["banned"]),
        (ChangeKind.METADATA_WRITTEN, ["private_metadata", "public_metadata"]),
        (ChangeKind.PROFILE_UPDATED, ["first_name", "username"]),
        (ChangeKind.CREATED, ["first_name", "public_metadata"]),
    ]


async def test_a_change_says_who_asked_and_what_was_before_and_after(core: Core) -> None:
    user = await core.user()
    revised = await core.update(user.id, "", asked("r", principal="secret_key:1"), first_name="Ada")
    change = (await core.history.list(user.id, 0, 1))[0]
    assert (change.actor.principal, change.request_id) == ("secret_key:1", "r")
    assert (change.before, change.after, change.id) == (user, revised, revised.version)


async def test_changes_are_listed_page_by_page_without_those_of_others(core: Core) -> None:
    user, other = await core.user(), await core.user(username="bob")
    for name in ("a", "b", "c"):
        await core.update(user.id, first_name=name)
        await core.update(other.id, first_name=name)
    first = await core.history.list(user.id, 0, 3)
    rest = await core.history.list(user.id, first[-1].id, 3)
    assert [each.after.first_name for each in [*first, *rest] if each.after] == ["c", "b", "a", ""]
    assert await core.history.list(user.id, rest[-1].id, 3) == []
    assert await core.history.list(username("bob"), 0, 9) == await core.history.list(other.id, 0, 9)


@pytest.mark.parametrize("ref", ["user_none", username("none")])
async def test_nobody_has_no_history(core: Core, ref: str) -> None:
    await refusal(core.history.list(ref, 0, 10), Reason.USER_NOT_FOUND)


async def test_a_batch_leaves_changes_that_belong_together(core: Core) -> None:
    newest = await core.store.newest()
    user = await core.user()
    await core.write(user, public_metadata={"a": 1})
    assert [each.last for each in await core.store.changes_after(newest, 10)] == [True, True]


async def test_what_is_restored_is_as_it_was_and_the_rest_is_as_it_is(core: Core) -> None:
    user = await core.user(public_metadata={"a": 1}, private_metadata={"a": 1})
    await core.write(user, public_metadata={"a": 2}, private_metadata={"a": 2})
    now = await core.update(user.id, first_name="Ada")
    restored = await core.history.restore(BACKEND_CALLER, restoring(user, user, PUBLIC), INTENT)
    assert [document(restored, each) for each in (PUBLIC, PRIVATE)] == [{"a": 1}, {"a": 2}]
    assert restored.first_name == "Ada"
    assert restored.public_metadata_etag not in {user.public_metadata_etag, now.public_metadata_etag}
    assert (await core.history.list(user.id, 0, 1))[0].kind is ChangeKind.METADATA_WRITTEN


async def test_restoring_can_be_undone(core: Core) -> None:
    user = await core.user(public_metadata={"a": 1})
    later = await core.write(user, public_metadata={"a": 2})
    await core.history.restore(BACKEND_CALLER, restoring(user, user, PUBLIC), INTENT)
    undone = await core.history.restore(BACKEND_CALLER, restoring(user, later, PUBLIC), INTENT)
    assert document(undone) == {"a": 2}


async def test_restoring_what_is_changes_nothing(core: Core) -> None:
    user = await core.user(public_metadata={"a": 1})
    now, newest = await core.update(user.id, first_name="Ada"), await core.store.newest()
    assert await core.history.restore(BACKEND_CALLER, restoring(user, user, *Document), INTENT) == now
    assert await core.store.newest() == newest


async def test_restoring_expects_the_etags_that_it_names(core: Core) -> None:
    user = await core.user(public_metadata={"a": 1})
    now = await core.write(user, public_metadata={"a": 2})
    stale = restoring(user, user, PUBLIC, public_metadata=user.public_metadata_etag)
    error = await refusal(core.history.restore(BACKEND_CALLER, stale, INTENT), Reason.ETAG_MISMATCH)
    assert error.metadata == {"public_metadata": now.public_metadata_etag}
    assert await core.now(user) == now


async def test_only_a_change_of_the_user_is_restored(core: Core) -> None:
    user, other = await core.user(), await core.user(public_metadata={"secret": 1})
    for version in (other.version, user.version + 1000, 0):
        restoration = Restoration(user.id, version, [PUBLIC], {})
        await refusal(core.history.restore(BACKEND_CALLER, restoration, INTENT), Reason.CHANGE_NOT_FOUND)
    assert await core.now(user) == user


async def test_of_who_is_not_there_nothing_is_restored(core: Core) -> None:
    user = await core.user(username="ada")
    await core.users.delete(user.id, "", INTENT)
    for ref in (user.id, username("ada")):
        restoration = Restoration(ref, user.version, [PUBLIC], {})
        await refusal(core.history.restore(BACKEND_CALLER, restoration, INTENT), Reason.USER_NOT_FOUND)


async def test_erasing_a_user_empties_its_changes_and_keeps_that_they_were(core: Core) -> None:
    user = await core.user(first_name="Ada", public_metadata={"a": 1})
    await core.write(user, public_metadata={"a": 2})
    await core.users.delete(user.id, "", INTENT)
    deleted, *erased = await core.history.list(user.id, 0, 10)
    assert (deleted.kind, deleted.after) == (ChangeKind.DELETED, None)
    assert len(erased) == 2
    assert all(each.erased and each.before is None and each.after is None for each in erased)


async def test_nothing_of_a_user_is_restored_to_the_next_one_who_has_the_id(core: Core) -> None:
    user = await core.user("user_1", public_metadata={"secret": 1})
    await core.users.delete(user.id, "", INTENT)
    heir = await core.user("user_1")
    await refusal(core.history.restore(BACKEND_CALLER, restoring(heir, user, PUBLIC), INTENT), Reason.CHANGE_NOT_FOUND)
    assert await core.now(heir) == heir


async def test_nothing_of_a_user_is_restored_to_who_got_the_id_meanwhile(core: Core) -> None:
    user = await core.user("user_1", public_metadata={"secret": 1})

    async def succeed() -> None:
        await core.users.delete("user_1", "", INTENT)
        await core.user("user_1")

    metadata = Metadata(core.store, core.racing(succeed), core.app.use_cases.limits)
    history = History(core.store, core.store, metadata)
    await refusal(history.restore(BACKEND_CALLER, restoring(user, user, PUBLIC), INTENT), Reason.CHANGE_NOT_FOUND)
    assert document(await core.now(user)) == {}


async def test_what_is_restored_is_that_of_who_has_the_identifier_by_then(core: Core) -> None:
    first, second = await core.user(username="ada", public_metadata={"secret": 1}), await core.user()

    async def hand_over() -> None:
        await core.update(first.id, username="")
        await core.update(second.id, username="ada")

    metadata = Metadata(core.store, core.racing(hand_over), core.app.use_cases.limits)
    history = History(core.store, core.store, metadata)
    restoration = Restoration(username("ada"), first.version, [PUBLIC], {})
    await refusal(history.restore(BACKEND_CALLER, restoration, INTENT), Reason.CHANGE_NOT_FOUND)
    assert [document(await core.now(each)) for each in (first, second)] == [{"secret": 1}, {}]


async def test_what_was_trimmed_is_neither_listed_nor_restored(core: Core) -> None:
    user = await core.user(public_metadata={"a": 1})
    core.clock.turn(10)
    kept = await core.write(user, public_metadata={"a": 2})
    await core.write(user, public_metadata={"a": 3})
    assert await core.store.trim_changes(kept.update_time, 100) == 1
    assert [each.id for each in await core.history.list(user.id, 0, 10)][-1] == kept.version
    await refusal(core.history.restore(BACKEND_CALLER, restoring(user, user, PUBLIC), INTENT), Reason.CHANGE_NOT_FOUND)
    assert document(await core.history.restore(BACKEND_CALLER, restoring(user, kept, PUBLIC), INTENT)) == {"a": 2}


async def test_a_user_whose_changes_are_all_trimmed_has_an_empty_history(core: Core) -> None:
    user = await core.user()
    core.clock.turn(10)
    await core.user()
    await core.store.trim_changes(user.update_time + 1, 100)
    assert await core.history.list(user.id, 0, 10) == []


async def test_a_trial_of_restoring_shows_the_document_and_keeps_it(core: Core) -> None:
    user = await core.user(public_metadata={"a": 1})
    now = await core.write(user, public_metadata={"a": 2})
    assert document(await core.history.restore(BACKEND_CALLER, restoring(user, user, PUBLIC), TRIAL)) == {"a": 1}
    assert await core.now(user) == now
