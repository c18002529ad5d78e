"""Users: made, changed and erased; identifiers that are one user's; etags."""

from collections.abc import Mapping

import pytest

from tests.core.support import (
    INTENT,
    NOBODY,
    TRIAL,
    Core,
    frontend,
    named,
    newcomer,
    refusal,
    session_of,
    username,
)
from tests.support import BACKEND_CALLER
from usermeta_server.caller import PrincipalKind
from usermeta_server.core.users import Users
from usermeta_server.errors import Reason
from usermeta_server.model import Document, IdentifierKind

KINDS = pytest.mark.parametrize(
    ("kind", "value", "same"),
    [
        (IdentifierKind.EXTERNAL_ID, "idp|1", "idp|1"),
        (IdentifierKind.USERNAME, "ada", "ADA"),
        (IdentifierKind.EMAIL_ADDRESS, "ada@example.com", "Ada@Example.COM"),
    ],
)


async def test_a_new_user_has_what_was_given_and_nothing_else(core: Core) -> None:
    user = await core.user(username="ada", banned=True, private_metadata={"a": 1})
    assert (user.username, user.banned, user.private_metadata) == ("ada", True, '{"a":1}')
    assert (user.first_name, user.email_address, user.public_metadata, user.unsafe_metadata) == ("", "", "{}", "{}")
    assert await core.now(user) == user


async def test_a_new_user_has_another_etag_for_each_part(core: Core) -> None:
    user = await core.user()
    etags = {user.etag, user.visible_etag, *map(user.document_etag, Document)}
    assert len(etags) == 5
    assert all(etags)


async def test_a_user_can_have_an_id_of_the_callers_choice_and_nobody_else_can_then(core: Core) -> None:
    user = await core.user("user_ada", first_name="Ada")
    error = await refusal(core.user("user_ada", first_name="Eve"), Reason.IDENTIFIER_TAKEN)
    assert error.metadata["field"] == "user_id"
    assert await core.now(user) == user


async def test_any_number_of_users_have_no_identifier(core: Core) -> None:
    made = [await core.user() for _ in range(3)]
    assert len({user.id for user in made}) == 3


@KINDS
async def test_a_new_user_gets_no_identifier_of_another_in_any_spelling(
    core: Core, kind: IdentifierKind, value: str, same: str
) -> None:
    await core.user(**{kind: value})
    error = await refusal(core.user("user_2", **{kind: same}), Reason.IDENTIFIER_TAKEN)
    assert error.metadata["field"] == f"user.{kind}"
    assert not await core.has("user_2")


@KINDS
async def test_a_user_changes_to_no_identifier_of_another_in_any_spelling(
    core: Core, kind: IdentifierKind, value: str, same: str
) -> None:
    await core.user(**{kind: value})
    other = await core.user()
    error = await refusal(core.update(other.id, first_name="Eve", **{kind: same}), Reason.IDENTIFIER_TAKEN)
    assert error.metadata["field"] == f"user.{kind}"
    assert await core.now(other) == other


@KINDS
async def test_a_user_is_found_by_an_identifier_in_any_spelling(
    core: Core, kind: IdentifierKind, value: str, same: str
) -> None:
    user = await core.user(**{kind: value})
    assert await core.users.get_by(named(kind, same)) == user


@KINDS
async def test_a_user_spells_its_own_identifier_as_it_likes(
    core: Core, kind: IdentifierKind, value: str, same: str
) -> None:
    user = await core.user(**{kind: value})
    revised = await core.update(user.id, **{kind: same})
    assert getattr(revised, kind) == same
    assert await core.users.get_by(named(kind, value)) == revised


@KINDS
@pytest.mark.parametrize("after", ["changes", "unsets", "erases"])
async def test_an_identifier_is_free_once_nobody_has_it(
    core: Core, kind: IdentifierKind, value: str, same: str, after: str
) -> None:
    user = await core.user(**{kind: value})
    if after == "erases":
        await core.users.delete(user.id, "", INTENT)
    else:
        await core.update(user.id, **{kind: f"x{value}" if after == "changes" else ""})
    await refusal(core.users.get_by(named(kind, value)), Reason.USER_NOT_FOUND)
    taker = await core.user(**{kind: same})
    assert await core.users.get_by(named(kind, value)) == taker


async def test_external_ids_are_told_apart_by_case(core: Core) -> None:
    lower, upper = await core.user(external_id="a"), await core.user(external_id="A")
    assert await core.users.get_by(named(IdentifierKind.EXTERNAL_ID, "a")) == lower
    assert await core.users.get_by(named(IdentifierKind.EXTERNAL_ID, "A")) == upper


async def test_of_a_refused_write_no_identifier_is_kept(core: Core) -> None:
    await core.user(email_address="ada@example.com")
    other = await core.user(username="bob")
    taken = {"username": "eve", "email_address": "ada@example.com"}
    await refusal(core.update(other.id, **taken), Reason.IDENTIFIER_TAKEN)
    await refusal(core.user(**taken), Reason.IDENTIFIER_TAKEN)
    assert await core.users.get_by(username("bob")) == other
    assert not await core.has(username("eve"))


@pytest.mark.parametrize("ref", ["user_none", username("none")])
async def test_nobody_is_not_erased(core: Core, ref: str) -> None:
    await refusal(core.users.delete(ref, "", INTENT), Reason.USER_NOT_FOUND)


async def test_a_user_is_erased_by_an_identifier(core: Core) -> None:
    user, other = await core.user(username="ada"), await core.user(username="bob")
    await core.users.delete(username("ADA"), "", INTENT)
    assert not await core.has(user.id)
    assert await core.has(other.id)


async def test_a_write_expects_the_etag_of_the_profile_if_it_names_one(core: Core) -> None:
    user = await core.user()
    revised = await core.update(user.id, user.etag, first_name="Ada")
    for call in (core.update(user.id, user.etag, first_name="Eve"), core.users.delete(user.id, user.etag, INTENT)):
        error = await refusal(call, Reason.ETAG_MISMATCH)
        assert error.metadata == {"profile": revised.etag}
        assert await core.now(user) == revised
    await core.users.delete(user.id, revised.etag, INTENT)
    assert not await core.has(user.id)


async def test_a_user_themself_names_the_etag_that_it_is_shown(core: Core) -> None:
    user = await core.user()
    revised = await core.update(user.id, external_id="idp|1")
    update = core.users.update
    error = await refusal(
        update(session_of(user), user.id, {"first_name": "A"}, revised.etag, INTENT), Reason.ETAG_MISMATCH
    )
    assert error.metadata == {"profile": user.visible_etag}
    assert (await update(session_of(user), user.id, {"first_name": "A"}, user.visible_etag, INTENT)).first_name == "A"


@pytest.mark.parametrize(("field", "value", "shown"), [("first_name", "Eve", True), ("external_id", "x", False)])
async def test_what_the_user_is_shown_moves_only_with_what_the_user_may_read(
    core: Core, field: str, value: str, shown: object
) -> None:
    user = await core.user()
    core.clock.turn(1)
    revised = await core.update(user.id, **{field: value})
    assert revised.etag != user.etag
    assert revised.update_time > user.update_time
    assert (revised.visible_etag != user.visible_etag) is shown
    assert (revised.visible_update_time > user.visible_update_time) is shown
    assert [*map(revised.document_etag, Document)] == [*map(user.document_etag, Document)]


async def test_an_update_that_changes_nothing_leaves_no_trace(core: Core) -> None:
    user, newest = await core.user(username="ada"), await core.store.newest()
    core.clock.turn(1)
    assert await core.update(user.id, username="ada", first_name="") == user
    assert await core.store.newest() == newest


@pytest.mark.parametrize(
    ("values", "verified"),
    [
        ({"email_address": "b@example.com"}, False),
        ({"email_address": ""}, False),
        ({"email_address": "A@EXAMPLE.com"}, True),
        ({"first_name": "Ada"}, True),
        ({"email_address": "b@example.com", "email_address_verified": True}, True),
    ],
)
async def test_another_email_address_is_not_verified_unless_it_is_said(
    core: Core, values: Mapping[str, str | bool], *, verified: bool
) -> None:
    user = await core.user(email_address="a@example.com", email_address_verified=True)
    assert (await core.update(user.id, **values)).email_address_verified is verified


async def test_a_banned_user_neither_reads_nor_writes_but_a_backend_does(core: Core) -> None:
    user = await core.user(banned=True)
    caller = session_of(user)
    await refusal(core.users.get(caller, user.id), Reason.USER_BANNED)
    await refusal(core.users.get_profile(caller, user.id), Reason.USER_BANNED)
    await refusal(core.users.update(caller, user.id, {"first_name": "Eve"}, "", INTENT), Reason.USER_BANNED)
    unbanned = await core.update(user.id, banned=False)
    assert await core.users.get(caller, user.id) == unbanned


async def test_a_session_is_not_of_the_next_user_who_has_the_id(core: Core) -> None:
    caller = session_of(await core.user("user_ada"))
    await core.users.delete("user_ada", "", INTENT)
    heir = await core.user("user_ada")
    await refusal(core.users.get(caller, heir.id), Reason.USER_NOT_FOUND)
    await refusal(core.users.update(caller, heir.id, {"first_name": "Eve"}, "", INTENT), Reason.USER_NOT_FOUND)
    assert await core.users.get(session_of(heir), heir.id) == heir


async def test_an_outside_identity_is_not_of_a_user_who_has_it_no_more(core: Core) -> None:
    user = await core.user(external_id="idp|1")
    caller = frontend(PrincipalKind.IDENTITY, user_id=user.id, identity=newcomer("idp|1").principal.identity)
    assert await core.users.get(caller, user.id) == user
    await core.update(user.id, external_id="idp|2")
    await refusal(core.users.get(caller, user.id), Reason.USER_NOT_FOUND)


async def test_a_profile_is_told_to_anybody_but_to_no_session_of_nobody(core: Core) -> None:
    user, gone = await core.user(), await core.user()
    await core.users.delete(gone.id, "", INTENT)
    assert await core.users.get_profiles(NOBODY, [user.id, gone.id]) == {user.id: user}
    assert await core.users.get_profile(NOBODY, user.id) == user
    await refusal(core.users.get_profile(NOBODY, gone.id), Reason.USER_NOT_FOUND)
    await refusal(core.users.get_profiles(session_of(gone), [user.id]), Reason.USER_NOT_FOUND)


async def test_many_users_are_those_that_there_are(core: Core) -> None:
    user, other = await core.user(), await core.user()
    assert await core.users.get_many([other.id, "user_none", user.id]) == {user.id: user, other.id: other}


async def test_a_trial_tells_what_would_be_and_changes_nothing(core: Core) -> None:
    user, newest = await core.user(username="ada"), await core.store.newest()
    assert (await core.update(user.id, "", TRIAL, username="eve")).username == "eve"
    tried = await core.user("", TRIAL, username="bob")
    assert (tried.username, tried.id, tried.etag) == ("bob", "", "")
    await core.users.delete(user.id, "", TRIAL)
    await refusal(core.user("", TRIAL, username="ada"), Reason.IDENTIFIER_TAKEN)
    await refusal(core.users.delete("user_none", "", TRIAL), Reason.USER_NOT_FOUND)
    assert await core.now(user) == user
    assert not await core.has(username("bob"))
    assert await core.store.newest() == newest


async def test_every_document_of_a_new_user_that_is_refused_is_named(core: Core) -> None:
    call = core.user("user_1", public_metadata={"a": "x" * 9000}, unsafe_metadata={"": 1}, private_metadata={})
    error = await refusal(call, Reason.METADATA_TOO_LARGE)
    assert [each.field for each in error.violations] == ["user.public_metadata", "user.unsafe_metadata"]
    assert not await core.has("user_1")


async def test_an_identifier_that_somebody_gave_a_user_meanwhile_is_released_too(core: Core) -> None:
    user = await core.user(username="ada")
    users = Users(core.store, core.racing(lambda: core.update(user.id, username="eve")), core.app.use_cases.limits)
    revised = await users.update(BACKEND_CALLER, user.id, {"username": "bob"}, "", INTENT)
    assert revised.username == "bob"
    assert not await core.has(username("ada"))
    assert not await core.has(username("eve"))
    assert await core.users.get_by(username("bob")) == revised


async def test_who_has_an_identifier_by_the_time_of_the_write_is_erased(core: Core) -> None:
    first, second = await core.user(username="ada"), await core.user()

    async def hand_over() -> None:
        await core.update(first.id, username="")
        await core.update(second.id, username="ada")

    users = Users(core.store, core.racing(hand_over), core.app.use_cases.limits)
    await users.delete(username("ada"), "", INTENT)
    assert await core.has(first.id)
    assert not await core.has(second.id)
