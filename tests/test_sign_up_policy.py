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
from usermeta_server.caller import Caller
from usermeta_server.errors import Reason
from usermeta_server.model import Document, ShownSignUp, SignUp, SignUpState, SignUpStatus
from usermeta_server.policy import Viewer

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


def test_who_has_just_made_a_sign_up_sees_what_its_holder_does() -> None:
    expected = policy.sign_up_view(HOLDER_CALLER, SHOWN).fields
    assert policy.sign_up_view(NOBODY, SHOWN).fields == policy.sign_up_view(NEWCOMER_CALLER, SHOWN).fields == expected


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
