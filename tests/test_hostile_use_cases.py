"""Callers that got past the handlers: each use case asks the policy by itself, and what it refuses changes nothing."""

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support import BACKEND_CALLER, settings
from usermeta_server import policy
from usermeta_server.app import App, open_app
from usermeta_server.caller import ANONYMOUS, Audience, Caller, Identity, Principal, PrincipalKind
from usermeta_server.core.history import Restoration
from usermeta_server.core.metadata import MetadataWrite
from usermeta_server.core.revision import revise
from usermeta_server.core.sign_ups import Requirements, SignUpRules
from usermeta_server.core.sign_ups.revision import new_sign_up
from usermeta_server.core.sign_ups.revision import revise as revise_sign_up
from usermeta_server.core.users import new_user
from usermeta_server.core.writes import Intent
from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.ids import Stamp
from usermeta_server.model import Actor, Document, ShownSignUp, SignUp, User
from usermeta_server.policy import AllowedWrite
from usermeta_server.settings import MEMORY
from usermeta_server.store.contract import Draft
from usermeta_server.values import JsonObject

INTENT: Final = Intent(Actor("test", "test"), "test")
MARK: Final[JsonObject] = {"marked": True}
Changes = Mapping[str, str | bool]
Documents = Mapping[Document, JsonObject]


def frontend(kind: PrincipalKind, **about: Any) -> Caller:  # noqa: ANN401  # any field of a principal
    """Return somebody who calls from a frontend."""
    return Caller(Audience.FRONTEND, "test", Principal(kind, **about))


NOBODY: Final = frontend(PrincipalKind.ANONYMOUS)
ADA: Final = Identity("i", "ada", "idp|ada", "", email_address_verified=False, expire_time=1 << 60)
NEWCOMER: Final = frontend(PrincipalKind.IDENTITY, id="idp|ada", identity=ADA)


class Inside:
    """The use cases on a store in memory, which has one user and one open sign-up."""

    def __init__(self, app: App, user: User, sign_up: ShownSignUp) -> None:
        """Put the parts together; the fixture makes them."""
        self.store, self.use_cases = app.store, app.use_cases
        self.user, self.sign_up = user, sign_up
        create_version = user.create_version
        self.own = frontend(PrincipalKind.USER, id=user.id, user_id=user.id, create_version=create_version)
        self.holder = frontend(PrincipalKind.SIGN_UP, id=sign_up.record.id)

    @property
    def strangers(self) -> list[Caller]:
        """Those from frontends who are neither the user nor the holder."""
        other = frontend(PrincipalKind.USER, id="user_2", user_id="user_2")
        return [NOBODY, NEWCOMER, other, frontend(PrincipalKind.SIGN_UP, id="signup_2")]

    def write(self, caller: Caller, granted: Document, edited: Document) -> Coroutine[Any, Any, User]:
        """Return the write of one document with the grant of one."""
        grant = policy.grant_write(caller, self.user.id, [granted])
        write = MetadataWrite(caller, grant, {edited: lambda _: MARK}, {})
        return self.use_cases.metadata.write(write, INTENT)

    def update_sign_up(self, caller: Caller, values: Changes, documents: Documents) -> Coroutine[Any, Any, ShownSignUp]:
        """Return the update of the sign-up."""
        sign_ups = self.use_cases.sign_ups
        return sign_ups.update(caller, self.sign_up.record.id, (values, documents), "", INTENT)


@pytest.fixture
async def inside(tmp_path: Path) -> AsyncIterator[Inside]:
    """Return the use cases on a store in memory."""
    async with open_app(settings(tmp_path, database_url=MEMORY)) as app:
        documents: Documents = {document: {} for document in Document}
        user = await app.use_cases.users.create(BACKEND_CALLER, ({"first_name": "Ada"}, documents), "", INTENT)
        made = await app.use_cases.sign_ups.create(NOBODY, {"email_address": "ada@example.com"}, {}, INTENT)
        yield Inside(app, user, made.sign_up)


async def denied(inside: Inside, call: Coroutine[Any, Any, object]) -> None:
    """Check that a call is denied, and changes nothing."""
    before = await inside.store.newest()
    with pytest.raises(UsermetaError) as caught:
        await call
    assert caught.value.reason is Reason.ACCESS_DENIED
    assert await inside.store.user(inside.user.id) == inside.user
    assert await inside.store.sign_ups("", 10) == [inside.sign_up.record]
    assert await inside.store.newest() == before


FORBIDDEN_TO_SELF: Final = sorted(
    set(User._fields) - {"username", "first_name", "last_name", "image_url", "unsafe_metadata"}
)
FORBIDDEN_TO_HOLDER: Final = sorted(
    set(SignUp._fields) - {"username", "email_address", "first_name", "last_name", "unsafe_metadata"}
)


@pytest.mark.parametrize("name", FORBIDDEN_TO_SELF)
async def test_users_write_no_field_or_document_of_themselves_that_is_not_theirs(inside: Inside, name: str) -> None:
    values: Changes = {"first_name": "Eve", name: "{}"}
    await denied(inside, inside.use_cases.users.update(inside.own, inside.user.id, values, "", INTENT))


async def test_strangers_write_nothing_of_a_user_not_even_nothing(inside: Inside) -> None:
    changes: list[Changes] = [{}, {"first_name": "Eve"}, {"unsafe_metadata": "{}"}]
    for caller in [*inside.strangers, inside.holder]:
        for values in changes:
            await denied(inside, inside.use_cases.users.update(caller, inside.user.id, values, "", INTENT))


async def test_backends_write_nothing_that_is_about_the_record_itself(inside: Inside) -> None:
    for name in ("id", "version", "etag", "visible_etag", "create_time", "create_version", "private_metadata_etag"):
        call = inside.use_cases.users.update(BACKEND_CALLER, inside.user.id, {name: "user_2"}, "", INTENT)
        await denied(inside, call)


async def test_no_frontend_makes_a_user_not_even_under_its_own_id(inside: Inside) -> None:
    await inside.use_cases.users.delete(inside.user.id, "", INTENT)
    for caller in [inside.own, inside.holder, *inside.strangers]:
        for documents in ({}, {Document.UNSAFE: MARK}):
            call = inside.use_cases.users.create(caller, ({"first_name": "Eve"}, documents), inside.user.id, INTENT)
            with pytest.raises(UsermetaError) as caught:
                await call
            assert caught.value.reason is Reason.ACCESS_DENIED
    assert await inside.store.user(inside.user.id) is None


@pytest.mark.parametrize("edited", [Document.PRIVATE, Document.PUBLIC])
async def test_a_grant_of_one_document_writes_no_other(inside: Inside, edited: Document) -> None:
    await denied(inside, inside.write(inside.own, Document.UNSAFE, edited))
    await denied(inside, inside.write(BACKEND_CALLER, Document.UNSAFE, edited))


async def test_an_item_of_a_batch_writes_no_document_that_was_not_granted(inside: Inside) -> None:
    grant = policy.grant_write(inside.own, inside.user.id, [Document.UNSAFE])
    write = MetadataWrite(inside.own, grant, {Document.PRIVATE: lambda _: MARK}, {})
    (result,) = await inside.use_cases.metadata.write_batch([write], INTENT, atomic=False)
    assert isinstance(result, UsermetaError)
    assert result.reason is Reason.ACCESS_DENIED
    await denied(inside, inside.use_cases.metadata.write_batch([write], INTENT, atomic=True))


async def test_users_restore_no_document_that_they_do_not_write(inside: Inside) -> None:
    for caller in [inside.own, *inside.strangers]:
        restoration = Restoration(inside.user.id, inside.user.version, [Document.PRIVATE], {})
        await denied(inside, inside.use_cases.history.restore(caller, restoration, INTENT))


@pytest.mark.parametrize("name", FORBIDDEN_TO_HOLDER)
async def test_holders_write_no_field_or_document_of_a_sign_up_that_is_not_theirs(inside: Inside, name: str) -> None:
    await denied(inside, inside.update_sign_up(inside.holder, {"first_name": "Eve", name: "idp|eve"}, {}))


@pytest.mark.parametrize("document", [Document.PRIVATE, Document.PUBLIC])
async def test_holders_write_only_the_unsafe_document_of_a_sign_up(inside: Inside, document: Document) -> None:
    await denied(inside, inside.update_sign_up(inside.holder, {}, {document: MARK}))


async def test_who_begins_a_sign_up_gives_nothing_that_its_holder_could_not(inside: Inside) -> None:
    create = inside.use_cases.sign_ups.create
    for caller in (NOBODY, NEWCOMER):
        for name in FORBIDDEN_TO_HOLDER:
            await denied(inside, create(caller, {name: "idp|eve"}, {}, INTENT))
        for document in (Document.PRIVATE, Document.PUBLIC):
            await denied(inside, create(caller, {}, {document: MARK}, INTENT))


async def test_who_has_a_credential_of_another_kind_begins_no_sign_up(inside: Inside) -> None:
    for caller in (BACKEND_CALLER, inside.own, inside.holder):
        await denied(inside, inside.use_cases.sign_ups.create(caller, {}, {}, INTENT))


async def test_who_does_not_hold_a_sign_up_neither_reads_nor_writes_nor_ends_it(inside: Inside) -> None:
    sign_ups, sign_up_id = inside.use_cases.sign_ups, inside.sign_up.record.id
    for caller in [*inside.strangers, inside.own]:
        await denied(inside, sign_ups.get(caller, sign_up_id))
        await denied(inside, inside.update_sign_up(caller, {}, {}))
        await denied(inside, inside.update_sign_up(caller, {"first_name": "Eve"}, {Document.UNSAFE: MARK}))
        await denied(inside, sign_ups.complete(caller, sign_up_id, "", INTENT))
        await denied(inside, sign_ups.reject(caller, sign_up_id, "", INTENT))


async def test_who_does_not_hold_a_completed_sign_up_is_not_given_its_user(inside: Inside) -> None:
    sign_ups, sign_up_id = inside.use_cases.sign_ups, inside.sign_up.record.id
    done = await sign_ups.complete(inside.holder, sign_up_id, "", INTENT)
    assert done.session_token
    for caller in [*inside.strangers, inside.own]:
        with pytest.raises(UsermetaError) as caught:
            await sign_ups.complete(caller, sign_up_id, "", INTENT)
        assert caught.value.reason is Reason.ACCESS_DENIED


async def test_the_holder_of_another_sign_up_is_denied_before_it_is_told_whether_there_is_this_one(
    inside: Inside,
) -> None:
    await denied(inside, inside.use_cases.sign_ups.get(inside.holder, "signup_that_is_none"))


async def test_who_begins_a_sign_up_is_shown_it_as_its_holder_is(inside: Inside) -> None:
    intent = INTENT._replace(request_id="1", canonical=b"1")
    for caller in (Caller(Audience.FRONTEND, "test", ANONYMOUS), NEWCOMER):
        made = await inside.use_cases.sign_ups.create(caller, {}, {Document.UNSAFE: MARK}, INTENT)
        holder = frontend(PrincipalKind.SIGN_UP, id=made.sign_up.record.id)
        assert made.view.fields == policy.sign_up_view(holder, made.sign_up).fields
    made = await inside.use_cases.sign_ups.create(NEWCOMER, {}, {}, intent)
    again = await inside.use_cases.sign_ups.create(NEWCOMER, {}, {}, intent)
    assert again.view.fields == made.view.fields
    assert not again.token


def test_a_write_that_was_allowed_for_one_record_changes_or_makes_no_other(inside: Inside) -> None:
    user, sign_up = inside.user, inside.sign_up.record
    own = AllowedWrite(policy.grant_write(inside.own, user.id, ["first_name"]), {"first_name": "Eve"})
    held = AllowedWrite(policy.grant_sign_up_write(inside.holder, sign_up.id, ["first_name"]), {"first_name": "Eve"})
    made = AllowedWrite(policy.grant_write(BACKEND_CALLER, "", []), {})
    begun = AllowedWrite(policy.grant_sign_up(NOBODY, []), {})
    draft, stamp = Draft(1, 1, 1), Stamp(1, real=True, actor=Actor("test", "test"), request_id="")
    rules = SignUpRules(Requirements(()), attested=False, idle=1)
    calls: list[Callable[[], object]] = [
        partial(revise, draft, stamp, user._replace(id="user_2"), own),
        partial(revise, draft, stamp, user, made),
        partial(new_user, draft, stamp, own),
        partial(new_user, draft, stamp, own, user.id),
        partial(revise_sign_up, draft, stamp, sign_up._replace(id="signup_2"), held, rules),
        partial(revise_sign_up, draft, stamp, sign_up, begun, rules),
        partial(new_sign_up, draft, stamp, held, 1),
    ]
    for call in calls:
        with pytest.raises(UsermetaError) as caught:
            call()
        assert caught.value.reason is Reason.ACCESS_DENIED
    assert not draft.users.staged
    assert not draft.sign_ups.staged
    assert draft.version == 1
