"""The policy of sign-ups by itself: who holds one, and what they may see and write of it."""

from typing import Final

import pytest

from tests.support import USER
from tests.test_policy import (
    BACKEND_CALLER,
    HOLDER,
    HOLDER_CALLER,
    NEWCOMER,
    NEWCOMER_CALLER,
    NOBODY,
    SELF,
    SELF_CALLER,
    reason_of,
)
from usermeta_server import policy
from usermeta_server.caller import Audience, Caller, Identity
from usermeta_server.errors import Reason
from usermeta_server.model import Document, ShownSignUp, SignUp, SignUpState, SignUpStatus, User
from usermeta_server.policy import AllowedWrite, Viewer

SIGN_UP: Final = SignUp(
    id="signup_1",
    version=1,
    state=SignUpState.COMPLETE,
    username="",
    email_address="ada@example.com",
    email_address_verified=False,
    first_name="",
    last_name="",
    external_id="idp|ada",
    public_metadata="{}",
    private_metadata="{}",
    unsafe_metadata="{}",
    etag="inner",
    visible_etag="outer",
    created_user_id=USER.id,
    abandon_time=3,
    create_time=1,
    update_time=9,
    visible_update_time=5,
    close_time=9,
    sweep_time=99,
)
SHOWN: Final = ShownSignUp(SIGN_UP, SignUpStatus.COMPLETE, ("email_address",), ())
SIGN_UP_READABLE: Final = {
    Viewer.BACKEND: {Document.PRIVATE, Document.PUBLIC, Document.UNSAFE},
    Viewer.SELF: {Document.UNSAFE},
    Viewer.ANYONE: set[Document](),
}
"""A sign-up's documents: what a viewer reads it writes, too."""
HOLDER_WRITES: Final = {"username", "email_address", "first_name", "last_name", Document.UNSAFE}
SIGN_UP_WRITABLE: Final[dict[Viewer, set[str]]] = {
    Viewer.BACKEND: {
        *HOLDER_WRITES,
        *("external_id", "email_address_verified", Document.PUBLIC, Document.PRIVATE),
    },
    Viewer.SELF: {*HOLDER_WRITES},
    Viewer.ANYONE: set(),
}
SIGN_UP_STANDING: Final = [
    (BACKEND_CALLER, Viewer.BACKEND),
    (HOLDER_CALLER, Viewer.SELF),
    (HOLDER_CALLER._replace(principal=HOLDER._replace(id="signup_2")), Viewer.ANYONE),
    (SELF_CALLER._replace(principal=SELF._replace(id="signup_1", user_id="signup_1")), Viewer.ANYONE),
    (NEWCOMER_CALLER._replace(principal=NEWCOMER._replace(id="signup_1")), Viewer.ANYONE),
    (NOBODY, Viewer.ANYONE),
]


@pytest.mark.parametrize(("caller", "viewer"), SIGN_UP_STANDING)
def test_only_its_token_makes_a_caller_the_holder_of_a_sign_up(caller: Caller, viewer: Viewer) -> None:
    assert policy.sign_up_viewer_of(caller, SIGN_UP.id) is viewer


@pytest.mark.parametrize("document", Document)
@pytest.mark.parametrize("viewer", Viewer)
def test_a_viewer_reads_and_writes_those_documents_of_a_sign_up_that_the_table_lets_them(
    viewer: Viewer, document: Document
) -> None:
    assert (document in policy.SIGN_UP_VISIBLE[viewer]) is (document in SIGN_UP_READABLE[viewer])
    assert (document in policy.sign_up_documents(viewer)) is (document in SIGN_UP_READABLE[viewer])


def test_what_a_holder_is_shown_of_etag_and_update_time_are_the_visible_ones() -> None:
    seen, known = policy.sign_up_view(HOLDER_CALLER, SHOWN).fields, policy.sign_up_view(BACKEND_CALLER, SHOWN).fields
    assert (seen["etag"], seen["update_time"]) == ("outer", 5)
    assert (known["etag"], known["update_time"]) == ("inner", 9)


@pytest.mark.parametrize(("caller", "viewer"), SIGN_UP_STANDING)
def test_a_sign_up_is_shown_to_backends_and_to_its_holder_alone(caller: Caller, viewer: Viewer) -> None:
    if viewer is Viewer.ANYONE:
        assert reason_of(policy.sign_up_view, caller, SHOWN) is Reason.ACCESS_DENIED
        assert reason_of(policy.admit_to_sign_up, caller, SIGN_UP.id) is Reason.ACCESS_DENIED
    else:
        assert policy.sign_up_view(caller, SHOWN).fields.keys() == policy.SIGN_UP_VISIBLE[viewer]
        assert policy.admit_to_sign_up(caller, SIGN_UP.id) is viewer


def test_a_token_without_an_id_holds_no_sign_up() -> None:
    assert policy.sign_up_viewer_of(HOLDER_CALLER._replace(principal=HOLDER._replace(id="")), "") is Viewer.ANYONE


@pytest.mark.parametrize("caller", [NOBODY, NEWCOMER_CALLER])
def test_who_has_just_begun_a_sign_up_sees_what_its_holder_does(caller: Caller) -> None:
    begun = policy.created_sign_up_view(policy.grant_sign_up(caller, []), SHOWN)
    assert begun.fields == policy.sign_up_view(HOLDER_CALLER, SHOWN).fields


@pytest.mark.parametrize("caller", [HOLDER_CALLER, BACKEND_CALLER])
def test_a_grant_to_change_a_sign_up_shows_nothing_of_one(caller: Caller) -> None:
    grant = policy.grant_sign_up_write(caller, SIGN_UP.id, [])
    assert reason_of(policy.created_sign_up_view, grant, SHOWN) is Reason.ACCESS_DENIED


@pytest.mark.parametrize("name", SignUp._fields)
@pytest.mark.parametrize(("caller", "viewer"), SIGN_UP_STANDING)
def test_a_grant_is_given_exactly_if_the_table_lets_the_part_of_a_sign_up_be_written(
    caller: Caller, viewer: Viewer, name: str
) -> None:
    if name in SIGN_UP_WRITABLE[viewer]:
        grant = policy.grant_sign_up_write(caller, SIGN_UP.id, [name])
        assert (grant.record_id, grant.names) == (SIGN_UP.id, frozenset({name}))
    else:
        assert reason_of(policy.grant_sign_up_write, caller, SIGN_UP.id, [name]) is Reason.ACCESS_DENIED


@pytest.mark.parametrize("caller", [NOBODY, NEWCOMER_CALLER])
def test_who_begins_a_sign_up_gives_what_its_holder_may_write(caller: Caller) -> None:
    for name in SignUp._fields:
        if name in SIGN_UP_WRITABLE[Viewer.SELF]:
            assert policy.grant_sign_up(caller, [name]).names == {name}
        else:
            assert reason_of(policy.grant_sign_up, caller, [name]) is Reason.ACCESS_DENIED


@pytest.mark.parametrize(
    "caller", [BACKEND_CALLER, SELF_CALLER, HOLDER_CALLER, NOBODY._replace(audience=Audience.BACKEND)]
)
def test_nobody_else_begins_a_sign_up(caller: Caller) -> None:
    assert reason_of(policy.grant_sign_up, caller, []) is Reason.ACCESS_DENIED


ADA: Final = Identity("i", "ada", "idp|ada", "ada@example.com", email_address_verified=True, expire_time=0)
ANONYMOUS_IDENTITY: Final = ADA._replace(email_address="", email_address_verified=False)


@pytest.mark.parametrize(
    ("identity", "values", "address", "verified"),
    [
        (ADA, {}, "ada@example.com", True),
        (ADA, {"email_address": "Ada@Example.com"}, "Ada@Example.com", True),
        (ADA, {"email_address": "eve@example.com"}, "eve@example.com", False),
        (ADA._replace(email_address_verified=False), {}, "ada@example.com", False),
        (ANONYMOUS_IDENTITY, {"email_address": "eve@example.com"}, "eve@example.com", False),
        (ANONYMOUS_IDENTITY._replace(email_address_verified=True), {}, "", False),
    ],
)
def test_an_issuer_vouches_for_who_a_person_is_and_for_the_address_that_it_says(
    identity: Identity, values: dict[str, str | bool], address: str, *, verified: bool
) -> None:
    write = AllowedWrite(policy.grant_sign_up(NEWCOMER_CALLER, values), values)
    vouched = {"external_id": "idp|ada", "email_address": address, "email_address_verified": verified}
    assert policy.vouched_for(write, identity).values_for("") == vouched


def test_an_issuer_vouches_only_when_a_sign_up_begins() -> None:
    write = AllowedWrite(policy.grant_sign_up_write(HOLDER_CALLER, SIGN_UP.id, []), {})
    assert reason_of(policy.vouched_for, write, ADA) is Reason.ACCESS_DENIED


@pytest.mark.parametrize(("caller", "viewer"), SIGN_UP_STANDING)
def test_backends_and_its_holder_make_a_user_of_a_sign_up_which_has_all_that_both_have(
    caller: Caller, viewer: Viewer
) -> None:
    if viewer is Viewer.ANYONE:
        assert reason_of(policy.completion_of, caller, SIGN_UP) is Reason.ACCESS_DENIED
    else:
        about_the_record = {
            "id",
            "version",
            "etag",
            "visible_etag",
            "create_time",
            "update_time",
            "visible_update_time",
        }
        copied = policy.completion_of(caller, SIGN_UP).values_for("")
        assert copied.keys() == set(SignUp._fields).intersection(User._fields) - about_the_record
        assert copied == {name: getattr(SIGN_UP, name) for name in copied}


def test_the_holder_of_a_sign_up_sees_the_user_that_it_became_as_that_user_does() -> None:
    made = policy.created_user_view(HOLDER_CALLER, SIGN_UP, USER)
    assert made.viewer is Viewer.SELF
    assert made.fields == policy.view(SELF_CALLER, USER).fields


@pytest.mark.parametrize(
    ("caller", "user_id"), [(caller, USER.id) for caller, _ in SIGN_UP_STANDING[2:]] + [(HOLDER_CALLER, "user_2")]
)
def test_nobody_else_does_nor_sees_the_holder_another_user(caller: Caller, user_id: str) -> None:
    user = USER._replace(id=user_id)
    assert reason_of(policy.created_user_view, caller, SIGN_UP, user) is Reason.ACCESS_DENIED
