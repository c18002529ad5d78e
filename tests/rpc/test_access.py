"""Who may call what: every method with every kind of credential, against the API's contract."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, cast

import grpc
import pytest

from tests.rpc import credentials
from tests.rpc.credentials import Credential
from tests.rpc.methods import METHODS, NOBODY, Subject, call, raw, sample
from tests.support import BACKEND, FRONTEND, Service, bearer, refused, serving, settings
from usermeta_server import policy
from usermeta_server.model import Scope

OK: Final = "OK"

KINDS: Final[Mapping[str, str]] = {
    f"{BACKEND}CreateUser": "write",
    f"{BACKEND}GetUser": "read",
    f"{BACKEND}BatchGetUsers": "read",
    f"{BACKEND}UpdateUser": "write",
    f"{BACKEND}DeleteUser": "write",
    f"{BACKEND}MergeUserMetadata": "write",
    f"{BACKEND}ReplaceUserMetadata": "write",
    f"{BACKEND}PatchUserMetadata": "write",
    f"{BACKEND}BatchMergeUserMetadata": "write",
    f"{BACKEND}CreateSessionToken": "write",
    f"{BACKEND}CreateSecretKey": "admin",
    f"{BACKEND}ListSecretKeys": "admin",
    f"{BACKEND}RevokeSecretKey": "admin",
    f"{BACKEND}ListUsers": "read",
    f"{BACKEND}CountUsers": "read",
    f"{BACKEND}CreateMetadataIndex": "admin",
    f"{BACKEND}ListMetadataIndexes": "admin",
    f"{BACKEND}DeleteMetadataIndex": "admin",
    f"{BACKEND}ListUserChanges": "read",
    f"{BACKEND}RestoreUserMetadata": "write",
    f"{BACKEND}WatchUsers": "read",
    f"{BACKEND}GetSignUp": "read",
    f"{BACKEND}ListSignUps": "read",
    f"{BACKEND}UpdateSignUp": "write",
    f"{BACKEND}CompleteSignUp": "write",
    f"{BACKEND}RejectSignUp": "write",
    f"{FRONTEND}CreateSignUp": "newcomer",
    f"{FRONTEND}GetSignUp": "holder",
    f"{FRONTEND}UpdateSignUp": "holder",
    f"{FRONTEND}CompleteSignUp": "holder",
    f"{FRONTEND}GetUser": "user",
    f"{FRONTEND}WatchUser": "user",
    f"{FRONTEND}UpdateUser": "user",
    f"{FRONTEND}MergeUserMetadata": "user",
    f"{FRONTEND}ReplaceUserMetadata": "user",
    f"{FRONTEND}PatchUserMetadata": "user",
    f"{FRONTEND}GetProfile": "anyone",
    f"{FRONTEND}BatchGetProfiles": "anyone",
}
"""What each method asks of its caller: a scope of a secret key, a user's session, a sign-up token, or nothing; a
newcomer has no credential, or one of an outside issuer."""


def test_every_method_has_an_expectation() -> None:
    assert KINDS.keys() == METHODS.keys()


MISSING: Final = "CREDENTIAL_MISSING"
INVALID: Final = "CREDENTIAL_INVALID"
EXPIRED: Final = "CREDENTIAL_EXPIRED"
SCOPE: Final = "SCOPE_INSUFFICIENT"
NO_USER: Final = "USER_NOT_FOUND"
TAKEN: Final = "IDENTIFIER_TAKEN"
COLUMNS: Final = ("read", "write", "admin", "user", "anyone", "holder", "newcomer")
EXPECTED: Final[Mapping[Credential, tuple[str, str, str, str, str, str, str]]] = {
    # a method that needs:                          read     write    admin    a user   nothing  a holder a newcomer
    credentials.nothing:                           (MISSING, MISSING, MISSING, MISSING, OK,      MISSING, OK),
    credentials.garbage:                           (INVALID, INVALID, INVALID, INVALID, INVALID, INVALID, INVALID),
    credentials.an_empty_token:                    (INVALID, INVALID, INVALID, INVALID, INVALID, INVALID, INVALID),
    credentials.another_scheme:                    (INVALID, INVALID, INVALID, INVALID, INVALID, INVALID, INVALID),
    credentials.no_scheme:                         (INVALID, INVALID, INVALID, INVALID, INVALID, INVALID, INVALID),
    credentials.too_long_a_token:                  (INVALID, INVALID, INVALID, INVALID, INVALID, INVALID, INVALID),
    credentials.two_credentials:                   (INVALID, INVALID, INVALID, INVALID, INVALID, INVALID, INVALID),
    credentials.a_key_with_another_secret:         (INVALID, INVALID, INVALID, INVALID, INVALID, INVALID, INVALID),
    credentials.a_revoked_key:                     (INVALID, INVALID, INVALID, INVALID, INVALID, INVALID, INVALID),
    credentials.an_expired_key:                    (EXPIRED, EXPIRED, EXPIRED, INVALID, INVALID, INVALID, INVALID),
    credentials.a_read_key:                        (OK,      SCOPE,   SCOPE,   INVALID, INVALID, INVALID, INVALID),
    credentials.a_write_key:                       (OK,      OK,      SCOPE,   INVALID, INVALID, INVALID, INVALID),
    credentials.an_admin_key:                      (OK,      OK,      OK,      INVALID, INVALID, INVALID, INVALID),
    credentials.an_expired_session:                (INVALID, INVALID, INVALID, EXPIRED, EXPIRED, EXPIRED, EXPIRED),
    credentials.a_session:                         (INVALID, INVALID, INVALID, OK,      OK,      INVALID, INVALID),
    credentials.a_lower_case_scheme:               (INVALID, INVALID, INVALID, OK,      OK,      INVALID, INVALID),
    credentials.an_outside_token_of_the_user:      (INVALID, INVALID, INVALID, OK,      OK,      INVALID, TAKEN),
    credentials.an_outside_token_of_no_user:       (INVALID, INVALID, INVALID, NO_USER, NO_USER, INVALID, OK),
    credentials.an_expired_outside_token:          (INVALID, INVALID, INVALID, EXPIRED, EXPIRED, EXPIRED, EXPIRED),
    credentials.a_token_of_an_untrusted_issuer:    (INVALID, INVALID, INVALID, INVALID, INVALID, INVALID, INVALID),
    credentials.a_sign_up_token:                   (INVALID, INVALID, INVALID, INVALID, INVALID, OK,      INVALID),
    credentials.a_tampered_sign_up_token:          (INVALID, INVALID, INVALID, INVALID, INVALID, INVALID, INVALID),
    credentials.a_sign_up_token_of_another_server: (INVALID, INVALID, INVALID, INVALID, INVALID, INVALID, INVALID),
    credentials.an_expired_sign_up_token:          (INVALID, INVALID, INVALID, INVALID, INVALID, EXPIRED, INVALID),
}  # fmt: skip
STATUSES: Final = {
    SCOPE: grpc.StatusCode.PERMISSION_DENIED,
    NO_USER: grpc.StatusCode.NOT_FOUND,
    TAKEN: grpc.StatusCode.ALREADY_EXISTS,
}
"""With which status a reason comes, if not UNAUTHENTICATED."""


@pytest.mark.parametrize("credential", EXPECTED, ids=lambda credential: credential.__name__)
@pytest.mark.parametrize("path", METHODS)
async def test_a_method_takes_the_credentials_of_the_contract(
    service: Service, subject: Subject, path: str, credential: Credential
) -> None:
    kind = KINDS[path]
    expected = EXPECTED[credential][COLUMNS.index(kind)]
    metadata = await credential(service, subject)
    request = sample(path, subject)
    if expected == OK:
        await call(service, path, request, metadata)
        return
    refusal = await refused(call(service, path, request, metadata), expected)
    assert refusal.code is STATUSES.get(expected, grpc.StatusCode.UNAUTHENTICATED)
    assert refusal.metadata == {SCOPE: {"required_scope": kind}, TAKEN: {"field": "external_id"}}.get(expected, {})


@pytest.mark.parametrize("path", METHODS)
async def test_permission_is_checked_before_a_byte_of_the_body(service: Service, subject: Subject, path: str) -> None:
    """Who may not call learns nothing about the request, not even that it is malformed."""
    foreign = subject.session if METHODS[path].for_backends else service.admin_key
    await refused(raw(service, path, b"\xff\xff", bearer(foreign)), INVALID)


WITHOUT_SCOPE: Final = [path for path, kind in KINDS.items() if kind in {"write", "admin"}]


@pytest.mark.parametrize("path", WITHOUT_SCOPE)
async def test_permission_is_checked_before_existence(service: Service, path: str) -> None:
    """A key without the scope gets the same answer for what is there and what is not."""
    metadata = bearer(await service.key(Scope.READ))
    await refused(call(service, path, sample(path, NOBODY), metadata), SCOPE)


UNKNOWN: Final = (
    f"{BACKEND}DropEverything",
    f"{FRONTEND}CreateUser",
    "/usermeta.backend.v1.Nothing/GetUser",
    "/usermeta.backend.v2.BackendService/GetUser",
    f"{FRONTEND}getuser",
    "/",
)


@pytest.mark.parametrize("with_key", [False, True])
@pytest.mark.parametrize("path", UNKNOWN)
async def test_an_unknown_method_is_unimplemented(service: Service, path: str, *, with_key: bool) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await service.raw(path, b"", bearer(service.admin_key) if with_key else ())
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_method_that_the_policy_does_not_list_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handler alone opens nothing: without a rule it is denied to everybody."""
    monkeypatch.delitem(cast("dict[str, Scope]", policy.methods._BACKEND_METHODS), "GetUser")
    async with serving(settings(tmp_path)) as service:
        await refused(service.raw(f"{BACKEND}GetUser", b"", bearer(service.admin_key)), "ACCESS_DENIED")
        await refused(service.raw(f"{BACKEND}GetUser", b""), "ACCESS_DENIED")
