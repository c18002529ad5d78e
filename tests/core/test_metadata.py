"""Documents: merged, replaced and patched, one at a time and in batches; limits, etags, and who is meant."""

import asyncio
from functools import partial
from typing import Final

import pytest

from tests.core.support import (
    INTENT,
    TRIAL,
    Core,
    document,
    found,
    merging,
    refusal,
    session_of,
    username,
    writing,
)
from tests.support import BACKEND_CALLER
from usermeta_server.core.documents import Limits, Op, Operation, Patch
from usermeta_server.core.metadata import Edit, Metadata, MetadataWrite
from usermeta_server.core.user_refs import Subject
from usermeta_server.core.writes import MovedError
from usermeta_server.errors import Reason, UsermetaError, invalid
from usermeta_server.model import Document, User
from usermeta_server.values import JsonObject

PUBLIC, PRIVATE, UNSAFE = Document.PUBLIC, Document.PRIVATE, Document.UNSAFE


def replacing(new: JsonObject) -> Edit:
    """Return the edit of a replacement."""
    return lambda _: new


def patching(*operations: Operation) -> Edit:
    """Return the edit of a patch."""
    return partial(Patch.of(operations, "public_metadata").apply, limits=Limits())


INCREMENT: Final = patching(Operation(Op.INCREMENT, "/n", value=1))
FAILING: Final = patching(Operation(Op.TEST, "/n", value=0))


def nested(depth: int) -> JsonObject:
    """Return a document that nests so deep."""
    return {"a": nested(depth - 1)} if depth > 1 else {}


@pytest.mark.parametrize(
    ("edit", "after"),
    [
        (merging({"a": None, "b": {"d": 2}}), {"b": {"c": 1, "d": 2}, "n": 1}),
        (merging({"b": [1]}), {"a": 1, "b": [1], "n": 1}),
        (replacing({"d": None}), {"d": None}),
        (replacing({}), {}),
        (patching(Operation(Op.ADD, "/b/d", value=None)), {"a": 1, "b": {"c": 1, "d": None}, "n": 1}),
        (patching(Operation(Op.TEST, "/n", value=1), Operation(Op.REMOVE, "/b")), {"a": 1, "n": 1}),
        (INCREMENT, {"a": 1, "b": {"c": 1}, "n": 2}),
    ],
    ids=["merge", "merge a list", "replace", "replace by nothing", "add", "test and remove", "increment"],
)
@pytest.mark.parametrize("name", Document)
async def test_an_edit_changes_its_document_and_no_other(
    core: Core, name: Document, edit: Edit, after: JsonObject
) -> None:
    before: JsonObject = {"a": 1, "b": {"c": 1}, "n": 1}
    user = await core.user(public_metadata=before, private_metadata=before, unsafe_metadata=before)
    revised = await core.metadata.write(writing(user.id, {name: edit}), INTENT)
    assert {each: document(revised, each) for each in Document} == {**dict.fromkeys(Document, before), name: after}
    moved = [each for each in Document if revised.document_etag(each) != user.document_etag(each)]
    assert moved == [name]
    assert (revised.etag, revised.visible_etag) == (user.etag, user.visible_etag)
    assert await core.now(user) == revised


@pytest.mark.parametrize(("name", "shown"), [(PUBLIC, True), (PRIVATE, False), (UNSAFE, True)])
async def test_what_the_user_is_shown_moves_only_with_a_document_that_the_user_may_read(
    core: Core, name: Document, shown: object
) -> None:
    user = await core.user()
    core.clock.turn(1)
    revised = await core.metadata.write(writing(user.id, {name: merging({"a": 1})}), INTENT)
    assert revised.update_time > user.update_time
    assert (revised.visible_update_time > user.visible_update_time) is shown


async def test_an_edit_that_changes_nothing_leaves_no_trace(core: Core) -> None:
    user, newest = await core.user(public_metadata={"a": 1}), await core.store.newest()
    core.clock.turn(1)
    assert await core.write(user, public_metadata={"a": 1.0, "b": None}, private_metadata={}) == user
    assert await core.store.newest() == newest


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (merging({"b": "x" * 5000}), Reason.METADATA_TOO_LARGE),
        (replacing(nested(17)), Reason.METADATA_TOO_DEEP),
        (merging({"": 1}), Reason.METADATA_KEY_INVALID),
        (merging({"k" * 257: 1}), Reason.METADATA_KEY_INVALID),
        (replacing({"a": "\0"}), Reason.METADATA_STRING_INVALID),
        (merging({"a": 1 << 53}), Reason.NUMBER_NOT_REPRESENTABLE),
        (patching(Operation(Op.COPY, "/a", from_path="/a"), Operation(Op.COPY, "/b", "/a")), Reason.METADATA_TOO_LARGE),
        (FAILING, Reason.PATCH_TEST_FAILED),
        (patching(Operation(Op.REMOVE, "/none")), Reason.PATCH_PATH_MISSING),
        (patching(Operation(Op.INCREMENT, "/a", value=1)), Reason.PATCH_TYPE_MISMATCH),
    ],
)
async def test_a_refused_edit_changes_nothing_not_even_in_another_document(
    core: Core, edit: Edit, reason: Reason
) -> None:
    user = await core.user(public_metadata={"a": "x" * 5000, "n": 1})
    write = writing(user.id, {PRIVATE: merging({"b": 2}), PUBLIC: edit})
    error = await refusal(core.metadata.write(write, INTENT), reason)
    assert error.metadata["field"] == "public_metadata"
    assert await core.now(user) == user


async def test_a_document_may_be_as_large_and_as_deep_as_the_limits_say(core: Core) -> None:
    user, limits = await core.user(), core.app.use_cases.limits
    text = "x" * (limits.max_bytes - len('{"a":""}'))
    revised = await core.write(user, public_metadata={"a": text}, private_metadata=nested(limits.max_depth))
    assert document(revised) == {"a": text}
    assert document(revised, PRIVATE) == nested(limits.max_depth)


async def test_every_document_that_a_limit_refuses_is_named(core: Core) -> None:
    user = await core.user()
    call = core.write(user, public_metadata={"a": "\0"}, private_metadata={"a": 1}, unsafe_metadata={"": 1})
    error = await refusal(call, Reason.METADATA_STRING_INVALID)
    assert [(each.field, each.reason) for each in error.violations] == [
        ("public_metadata", Reason.METADATA_STRING_INVALID),
        ("unsafe_metadata", Reason.METADATA_KEY_INVALID),
    ]


async def test_all_edits_are_tried_before_any_limit(core: Core) -> None:
    user = await core.user()
    write = writing(user.id, {PRIVATE: merging({"": 1}), PUBLIC: FAILING})
    await refusal(core.metadata.write(write, INTENT), Reason.PATCH_TEST_FAILED)


async def test_etags_are_looked_at_before_any_edit(core: Core) -> None:
    user = await core.user()
    write = writing(user.id, {PUBLIC: FAILING}, {PUBLIC: "stale"})
    await refusal(core.metadata.write(write, INTENT), Reason.ETAG_MISMATCH)


async def test_a_write_is_told_the_etag_of_each_document_that_changed(core: Core) -> None:
    user = await core.user()
    now = await core.write(user, public_metadata={"a": 1}, private_metadata={"a": 1})
    stale = {each: user.document_etag(each) for each in Document}
    edits = dict.fromkeys(Document, merging({"b": 1}))
    error = await refusal(core.metadata.write(writing(user.id, edits, stale), INTENT), Reason.ETAG_MISMATCH)
    assert error.metadata == {each: now.document_etag(each) for each in (PUBLIC, PRIVATE)}
    assert await core.now(user) == now


async def test_a_write_whose_etags_are_current_or_empty_is_done(core: Core) -> None:
    user = await core.user()
    current = {PUBLIC: user.public_metadata_etag, PRIVATE: ""}
    edits = {PUBLIC: merging({"a": 1}), PRIVATE: merging({"b": 1})}
    revised = await core.metadata.write(writing(user.id, edits, current), INTENT)
    assert (document(revised), document(revised, PRIVATE)) == ({"a": 1}, {"b": 1})


async def test_documents_of_nobody_are_not_written(core: Core) -> None:
    await refusal(core.metadata.write(writing("user_none", {PUBLIC: merging({})}), INTENT), Reason.USER_NOT_FOUND)


async def test_a_banned_user_writes_no_document_but_a_backend_does(core: Core) -> None:
    user = await core.user(banned=True)
    own = writing(user.id, {UNSAFE: merging({"a": 1})}, caller=session_of(user))
    await refusal(core.metadata.write(own, INTENT), Reason.USER_BANNED)
    assert document(await core.write(user, unsafe_metadata={"a": 1}), UNSAFE) == {"a": 1}


async def test_writes_at_once_lose_none(core: Core) -> None:
    user = await core.user(public_metadata={"n": 0})
    await asyncio.gather(*(core.metadata.write(writing(user.id, {PUBLIC: INCREMENT}), INTENT) for _ in range(20)))
    assert document(await core.now(user)) == {"n": 20}


async def test_of_writes_at_once_that_expect_one_etag_one_is_done(core: Core) -> None:
    user = await core.user(public_metadata={"n": 0})
    write = writing(user.id, {PUBLIC: INCREMENT}, {PUBLIC: user.public_metadata_etag})
    calls = (core.metadata.write(write, INTENT) for _ in range(5))
    results = await asyncio.gather(*calls, return_exceptions=True)
    refused = [each.reason for each in results if isinstance(each, UsermetaError)]
    assert refused == [Reason.ETAG_MISMATCH] * 4
    assert document(await core.now(user)) == {"n": 1}


async def test_a_trial_of_an_edit_shows_the_document_and_keeps_it(core: Core) -> None:
    user = await core.user(public_metadata={"a": 1})
    tried = await core.write(user, TRIAL, public_metadata={"b": 2})
    assert document(tried) == {"a": 1, "b": 2}
    assert await core.now(user) == user
    await refusal(core.write(user, TRIAL, public_metadata={"": 2}), Reason.METADATA_KEY_INVALID)


# Batches


async def test_of_a_batch_that_is_not_atomic_all_is_done_but_what_fails(core: Core) -> None:
    first, second = await core.user(public_metadata={"n": 1}), await core.user()
    writes: list[MetadataWrite | UsermetaError] = [
        writing(first.id, {PUBLIC: INCREMENT}),
        writing("user_none", {PUBLIC: INCREMENT}),
        writing(second.id, {PUBLIC: merging({"": 1})}),
        invalid("public_metadata", "is malformed"),
        writing(second.id, {PRIVATE: merging({"a": 1})}),
    ]
    results = await core.metadata.write_batch(writes, INTENT, atomic=False)
    failed = {index: each for index, each in enumerate(results) if isinstance(each, UsermetaError)}
    assert {index: each.reason for index, each in failed.items()} == {
        1: Reason.USER_NOT_FOUND,
        2: Reason.METADATA_KEY_INVALID,
        3: Reason.FIELD_INVALID,
    }
    assert {each.metadata["index"] for each in failed.values()} == {"1", "2", "3"}
    assert failed[2].metadata["field"] == "requests[2].public_metadata"
    assert failed[3].violations[0].field == "requests[3].public_metadata"
    assert [results[0], results[4]] == [await core.now(first), await core.now(second)]
    assert document(await core.now(first)) == {"n": 2}
    assert document(await core.now(second), PRIVATE) == {"a": 1}


async def test_of_an_atomic_batch_nothing_is_done_if_anything_fails(core: Core) -> None:
    users = [await core.user(public_metadata={"n": 1}) for _ in range(2)]
    newest = await core.store.newest()
    edits: list[Edit] = [INCREMENT, FAILING]
    writes = [writing(user.id, {PUBLIC: edit}) for user, edit in zip(users, edits, strict=True)]
    error = await refusal(core.metadata.write_batch(writes, INTENT, atomic=True), Reason.PATCH_TEST_FAILED)
    assert error.metadata["index"] == "1"
    assert [await core.now(user) for user in users] == users
    assert await core.store.newest() == newest


@pytest.mark.parametrize(
    ("user_id", "reason", "fields"),
    [
        ("user_1", Reason.METADATA_KEY_INVALID, ["requests[1].public_metadata", "requests[3].private_metadata"]),
        ("user_none", Reason.USER_NOT_FOUND, []),
    ],
)
async def test_an_atomic_batch_that_a_field_fails_names_the_malformed_items_behind_it(
    core: Core, user_id: str, reason: Reason, fields: list[str]
) -> None:
    user = await core.user("user_1")
    writes: list[MetadataWrite | UsermetaError] = [
        writing(user.id, {PUBLIC: merging({"a": 1})}),
        writing(user_id, {PUBLIC: merging({"": 1})}),
        writing(user.id, {PUBLIC: FAILING}),
        invalid("private_metadata", "is malformed"),
    ]
    error = await refusal(core.metadata.write_batch(writes, INTENT, atomic=True), reason)
    assert error.metadata["index"] == "1"
    assert [each.field for each in error.violations] == fields
    assert await core.now(user) == user


@pytest.mark.parametrize("atomic", [True, False])
async def test_items_of_a_batch_are_done_in_their_order(core: Core, *, atomic: bool) -> None:
    user = await core.user(public_metadata={"n": 1})
    edits: list[Edit] = [INCREMENT, merging({"m": 1}), INCREMENT]
    writes = [writing(user.id, {PUBLIC: edit}) for edit in edits]
    results = await core.metadata.write_batch(writes, INTENT, atomic=atomic)
    shown = [document(each) for each in results if isinstance(each, User)]
    assert shown == [{"n": 2}, {"n": 2, "m": 1}, {"n": 3, "m": 1}]
    assert document(await core.now(user)) == {"n": 3, "m": 1}


async def test_an_item_that_expects_an_etag_does_not_find_the_one_that_the_batch_made_before(core: Core) -> None:
    user = await core.user(public_metadata={"n": 1})
    write = writing(user.id, {PUBLIC: INCREMENT}, {PUBLIC: user.public_metadata_etag})
    first, second = await core.metadata.write_batch([write, write], INTENT, atomic=False)
    assert isinstance(first, User)
    assert isinstance(second, UsermetaError)
    assert second.reason is Reason.ETAG_MISMATCH
    assert second.metadata["public_metadata"] == first.public_metadata_etag


async def test_a_batch_of_nothing_is_nothing(core: Core) -> None:
    newest = await core.store.newest()
    assert await core.metadata.write_batch([], INTENT, atomic=True) == []
    assert await core.store.newest() == newest


# Whom an identifier means


async def handed_over(core: Core) -> tuple[User, User]:
    """Make two users; the first has a username."""
    return await core.user(username="ada"), await core.user()


async def hand_over(core: Core, users: tuple[User, User]) -> None:
    """Give the first's username to the second."""
    await core.update(users[0].id, username="")
    await core.update(users[1].id, username="ada")


async def test_a_write_of_who_has_the_identifier_no_more_is_not_done(core: Core) -> None:
    users = await handed_over(core)
    await hand_over(core, users)
    write = found(Subject(users[0].id, username("ada")), {PUBLIC: merging({"a": 1})})
    with pytest.raises(MovedError):
        await core.metadata.write(write, INTENT)
    with pytest.raises(MovedError):
        await core.metadata.write_batch(
            [writing(users[1].id, {PUBLIC: merging({"a": 1})}), write], INTENT, atomic=False
        )
    assert [document(await core.now(user)) for user in users] == [{}, {}]


async def test_a_write_is_of_who_has_the_identifier_by_then(core: Core) -> None:
    users = await handed_over(core)
    racing = core.racing(lambda: hand_over(core, users))
    metadata = Metadata(core.store, racing, core.app.use_cases.limits)
    revised = await core.users.acting_on(
        username("ada"), lambda subject: metadata.write(found(subject, {PUBLIC: merging({"a": 1})}), INTENT)
    )
    assert revised.id == users[1].id
    assert [document(await core.now(user)) for user in users] == [{}, {"a": 1}]


async def test_every_item_of_a_batch_is_of_who_has_its_identifier_by_then(core: Core) -> None:
    users = await handed_over(core)
    racing = core.racing(lambda: hand_over(core, users))
    metadata = Metadata(core.store, racing, core.app.use_cases.limits)
    results = await core.users.acting_on_all(
        [users[0].id, username("ada")],
        lambda subjects: metadata.write_batch(
            [found(each, {PUBLIC: merging({"by": str(index)})}) for index, each in enumerate(subjects)],
            INTENT,
            atomic=True,
        ),
    )
    assert [each.id for each in results if isinstance(each, User)] == [users[0].id, users[1].id]
    assert [document(await core.now(user)) for user in users] == [{"by": "0"}, {"by": "1"}]


async def test_an_identifier_that_nobody_has_is_nobodys_document(core: Core) -> None:
    call = core.users.acting_on(
        username("none"), lambda subject: core.metadata.write(found(subject, {PUBLIC: merging({})}), INTENT)
    )
    await refusal(call, Reason.USER_NOT_FOUND)


async def test_a_check_of_the_user_that_fails_is_why_nothing_is_done(core: Core) -> None:
    user = await core.user()

    def check(seen: User) -> None:
        assert seen == user
        raise UsermetaError(Reason.CHANGE_NOT_FOUND)

    write = writing(user.id, {PUBLIC: merging({"a": 1})}, {PUBLIC: "stale"})._replace(check=check)
    await refusal(core.metadata.write(write, INTENT), Reason.CHANGE_NOT_FOUND)
    assert await core.users.get(BACKEND_CALLER, user.id) == user
