"""Sign-ups: from the first form to the user, exactly once, or to another end."""

import asyncio
from collections.abc import Mapping

import pytest

from tests.core.conftest import OpenCore
from tests.core.support import (
    INTENT,
    NOBODY,
    TRIAL,
    Core,
    document,
    holder_of,
    newcomer,
    refusal,
    username,
)
from tests.support import BACKEND_CALLER
from usermeta_server.auth.sign_up_tokens import SignUpTokens
from usermeta_server.caller import Audience, Caller
from usermeta_server.core.sign_ups import Requirements, SignUpRules, SignUps
from usermeta_server.errors import Reason
from usermeta_server.model import SECOND, Document, ShownSignUp, SignUpStatus
from usermeta_server.values import Json, JsonObject

EMAIL = "ada@example.com"
DAY = 24 * 3600


async def begun(core: Core, **values: str) -> tuple[str, Caller]:
    """Begin a sign-up, and return its id and its holder."""
    made = await core.sign_up(**values)
    return made.sign_up.record.id, holder_of(made.sign_up.record.id)


async def update(core: Core, caller: Caller, sign_up_id: str, etag: str = "", **values: str | bool) -> ShownSignUp:
    """Change fields of a sign-up."""
    return await core.sign_ups.update(caller, sign_up_id, (values, {}), etag, INTENT)


def unsafe(document: JsonObject) -> Mapping[Document, JsonObject]:
    """Return a change of the document that the holder writes."""
    return {Document.UNSAFE: document}


async def status_of(core: Core, sign_up_id: str) -> SignUpStatus:
    """Return where a sign-up stands."""
    return (await core.sign_ups.get(BACKEND_CALLER, sign_up_id)).status


async def end(core: Core, sign_up_id: str, how: SignUpStatus) -> None:
    """Bring a sign-up to one of its ends."""
    if how is SignUpStatus.COMPLETE:
        await core.sign_ups.complete(BACKEND_CALLER, sign_up_id, "", INTENT)
    elif how is SignUpStatus.REJECTED:
        await core.sign_ups.reject(BACKEND_CALLER, sign_up_id, "", INTENT)
    else:
        core.clock.turn(DAY)


ENDS = pytest.mark.parametrize("how", [SignUpStatus.COMPLETE, SignUpStatus.REJECTED, SignUpStatus.ABANDONED])


async def test_a_sign_up_becomes_the_user_that_its_form_says(core: Core) -> None:
    sign_up_id, holder = await begun(core, first_name="Ada")
    assert (await core.sign_ups.get(holder, sign_up_id)).missing_fields == ("email_address",)
    form = {"email_address": EMAIL, "username": "ada"}
    shown = await core.sign_ups.update(holder, sign_up_id, (form, unsafe({"a": 1})), "", INTENT)
    assert (shown.status, shown.missing_fields) == (SignUpStatus.READY, ())
    await core.sign_ups.update(BACKEND_CALLER, sign_up_id, ({}, {Document.PRIVATE: {"b": 2}}), "", INTENT)
    done = await core.sign_ups.complete(holder, sign_up_id, "", INTENT)
    user = await core.users.get_by(username("ada"))
    assert done.user == user
    assert (user.first_name, user.username, user.email_address) == ("Ada", "ada", EMAIL)
    assert [document(user, each) for each in (Document.UNSAFE, Document.PRIVATE)] == [{"a": 1}, {"b": 2}]
    assert (await core.sign_ups.get(holder, sign_up_id)).record.created_user_id == user.id


async def test_a_token_stands_for_the_holder(core: Core) -> None:
    made = await core.sign_up()
    principal = await core.app.authenticator.authenticate(Audience.FRONTEND, [f"Bearer {made.token}"])
    caller = Caller(Audience.FRONTEND, "test", principal)
    assert await core.sign_ups.get(caller, made.sign_up.record.id) == made.sign_up


async def test_a_completed_sign_up_gives_its_holder_a_session_of_the_user_and_a_backend_none(core: Core) -> None:
    sign_up_id, holder = await begun(core, email_address=EMAIL)
    done = await core.sign_ups.complete(holder, sign_up_id, "", INTENT)
    principal = await core.app.authenticator.authenticate(Audience.FRONTEND, [f"Bearer {done.session_token}"])
    assert principal.user_id == done.user.id
    assert not (await core.sign_ups.complete(BACKEND_CALLER, sign_up_id, "", INTENT)).session_token


async def test_a_sign_up_is_completed_once_however_often_it_is_asked_for(core: Core) -> None:
    sign_up_id, holder = await begun(core, email_address=EMAIL)
    calls = (core.sign_ups.complete(caller, sign_up_id, "", INTENT) for caller in (holder, BACKEND_CALLER, holder))
    done = [*await asyncio.gather(*calls), await core.sign_ups.complete(holder, sign_up_id, "stale", INTENT)]
    assert len({each.user.id for each in done}) == 1
    assert await core.search.list(BACKEND_CALLER, core.search.listing("", "", ""), 10) == [done[0].user]


async def test_what_is_missing_keeps_a_sign_up_from_its_completion(core: Core) -> None:
    sign_up_id, holder = await begun(core, first_name="Ada")
    error = await refusal(core.sign_ups.complete(holder, sign_up_id, "", INTENT), Reason.SIGN_UP_INCOMPLETE)
    assert error.metadata == {"missing_fields": "email_address"}
    assert await status_of(core, sign_up_id) is SignUpStatus.MISSING_REQUIREMENTS


@pytest.mark.parametrize("value", [None, False, ""])
async def test_a_path_is_required_to_have_a_value_that_says_something(open_core: OpenCore, value: Json) -> None:
    async with open_core(sign_up_required=("unsafe_metadata.terms.accepted", "last_name")) as core:
        sign_up_id, holder = await begun(core, last_name="L")

        async def missing(given: Json) -> tuple[str, ...]:
            changes = unsafe({"terms": {"accepted": given}})
            shown = await core.sign_ups.update(holder, sign_up_id, ({}, changes), "", INTENT)
            return shown.missing_fields

        assert await missing(0) == ()
        assert await missing(value) == ("unsafe_metadata.terms.accepted",)


async def test_where_backends_attest_no_holder_completes(open_core: OpenCore) -> None:
    async with open_core(sign_up_completion="attested") as core:
        sign_up_id, holder = await begun(core, email_address=EMAIL)
        await refusal(core.sign_ups.complete(holder, sign_up_id, "", INTENT), Reason.SIGN_UP_NOT_ATTESTED)
        done = await core.sign_ups.complete(BACKEND_CALLER, sign_up_id, "", INTENT)
        again = await core.sign_ups.complete(holder, sign_up_id, "", INTENT)
        assert again.user == done.user
        assert again.session_token


@ENDS
async def test_a_closed_sign_up_changes_no_more(core: Core, how: SignUpStatus) -> None:
    sign_up_id, _ = await begun(core, email_address=EMAIL)
    await end(core, sign_up_id, how)
    shown = await core.sign_ups.get(BACKEND_CALLER, sign_up_id)
    assert shown.status is how
    error = await refusal(update(core, BACKEND_CALLER, sign_up_id, first_name="Eve"), Reason.SIGN_UP_CLOSED)
    assert error.metadata == {"status": how.name}
    if how is not SignUpStatus.COMPLETE:
        await refusal(core.sign_ups.complete(BACKEND_CALLER, sign_up_id, "", INTENT), Reason.SIGN_UP_CLOSED)
    if how is not SignUpStatus.REJECTED:
        await refusal(core.sign_ups.reject(BACKEND_CALLER, sign_up_id, "", INTENT), Reason.SIGN_UP_CLOSED)
    assert await core.sign_ups.get(BACKEND_CALLER, sign_up_id) == shown


@ENDS
async def test_a_closed_sign_up_keeps_no_document(core: Core, how: SignUpStatus) -> None:
    sign_up_id, _ = await begun(core, email_address=EMAIL)
    for name in Document:
        await core.sign_ups.update(BACKEND_CALLER, sign_up_id, ({}, {name: {"a": 1}}), "", INTENT)
    await end(core, sign_up_id, how)
    await core.sign_ups.sweep()
    record = (await core.sign_ups.get(BACKEND_CALLER, sign_up_id)).record
    assert {getattr(record, each) for each in Document} == {"{}"}


async def test_a_sign_up_can_be_rejected_again_which_changes_nothing(core: Core) -> None:
    sign_up_id, holder = await begun(core)
    rejected = await core.sign_ups.reject(holder, sign_up_id, "", INTENT)
    core.clock.turn(1)
    assert await core.sign_ups.reject(BACKEND_CALLER, sign_up_id, "stale", INTENT) == rejected


async def test_writes_of_a_sign_up_expect_the_etag_that_their_caller_is_shown(core: Core) -> None:
    sign_up_id, holder = await begun(core, email_address=EMAIL)
    record = (await core.sign_ups.get(holder, sign_up_id)).record
    ups = core.sign_ups
    for caller, current in ((holder, record.visible_etag), (BACKEND_CALLER, record.etag)):
        for call in (
            update(core, caller, sign_up_id, "stale", first_name="Eve"),
            ups.complete(caller, sign_up_id, "stale", INTENT),
            ups.reject(caller, sign_up_id, "stale", INTENT),
        ):
            assert (await refusal(call, Reason.ETAG_MISMATCH)).metadata == {"sign_up": current}
    assert (await ups.get(holder, sign_up_id)).record == record
    assert (await update(core, holder, sign_up_id, record.visible_etag, first_name="Ada")).record.first_name == "Ada"


async def test_what_the_holder_may_not_read_moves_no_etag_that_the_holder_is_shown(core: Core) -> None:
    sign_up_id, holder = await begun(core)
    before = (await core.sign_ups.get(holder, sign_up_id)).record
    core.clock.turn(1)
    after = (await update(core, BACKEND_CALLER, sign_up_id, external_id="idp|1")).record
    assert after.etag != before.etag
    assert (after.visible_etag, after.abandon_time) == (before.visible_etag, before.abandon_time)


async def test_an_update_that_changes_nothing_leaves_a_sign_up_as_it_was(core: Core) -> None:
    sign_up_id, holder = await begun(core, first_name="Ada")
    before = await core.sign_ups.get(holder, sign_up_id)
    core.clock.turn(1)
    assert await update(core, holder, sign_up_id, first_name="Ada") == before


async def test_a_sign_up_is_abandoned_once_it_was_idle_for_too_long(core: Core) -> None:
    sign_up_id, holder = await begun(core)
    core.clock.turn(DAY - 1)
    assert await status_of(core, sign_up_id) is SignUpStatus.MISSING_REQUIREMENTS
    await update(core, holder, sign_up_id, first_name="Ada")
    core.clock.turn(DAY - 1)
    assert await status_of(core, sign_up_id) is SignUpStatus.MISSING_REQUIREMENTS
    core.clock.turn(1)
    assert await status_of(core, sign_up_id) is SignUpStatus.ABANDONED
    for call in (core.sign_ups.get(holder, sign_up_id), update(core, holder, sign_up_id, first_name="A")):
        await refusal(call, Reason.CREDENTIAL_EXPIRED)


async def test_only_what_is_due_is_swept_and_what_was_closed_long_ago_is_gone(core: Core) -> None:
    idle, _ = await begun(core)
    core.clock.turn(DAY / 2)
    fresh, _ = await begun(core)
    core.clock.turn(DAY / 2)
    assert await core.sign_ups.sweep() == 1
    assert await core.sign_ups.sweep() == 0
    assert (await status_of(core, idle), await status_of(core, fresh)) == (
        SignUpStatus.ABANDONED,
        SignUpStatus.MISSING_REQUIREMENTS,
    )
    core.clock.turn(30 * DAY)
    assert await core.sign_ups.sweep() == 2
    await refusal(core.sign_ups.get(BACKEND_CALLER, idle), Reason.SIGN_UP_NOT_FOUND)
    await refusal(core.sign_ups.get(holder_of(idle), idle), Reason.CREDENTIAL_EXPIRED)
    assert await status_of(core, fresh) is SignUpStatus.ABANDONED


async def test_a_while_after_its_completion_a_sign_up_tells_of_its_user_no_more(core: Core) -> None:
    sign_up_id, holder = await begun(core, email_address=EMAIL)
    await core.sign_ups.complete(holder, sign_up_id, "", INTENT)
    core.clock.turn(600)
    assert (await core.sign_ups.complete(holder, sign_up_id, "", INTENT)).shows_user
    core.clock.turn(1)
    late = await core.sign_ups.complete(holder, sign_up_id, "", INTENT)
    assert not late.shows_user
    assert not late.session_token


async def test_a_completed_sign_up_gives_no_session_of_a_banned_user(core: Core) -> None:
    sign_up_id, holder = await begun(core, email_address=EMAIL)
    done = await core.sign_ups.complete(holder, sign_up_id, "", INTENT)
    await core.update(done.user.id, banned=True)
    again = await core.sign_ups.complete(holder, sign_up_id, "", INTENT)
    assert (again.shows_user, again.session_token) == (False, "")


async def test_a_completed_sign_up_stands_for_no_other_user_who_has_the_id_since(core: Core) -> None:
    sign_up_id, holder = await begun(core, email_address=EMAIL)
    done = await core.sign_ups.complete(holder, sign_up_id, "", INTENT)
    await core.users.delete(done.user.id, "", INTENT)
    for _ in range(2):
        await refusal(core.sign_ups.complete(holder, sign_up_id, "", INTENT), Reason.USER_NOT_FOUND)
        if not await core.has(done.user.id):
            await core.user(done.user.id)


@pytest.mark.parametrize("field", ["username", "email_address", "external_id"])
async def test_an_identifier_is_taken_at_the_completion_and_named_to_who_may_read_it(core: Core, field: str) -> None:
    value = "ada@example.com"
    first, holder = await begun(core, email_address="other@example.com")
    await update(core, BACKEND_CALLER, first, **{field: value})
    await core.user(**{field: value.upper() if field != "external_id" else value})
    told = "sign_up" if field == "external_id" else f"sign_up.{field}"
    for caller, expected in ((holder, told), (BACKEND_CALLER, f"sign_up.{field}")):
        call = core.sign_ups.complete(caller, first, "", INTENT)
        assert (await refusal(call, Reason.IDENTIFIER_TAKEN)).metadata == {"field": expected}
    assert await status_of(core, first) is SignUpStatus.READY


async def test_sign_ups_with_one_address_may_be_open_at_once_and_the_first_that_is_completed_has_it(core: Core) -> None:
    (first, _), (second, holder) = await begun(core, email_address=EMAIL), await begun(core, email_address=EMAIL)
    await core.sign_ups.complete(BACKEND_CALLER, first, "", INTENT)
    await refusal(core.sign_ups.complete(holder, second, "", INTENT), Reason.IDENTIFIER_TAKEN)
    await update(core, holder, second, email_address="eve@example.com")
    assert (await core.sign_ups.complete(holder, second, "", INTENT)).user.email_address == "eve@example.com"


@pytest.mark.parametrize(
    ("given", "address", "verified"),
    [
        ({}, EMAIL, True),
        ({"email_address": EMAIL.upper()}, EMAIL.upper(), True),
        ({"email_address": "b@c.de"}, "b@c.de", False),
    ],
)
async def test_an_issuer_vouches_for_the_address_that_it_says_and_no_other(
    core: Core, given: dict[str, str], address: str, *, verified: bool
) -> None:
    made = await core.sign_ups.create(newcomer("idp|1", EMAIL, verified=True), given, {}, INTENT)
    record = made.sign_up.record
    assert (record.external_id, record.email_address, record.email_address_verified) == ("idp|1", address, verified)


async def test_another_address_than_the_one_that_was_vouched_for_is_not_verified(core: Core) -> None:
    made = await core.sign_ups.create(newcomer("idp|1", EMAIL, verified=True), {}, {}, INTENT)
    sign_up_id = made.sign_up.record.id
    shown = await update(core, holder_of(sign_up_id), sign_up_id, email_address="eve@example.com")
    assert not shown.record.email_address_verified


async def test_an_address_that_an_issuer_says_and_is_none_is_left_to_the_person(core: Core) -> None:
    made = await core.sign_ups.create(newcomer("idp|1", "not an address", verified=True), {}, {}, INTENT)
    assert made.sign_up.missing_fields == ("email_address",)
    assert not made.sign_up.record.email_address_verified


async def test_who_is_a_user_already_or_can_be_none_begins_no_sign_up(core: Core) -> None:
    await core.user(external_id="idp|1")
    error = await refusal(core.sign_ups.create(newcomer("idp|1"), {}, {}, INTENT), Reason.IDENTIFIER_TAKEN)
    assert error.metadata == {"field": "external_id"}
    await refusal(core.sign_ups.create(newcomer("x" * 257), {}, {}, INTENT), Reason.CREDENTIAL_INVALID)
    assert await core.sign_ups.list("", 10) == []


async def test_a_refused_document_of_a_sign_up_is_named_and_nothing_changes(core: Core) -> None:
    sign_up_id, holder = await begun(core)
    before = await core.sign_ups.get(holder, sign_up_id)
    call = core.sign_ups.update(holder, sign_up_id, ({"first_name": "A"}, unsafe({"": 1})), "", INTENT)
    assert (await refusal(call, Reason.METADATA_KEY_INVALID)).metadata["field"] == "sign_up.unsafe_metadata"
    assert await core.sign_ups.get(holder, sign_up_id) == before


async def test_a_sign_up_that_is_none_is_not_found_by_a_backend(core: Core) -> None:
    for call in (
        core.sign_ups.get(BACKEND_CALLER, "signup_none"),
        update(core, BACKEND_CALLER, "signup_none", first_name="A"),
        core.sign_ups.complete(BACKEND_CALLER, "signup_none", "", INTENT),
        core.sign_ups.reject(BACKEND_CALLER, "signup_none", "", INTENT),
    ):
        await refusal(call, Reason.SIGN_UP_NOT_FOUND)


async def test_sign_ups_are_listed_from_the_oldest_on(core: Core) -> None:
    ids = []
    for _ in range(3):
        ids.append((await begun(core))[0])
        core.clock.turn(1)
    first = await core.sign_ups.list("", 2)
    rest = await core.sign_ups.list(first[-1].record.id, 2)
    assert [each.record.id for each in [*first, *rest]] == ids


async def test_what_was_changed_meanwhile_is_what_the_user_has(core: Core) -> None:
    sign_up_id, holder = await begun(core, email_address=EMAIL, username="ada")
    racing = core.racing(lambda: update(core, holder, sign_up_id, username="eve"))
    rules = SignUpRules(Requirements(("email_address",)), attested=False, idle=SECOND)
    tokens = (SignUpTokens(b"key"), core.app.tokens)
    sign_ups = SignUps(core.store, racing, core.app.use_cases.limits, rules, tokens)
    done = await sign_ups.complete(holder, sign_up_id, "", INTENT)
    assert done.user.username == "eve"
    assert await core.users.get_by(username("eve")) == done.user
    assert not await core.has(username("ada"))


async def test_a_trial_of_a_sign_up_makes_nothing_and_gives_no_token(core: Core) -> None:
    tried = await core.sign_ups.create(NOBODY, {"email_address": EMAIL}, {}, TRIAL)
    assert (tried.token, tried.sign_up.record.id, tried.sign_up.status) == ("", "", SignUpStatus.READY)
    assert await core.sign_ups.list("", 10) == []
    sign_up_id, holder = await begun(core, email_address=EMAIL)
    before = await core.sign_ups.get(holder, sign_up_id)
    assert not (await core.sign_ups.complete(holder, sign_up_id, "", TRIAL)).session_token
    assert (await core.sign_ups.reject(holder, sign_up_id, "", TRIAL)).status is SignUpStatus.REJECTED
    assert await core.sign_ups.get(holder, sign_up_id) == before


async def test_erasing_a_user_empties_the_sign_up_that_it_was_and_ends_those_of_its_identity(core: Core) -> None:
    identity = newcomer("idp|1", EMAIL)
    made = [await core.sign_ups.create(identity, {"first_name": "Ada"}, {}, INTENT) for _ in range(2)]
    first, second = (each.sign_up.record.id for each in made)
    done = await core.sign_ups.complete(holder_of(first), first, "", INTENT)
    await core.users.delete(done.user.id, "", INTENT)
    record = (await core.sign_ups.get(BACKEND_CALLER, first)).record
    assert (record.first_name, record.email_address, record.external_id) == ("", "", "")
    await refusal(core.sign_ups.get(BACKEND_CALLER, second), Reason.SIGN_UP_NOT_FOUND)


async def test_what_is_missing_no_more_moves_the_etag_that_the_holder_is_shown(open_core: OpenCore) -> None:
    async with open_core(sign_up_required=("external_id",)) as core:
        sign_up_id, holder = await begun(core)
        before = (await core.sign_ups.get(holder, sign_up_id)).record
        after = (await update(core, BACKEND_CALLER, sign_up_id, external_id="idp|1")).record
        assert after.visible_etag != before.visible_etag
