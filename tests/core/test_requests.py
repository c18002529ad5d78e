"""Request ids: what is asked for twice is done once, and what is not the same is refused."""

from collections.abc import Awaitable, Callable
from typing import Final

import pytest

from tests.core.support import INTENT, NOBODY, OPERATOR, Core, asked, document, holder_of, merging, refusal, writing
from tests.support import BACKEND_CALLER
from usermeta_server.core.query import parse_index_path
from usermeta_server.core.writes import Intent
from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.model import REMEMBERED_FOR, SECOND, Actor, Document, Scope, User

DAY: Final = REMEMBERED_FOR / SECOND
PATH: Final = parse_index_path("public_metadata.a")
Call = Callable[[Core, Intent], Awaitable[object]]


async def create_user(core: Core, intent: Intent) -> object:
    return (await core.user("", intent, first_name="Ada")).id


async def update_user(core: Core, intent: Intent) -> object:
    return await core.update("user_1", "", intent, username="ada")


async def delete_user(core: Core, intent: Intent) -> object:
    await core.users.delete("user_2", "", intent)
    return None


async def write_metadata(core: Core, intent: Intent) -> object:
    count = {Document.PUBLIC: lambda before: {"n": before.get("n", 0) + 1}}
    return await core.metadata.write(writing("user_1", count), intent)


async def write_batch(core: Core, intent: Intent) -> object:
    count = {Document.PUBLIC: lambda before: {"n": before.get("n", 0) + 1}}
    return await core.metadata.write_batch([writing("user_1", count)], intent, atomic=False)


async def create_session(core: Core, intent: Intent) -> object:
    return (await core.sessions.create("user_1", SECOND, intent)).expire_time


async def create_key(core: Core, intent: Intent) -> object:
    return (await core.keys.create(OPERATOR, "a key", (Scope.READ,), 0, intent)).key


async def create_index(core: Core, intent: Intent) -> object:
    return await core.search.create_index(PATH, intent)


async def create_sign_up(core: Core, intent: Intent) -> object:
    return (await core.sign_ups.create(NOBODY, {}, {}, intent)).sign_up.record


async def reject_sign_up(core: Core, intent: Intent) -> object:
    return await core.sign_ups.reject(BACKEND_CALLER, await only_sign_up(core), "", intent)


async def update_sign_up(core: Core, intent: Intent) -> object:
    return await core.sign_ups.update(BACKEND_CALLER, await only_sign_up(core), ({"first_name": "A"}, {}), "", intent)


async def complete_sign_up(core: Core, intent: Intent) -> object:
    return (await core.sign_ups.complete(BACKEND_CALLER, await only_sign_up(core), "", intent)).user


async def only_sign_up(core: Core) -> str:
    """Return the id of the sign-up that there was first."""
    return (await core.sign_ups.list("", 1))[0].record.id


CALLS: Final[list[Call]] = [
    create_user,
    update_user,
    delete_user,
    write_metadata,
    write_batch,
    create_session,
    create_key,
    create_index,
    create_sign_up,
    update_sign_up,
    reject_sign_up,
    complete_sign_up,
]


@pytest.fixture
async def full(core: Core) -> Core:
    """Return the use cases on a store with two users and a sign-up."""
    for user_id in ("user_1", "user_2"):
        await core.user(user_id)
    await core.sign_ups.create(NOBODY, {"email_address": "ada@example.com"}, {}, INTENT)
    return core


async def everything(core: Core) -> object:
    """Return all that the use cases show."""
    return (
        await core.store.users_after("", 100),
        await core.store.sign_ups("", 100),
        await core.store.secret_keys(),
        core.store.metadata_indexes(),
        await core.store.newest(),
    )


@pytest.mark.parametrize("call", CALLS)
async def test_what_is_asked_for_again_is_done_once_and_answered_alike(full: Core, call: Call) -> None:
    first = await call(full, asked("1"))
    after = await everything(full)
    full.clock.turn(1)
    assert await call(full, asked("1")) == first
    assert await everything(full) == after


@pytest.mark.parametrize("call", CALLS)
async def test_a_request_id_is_of_one_request(full: Core, call: Call) -> None:
    await call(full, asked("1", b"one"))
    after = await everything(full)
    for intent in (asked("1", b"other"), asked("1", b"one")._replace(method="other")):
        error = await refusal(call(full, intent), Reason.REQUEST_ID_REUSED)
        assert error.metadata == {"request_id": "1"}
        assert [each.field for each in error.violations] == ["request_id"]
    assert await everything(full) == after


async def test_request_ids_of_different_callers_never_meet(full: Core) -> None:
    mine = await create_user(full, asked("1", principal="secret_key:1"))
    assert await create_user(full, asked("1", principal="secret_key:2")) != mine
    assert await create_user(full, asked("1", principal="secret_key:1")) == mine


async def test_a_request_is_remembered_for_a_day(full: Core) -> None:
    first = await create_user(full, asked("1"))
    full.clock.turn(DAY - 1)
    assert await create_user(full, asked("1")) == first
    full.clock.turn(1)
    assert await create_user(full, asked("1", b"other")) != first


async def test_what_was_refused_is_not_remembered(full: Core) -> None:
    await full.update("user_2", username="ada")
    await refusal(update_user(full, asked("1")), Reason.IDENTIFIER_TAKEN)
    await full.update("user_2", username="")
    user = await full.update("user_1", "", asked("1", b"other"), username="ada")
    assert user.username == "ada"


async def test_a_trial_is_not_remembered_and_recalls_what_is(full: Core) -> None:
    trial = asked("1")._replace(validate_only=True)
    assert not await create_user(full, trial)
    made = await create_user(full, asked("1"))
    assert made
    assert await create_user(full, trial) == made
    await refusal(create_user(full, trial._replace(canonical=b"other")), Reason.REQUEST_ID_REUSED)


async def test_a_request_that_is_asked_for_again_shows_what_is_by_now(full: Core) -> None:
    await update_user(full, asked("1"))
    now = await full.update("user_1", username="eve")
    assert await update_user(full, asked("1")) == now
    assert now.username == "eve"


async def test_secrets_are_shown_once(full: Core) -> None:
    for again in (False, True):
        session = await full.sessions.create("user_1", SECOND, asked("session"))
        key = await full.keys.create(OPERATOR, "a key", (Scope.READ,), 0, asked("key"))
        sign_up = await full.sign_ups.create(NOBODY, {}, {}, asked("sign-up"))
        assert [bool(each) for each in (session.token, key.secret, sign_up.token)] == [not again] * 3


async def test_a_completion_that_is_asked_for_again_gives_its_holder_a_session_again(full: Core) -> None:
    sign_up_id = await only_sign_up(full)
    calls = [await full.sign_ups.complete(holder_of(sign_up_id), sign_up_id, "", asked("1")) for _ in range(2)]
    assert calls[0].user == calls[1].user
    assert all(each.session_token for each in calls)


async def test_of_a_batch_that_is_asked_for_again_users_and_reasons_are_told(full: Core) -> None:
    edits = {Document.PUBLIC: merging({"a": 1})}
    malformed = {Document.PUBLIC: merging({"": 1})}
    writes = [writing("user_1", edits), writing("user_none", edits), writing("user_1", malformed)]
    done = [await full.metadata.write_batch(writes, asked("1"), atomic=False) for _ in range(2)]
    assert done[0][0] == done[1][0]
    for index, reason in ((1, Reason.USER_NOT_FOUND), (2, Reason.METADATA_KEY_INVALID)):
        errors = [each[index] for each in done]
        for error in errors:
            assert isinstance(error, UsermetaError)
            assert (error.reason, error.metadata["index"]) == (reason, str(index))
            assert bool(error.violations) == (reason is Reason.METADATA_KEY_INVALID)


async def test_a_request_that_names_an_erased_user_is_forgotten(full: Core) -> None:
    made = await full.user("", asked("made"))
    edits = {Document.PUBLIC: merging({"a": 1})}
    batch = [writing("user_1", edits), writing(made.id, edits)]
    await full.metadata.write_batch(batch, asked("batch"), atomic=False)
    await full.users.delete(made.id, "", INTENT)
    assert (await full.user("", asked("made", b"other"))).id != made.id
    first, second = await full.metadata.write_batch(batch, asked("batch", b"other"), atomic=False)
    assert isinstance(first, User)
    assert isinstance(second, UsermetaError)


async def test_the_request_that_erased_a_user_is_remembered(full: Core) -> None:
    await delete_user(full, asked("1"))
    heir = await full.user("user_2")
    await delete_user(full, asked("1"))
    assert await full.now(heir) == heir
    await refusal(delete_user(full, asked("1", b"other")), Reason.REQUEST_ID_REUSED)


@pytest.mark.parametrize("how", ["erased", "changed"])
async def test_what_an_identity_asked_for_is_forgotten_once_it_is_no_users(full: Core, how: str) -> None:
    user = await full.user(external_id="idp|1")
    by_identity = asked("1")._replace(actor=Actor("frontend", "identity:idp|1"))
    by_other = asked("1")._replace(actor=Actor("frontend", "identity:idp|2"))
    for intent in (by_identity, by_other):
        await update_user(full, intent)
    if how == "erased":
        await full.users.delete(user.id, "", INTENT)
    else:
        await full.update(user.id, external_id="idp|3")
    assert (await full.update("user_1", "", by_identity._replace(canonical=b"other"), last_name="A")).last_name
    await refusal(update_user(full, by_other._replace(canonical=b"other")), Reason.REQUEST_ID_REUSED)


async def test_what_a_user_asked_for_is_forgotten_with_the_user(full: Core) -> None:
    by_user = asked("1")._replace(actor=Actor("frontend", "user:user_2"))
    await write_metadata(full, by_user)
    await full.users.delete("user_2", "", INTENT)
    await write_metadata(full, by_user)
    assert document(await full.users.get(BACKEND_CALLER, "user_1")) == {"n": 2}


async def test_an_expired_request_is_swept_and_one_that_is_kept_is_not(full: Core) -> None:
    await create_user(full, asked("1"))
    full.clock.turn(1)
    second = await create_user(full, asked("2"))
    full.clock.turn(DAY - 1)
    assert [await full.store.sweep(), await full.store.sweep()] == [1, 0]
    assert await create_user(full, asked("2")) == second


async def test_a_request_that_changed_nothing_of_an_erased_user_is_forgotten_too(full: Core) -> None:
    await create_session(full, asked("1"))
    await full.users.delete("user_1", "", INTENT)
    await full.user("user_1")
    assert await create_session(full, asked("1", b"other"))
