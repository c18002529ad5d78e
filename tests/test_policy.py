"""The policy by itself: its tables against those of the API's contract, written out here once more."""

from typing import Final

import pytest

from tests.support import USER
from usermeta_server import policy
from usermeta_server.admission.call import current_call
from usermeta_server.caller import ANONYMOUS, OPERATOR, Audience, Caller, Identity, Principal, PrincipalKind
from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.model import SECOND, Document, Scope, User
from usermeta_server.policy import AllowedWrite, MethodRule, ProfileAudience, View, Viewer, WriteGrant

KEY: Final = Principal(PrincipalKind.SECRET_KEY, "key_1", Scope.ADMIN)
SELF: Final = Principal(
    PrincipalKind.USER, USER.id, issue_time=10 * SECOND, user_id=USER.id, create_version=USER.create_version
)
EARLIER: Final = SELF._replace(create_version=None)
"""With a token of a release that did not say of which version its user was."""
OTHER: Final = Principal(PrincipalKind.USER, "user_2", issue_time=10 * SECOND, user_id="user_2")

BACKEND_CALLER: Final = Caller(Audience.BACKEND, "/any", KEY)
SELF_CALLER: Final = Caller(Audience.FRONTEND, "/any", SELF)
EARLIER_CALLER: Final = Caller(Audience.FRONTEND, "/any", EARLIER)
OTHER_CALLER: Final = Caller(Audience.FRONTEND, "/any", OTHER)
NOBODY: Final = Caller(Audience.FRONTEND, "/any", ANONYMOUS)

IDENTITY: Final = Principal(PrincipalKind.IDENTITY, "idp|ada", user_id=USER.id)
NEWCOMER: Final = Principal(PrincipalKind.IDENTITY, USER.id)
HOLDER: Final = Principal(PrincipalKind.SIGN_UP, "signup_1")
IDENTITY_CALLER, NEWCOMER_CALLER, HOLDER_CALLER = (
    Caller(Audience.FRONTEND, "/any", principal) for principal in (IDENTITY, NEWCOMER, HOLDER)
)

CALLERS: Final = {
    Viewer.BACKEND: [BACKEND_CALLER],
    Viewer.SELF: [SELF_CALLER, EARLIER_CALLER, IDENTITY_CALLER],
    # A principal that acts as no user is none, even where its id is one's.
    Viewer.ANYONE: [
        OTHER_CALLER,
        NOBODY,
        NEWCOMER_CALLER,
        HOLDER_CALLER,
        *(SELF_CALLER._replace(principal=each._replace(id=USER.id)) for each in (KEY, HOLDER)),
    ],
}
STANDING: Final = [(viewer, caller) for viewer, callers in CALLERS.items() for caller in callers]

READABLE: Final = {
    Viewer.BACKEND: {Document.PRIVATE, Document.PUBLIC, Document.UNSAFE},
    Viewer.SELF: {Document.PUBLIC, Document.UNSAFE},
    Viewer.ANYONE: {Document.PUBLIC},
}
NAMES: Final = {"username", "first_name", "last_name", "image_url"}
WRITABLE: Final[dict[Viewer, set[str]]] = {
    Viewer.BACKEND: {
        *(Document.PRIVATE, Document.PUBLIC, Document.UNSAFE),
        *NAMES,
        *("email_address", "email_address_verified", "external_id", "banned"),
    },
    Viewer.SELF: {Document.UNSAFE, *NAMES},
    Viewer.ANYONE: set(),
}


def reason_of(call: object, *args: object) -> Reason:
    """Return why a call is refused."""
    assert callable(call)
    with pytest.raises(UsermetaError) as caught:
        call(*args)
    return caught.value.reason


@pytest.mark.parametrize(("viewer", "caller"), STANDING)
def test_a_callers_relation_follows_from_audience_and_principal(viewer: Viewer, caller: Caller) -> None:
    assert policy.viewer_of(caller, USER.id) is viewer


@pytest.mark.parametrize("document", Document)
@pytest.mark.parametrize(("viewer", "caller"), STANDING)
def test_a_view_holds_a_document_exactly_if_the_table_lets_it_be_read(
    viewer: Viewer, caller: Caller, document: Document
) -> None:
    assert (document in policy.view(caller, USER).fields) is (document in READABLE[viewer])


@pytest.mark.parametrize("name", User._fields)
@pytest.mark.parametrize(("viewer", "caller"), STANDING)
def test_a_grant_is_given_exactly_if_the_table_lets_the_field_or_document_be_written(
    viewer: Viewer, caller: Caller, name: str
) -> None:
    if name in WRITABLE[viewer]:
        grant = policy.grant_write(caller, USER.id, [name])
        assert (grant.record_id, grant.names) == (USER.id, frozenset({name}))
    else:
        assert reason_of(policy.grant_write, caller, USER.id, [name]) is Reason.ACCESS_DENIED


@pytest.mark.parametrize(("viewer", "caller"), STANDING)
def test_who_may_write_nothing_is_granted_nothing_also_when_nothing_is_asked_for(
    viewer: Viewer, caller: Caller
) -> None:
    if WRITABLE[viewer]:
        assert not policy.grant_write(caller, USER.id, []).names
    else:
        assert reason_of(policy.grant_write, caller, USER.id, []) is Reason.ACCESS_DENIED


@pytest.mark.parametrize(("viewer", "caller"), STANDING)
def test_only_a_backend_makes_a_user(viewer: Viewer, caller: Caller) -> None:
    if viewer is Viewer.BACKEND:
        assert not policy.grant_write(caller, "", [Document.UNSAFE]).record_id
    else:
        assert reason_of(policy.grant_write, caller, "", [Document.UNSAFE]) is Reason.ACCESS_DENIED


def test_a_write_holds_what_was_granted_and_nothing_else() -> None:
    grant = policy.grant_write(SELF_CALLER, USER.id, ["first_name", Document.UNSAFE])
    assert AllowedWrite(grant, {"first_name": "Ada"}).values == {"first_name": "Ada"}
    for name in (*User._fields, *Document):
        if name not in grant.names:
            assert reason_of(AllowedWrite, grant, {"first_name": "Ada", name: ""}) is Reason.ACCESS_DENIED


def test_a_write_stays_what_was_allowed_whatever_becomes_of_what_it_was_made_of() -> None:
    values: dict[str, str | bool] = {"first_name": "Ada"}
    write = AllowedWrite(policy.grant_write(SELF_CALLER, USER.id, values), values)
    values["private_metadata"] = '{"a":1}'
    assert write.values_for(USER.id) == {"first_name": "Ada"}


def test_a_write_is_of_the_record_that_it_was_allowed_for() -> None:
    write = AllowedWrite(policy.grant_write(BACKEND_CALLER, USER.id, []), {})
    made = AllowedWrite(policy.grant_write(BACKEND_CALLER, "", []), {})
    assert (write.values_for(USER.id), made.values_for("")) == ({}, {})
    for call, other in ((write, "user_2"), (write, ""), (made, USER.id)):
        assert reason_of(call.values_for, other) is Reason.ACCESS_DENIED


@pytest.mark.parametrize(
    ("values", "withdrawn"),
    [
        ({}, {}),
        ({"first_name": "Ada"}, {}),
        ({"email_address": "ADA@example.com"}, {}),
        ({"email_address": "eve@example.com"}, {"email_address_verified": False}),
        ({"email_address": ""}, {"email_address_verified": False}),
        ({"email_address": "eve@example.com", "email_address_verified": True}, {}),
    ],
)
def test_another_address_is_not_verified_unless_the_write_says_so(
    values: dict[str, str | bool], withdrawn: dict[str, bool]
) -> None:
    write = AllowedWrite(policy.grant_write(BACKEND_CALLER, USER.id, values), values)
    after = policy.withdraw_verification(write, "ada@example.com")
    assert after.values_for(USER.id) == {**values, **withdrawn}


def test_one_document_that_may_not_be_written_refuses_the_whole_grant() -> None:
    documents = [Document.UNSAFE, Document.PRIVATE]
    assert reason_of(policy.grant_write, SELF_CALLER, USER.id, documents) is Reason.ACCESS_DENIED


@pytest.mark.parametrize("caller", [NOBODY, NEWCOMER_CALLER, HOLDER_CALLER])
def test_a_caller_that_is_no_user_is_not_the_user_without_an_id(caller: Caller) -> None:
    assert policy.viewer_of(caller, "") is Viewer.ANYONE
    assert reason_of(policy.grant_write, caller, "", [Document.UNSAFE]) is Reason.ACCESS_DENIED


def test_the_private_documents_are_those_that_no_frontend_reads() -> None:
    assert set(policy.PRIVATE_DOCUMENTS) == set(Document) - READABLE[Viewer.SELF] - READABLE[Viewer.ANYONE]


def test_a_profile_is_what_anyone_sees_also_for_the_user_themself() -> None:
    assert policy.profile(USER).fields.keys() == policy.view(NOBODY, USER).fields.keys()


def test_etag_and_update_time_of_a_frontend_are_the_visible_ones() -> None:
    user = USER._replace(etag="inner", visible_etag="outer", update_time=9, visible_update_time=5)
    seen, known = policy.view(SELF_CALLER, user).fields, policy.view(BACKEND_CALLER, user).fields
    assert (seen["etag"], seen["update_time"]) == ("outer", 5)
    assert (known["etag"], known["update_time"]) == ("inner", 9)


@pytest.mark.parametrize("seal", [None, "policy", True, object()])
def test_nobody_else_makes_a_view_or_a_grant(seal: object) -> None:
    assert reason_of(View, seal, Viewer.BACKEND, {}, USER) is Reason.ACCESS_DENIED
    assert reason_of(WriteGrant, seal, USER.id, frozenset(Document)) is Reason.ACCESS_DENIED


def test_a_call_without_an_audience_may_do_nothing() -> None:
    assert reason_of(current_call) is Reason.ACCESS_DENIED


AUTHORIZED: Final = [
    ({PrincipalKind.SECRET_KEY}, Scope.READ, KEY._replace(scope=Scope.READ), None),
    ({PrincipalKind.SECRET_KEY}, Scope.WRITE, KEY._replace(scope=Scope.READ), Reason.SCOPE_INSUFFICIENT),
    ({PrincipalKind.SECRET_KEY}, Scope.ADMIN, KEY._replace(scope=Scope.WRITE), Reason.SCOPE_INSUFFICIENT),
    ({PrincipalKind.SECRET_KEY}, Scope.READ, KEY._replace(scope=None), Reason.SCOPE_INSUFFICIENT),
    ({PrincipalKind.SECRET_KEY}, Scope.READ, KEY, None),
    ({PrincipalKind.SECRET_KEY}, Scope.READ, SELF, Reason.CREDENTIAL_INVALID),
    ({PrincipalKind.SECRET_KEY}, Scope.READ, ANONYMOUS, Reason.CREDENTIAL_MISSING),
    ({PrincipalKind.SECRET_KEY}, Scope.READ, IDENTITY, Reason.CREDENTIAL_INVALID),
    ({PrincipalKind.SECRET_KEY}, Scope.READ, HOLDER, Reason.CREDENTIAL_INVALID),
    ({PrincipalKind.USER}, None, IDENTITY, Reason.CREDENTIAL_INVALID),
    ({PrincipalKind.USER}, None, HOLDER, Reason.CREDENTIAL_INVALID),
    ({PrincipalKind.USER, PrincipalKind.IDENTITY}, None, IDENTITY, None),
    ({PrincipalKind.USER, PrincipalKind.IDENTITY}, None, NEWCOMER, None),
    ({PrincipalKind.SIGN_UP}, None, HOLDER, None),
    ({PrincipalKind.SIGN_UP}, None, SELF, Reason.CREDENTIAL_INVALID),
    ({PrincipalKind.SIGN_UP}, None, IDENTITY, Reason.CREDENTIAL_INVALID),
    ({PrincipalKind.SIGN_UP}, None, ANONYMOUS, Reason.CREDENTIAL_MISSING),
    ({PrincipalKind.ANONYMOUS, PrincipalKind.IDENTITY}, None, SELF, Reason.CREDENTIAL_INVALID),
    ({PrincipalKind.USER}, None, SELF, None),
    ({PrincipalKind.USER}, None, KEY, Reason.CREDENTIAL_INVALID),
    ({PrincipalKind.USER}, None, ANONYMOUS, Reason.CREDENTIAL_MISSING),
    ({PrincipalKind.USER, PrincipalKind.ANONYMOUS}, None, ANONYMOUS, None),
    (set[PrincipalKind](), None, ANONYMOUS, Reason.ACCESS_DENIED),
    (set[PrincipalKind](), None, SELF, Reason.ACCESS_DENIED),
]


@pytest.mark.parametrize(("kinds", "scope", "principal", "refusal"), AUTHORIZED)
def test_a_rule_admits_its_principals_with_its_scope_and_no_others(
    kinds: set[PrincipalKind], scope: Scope | None, principal: Principal, refusal: Reason | None
) -> None:
    rule = MethodRule(Audience.BACKEND, frozenset(kinds), scope)
    if refusal is None:
        policy.authorize(rule, principal)
    else:
        assert reason_of(policy.authorize, rule, principal) is refusal


@pytest.mark.parametrize(
    ("profiles", "anonymous", "user"),
    [
        (ProfileAudience.ANYONE, True, True),
        (ProfileAudience.SIGNED_IN, False, True),
        (ProfileAudience.OFF, False, False),
    ],
)
@pytest.mark.parametrize("method", ["GetProfile", "BatchGetProfiles"])
def test_the_setting_says_whom_profiles_are_shown_to(
    profiles: ProfileAudience, method: str, *, anonymous: bool, user: bool
) -> None:
    principals = policy.method_rules(profiles)[f"/usermeta.frontend.v1.FrontendService/{method}"].principals
    assert (PrincipalKind.ANONYMOUS in principals) is anonymous
    assert (PrincipalKind.USER in principals) is (PrincipalKind.IDENTITY in principals) is user
    assert not principals & {PrincipalKind.SECRET_KEY, PrincipalKind.SIGN_UP}


ADMITTED: Final = [
    (BACKEND_CALLER, {}, None),
    (BACKEND_CALLER, {"banned": True}, None),
    (SELF_CALLER, {}, None),
    (SELF_CALLER, {"banned": True}, Reason.USER_BANNED),
    # Whose session it is goes by the version at which the user was made, whatever the times say.
    (SELF_CALLER, {"create_time": 11 * SECOND}, None),
    *((SELF_CALLER, {"create_version": version}, Reason.USER_NOT_FOUND) for version in (0, 2)),
    (SELF_CALLER, {"create_version": 2, "banned": True}, Reason.USER_NOT_FOUND),
    (SELF_CALLER._replace(principal=SELF._replace(create_version=0)), {"create_version": 0}, None),
    # A token that does not say so goes by the times.
    (EARLIER_CALLER, {"create_version": 2}, None),
    (EARLIER_CALLER, {"banned": True}, Reason.USER_BANNED),
    (EARLIER_CALLER, {"create_time": 10 * SECOND}, None),
    (EARLIER_CALLER, {"create_time": 10 * SECOND + 1}, Reason.USER_NOT_FOUND),
    (EARLIER_CALLER, {"create_time": 11 * SECOND, "banned": True}, Reason.USER_NOT_FOUND),
    (OTHER_CALLER, {"banned": True}, None),
    (IDENTITY_CALLER, {}, None),
    (IDENTITY_CALLER, {"banned": True}, Reason.USER_BANNED),
    # Whom an identity stands for is looked up at every call: there is no earlier user whose token it could be.
    (IDENTITY_CALLER, {"create_time": 11 * SECOND, "create_version": 2}, None),
]


@pytest.mark.parametrize(("caller", "changes", "refusal"), ADMITTED)
def test_a_session_acts_as_its_user_or_not_at_all(
    caller: Caller, changes: dict[str, int | bool], refusal: Reason | None
) -> None:
    user = USER._replace(**changes)  # type: ignore[arg-type]  # of several types
    if refusal is None:
        assert policy.admit(caller, user) is user
    else:
        assert reason_of(policy.admit, caller, user) is refusal


def test_an_outside_identity_acts_as_a_user_only_while_it_is_that_users() -> None:
    """It may have been given to another since it was looked up."""
    identity = Identity("https://idp.example.com", "ada", "idp|ada", "", email_address_verified=False, expire_time=0)
    caller = IDENTITY_CALLER._replace(principal=IDENTITY._replace(identity=identity))
    user = USER._replace(external_id="idp|ada")
    assert policy.admit(caller, user) is user
    for external_id in ("idp|bob", ""):
        assert reason_of(policy.admit, caller, user._replace(external_id=external_id)) is Reason.USER_NOT_FOUND


@pytest.mark.parametrize("caller", [BACKEND_CALLER, SELF_CALLER, NOBODY])
def test_a_user_that_is_gone_is_not_found_by_anyone(caller: Caller) -> None:
    assert reason_of(policy.admit, caller, None) is Reason.USER_NOT_FOUND


def test_the_operator_may_call_all_that_backends_may_and_nothing_else() -> None:
    for rule in policy.method_rules(ProfileAudience.ANYONE).values():
        if rule.audience is Audience.BACKEND:
            policy.authorize(rule, OPERATOR)
        else:
            assert reason_of(policy.authorize, rule, OPERATOR) is Reason.CREDENTIAL_INVALID


def test_history_names_the_operator_apart_from_every_key() -> None:
    assert Caller(Audience.BACKEND, "/any", OPERATOR).actor == ("operator", "command line")
    assert BACKEND_CALLER.actor == ("backend", "secret_key:key_1")
