"""Who may call what: every method with every kind of credential, against the API's contract."""

import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final, cast

import grpc
import pytest

from tests.rpc.methods import METHODS, Subject, call, sample
from tests.support import BACKEND, FRONTEND, Service, bearer, refused, serving, settings
from usermeta_server import policy
from usermeta_server.auth.secret_keys import new_secret
from usermeta_server.model import HOUR, Scope, SecretKey

Metadata = tuple[tuple[str, str], ...]
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
    f"{FRONTEND}GetUser": "user",
    f"{FRONTEND}UpdateUser": "user",
    f"{FRONTEND}MergeUserMetadata": "user",
    f"{FRONTEND}ReplaceUserMetadata": "user",
    f"{FRONTEND}PatchUserMetadata": "user",
    f"{FRONTEND}GetProfile": "anyone",
    f"{FRONTEND}BatchGetProfiles": "anyone",
}
"""What each method asks of its caller: a scope of a secret key, a user's session, or nothing."""


def test_every_method_has_an_expectation() -> None:
    assert KINDS.keys() == METHODS.keys()


async def nothing(_: Service, __: Subject) -> Metadata:
    return ()


async def garbage(_: Service, __: Subject) -> Metadata:
    return bearer("garbage")


async def an_empty_token(_: Service, __: Subject) -> Metadata:
    return (("authorization", "Bearer"),)


async def another_scheme(service: Service, subject: Subject) -> Metadata:
    return (("authorization", f"Basic {subject.session}:{service.admin_key}"),)


async def no_scheme(service: Service, _: Subject) -> Metadata:
    return (("authorization", service.admin_key),)


async def too_long_a_token(_: Service, __: Subject) -> Metadata:
    return bearer("x" * 8193)


async def two_credentials(service: Service, subject: Subject) -> Metadata:
    return (*bearer(service.admin_key), *bearer(subject.session))


async def an_expired_key(service: Service, _: Subject) -> Metadata:
    key_id, secret, digest = new_secret()
    service.server.app.ring.put(SecretKey(key_id, "expired", (Scope.ADMIN,), digest, 1, 2, 0))
    return bearer(secret)


async def a_revoked_key(service: Service, _: Subject) -> Metadata:
    key_id, secret, digest = new_secret()
    service.server.app.ring.put(SecretKey(key_id, "revoked", (Scope.ADMIN,), digest, 1, 0, 2))
    return bearer(secret)


async def a_key_with_another_secret(service: Service, _: Subject) -> Metadata:
    return bearer(service.admin_key[:-43] + (await service.key(Scope.ADMIN))[-43:])


async def an_expired_session(service: Service, subject: Subject) -> Metadata:
    token, _ = service.server.app.tokens.issue(subject.user_id, time.time_ns() // 1000 - 2 * HOUR, HOUR)
    return bearer(token)


async def a_session(_: Service, subject: Subject) -> Metadata:
    return bearer(subject.session)


async def a_lower_case_scheme(_: Service, subject: Subject) -> Metadata:
    return (("authorization", f"bearer {subject.session}"),)


async def a_read_key(service: Service, _: Subject) -> Metadata:
    return bearer(await service.key(Scope.READ))


async def a_write_key(service: Service, _: Subject) -> Metadata:
    return bearer(await service.key(Scope.WRITE))


async def an_admin_key(service: Service, _: Subject) -> Metadata:
    return bearer(service.admin_key)


MISSING: Final = "CREDENTIAL_MISSING"
INVALID: Final = "CREDENTIAL_INVALID"
EXPIRED: Final = "CREDENTIAL_EXPIRED"
SCOPE: Final = "SCOPE_INSUFFICIENT"
COLUMNS: Final = ("read", "write", "admin", "user", "anyone")
Credential = Callable[[Service, Subject], Awaitable[Metadata]]
EXPECTED: Final[Mapping[Credential, tuple[str, str, str, str, str]]] = {
    # a method that needs:     read     write    admin    a user   nothing
    nothing:                   (MISSING, MISSING, MISSING, MISSING, OK),
    garbage:                   (INVALID, INVALID, INVALID, INVALID, INVALID),
    an_empty_token:            (INVALID, INVALID, INVALID, INVALID, INVALID),
    another_scheme:            (INVALID, INVALID, INVALID, INVALID, INVALID),
    no_scheme:                 (INVALID, INVALID, INVALID, INVALID, INVALID),
    too_long_a_token:          (INVALID, INVALID, INVALID, INVALID, INVALID),
    two_credentials:           (INVALID, INVALID, INVALID, INVALID, INVALID),
    a_key_with_another_secret: (INVALID, INVALID, INVALID, INVALID, INVALID),
    a_revoked_key:             (INVALID, INVALID, INVALID, INVALID, INVALID),
    an_expired_key:            (EXPIRED, EXPIRED, EXPIRED, INVALID, INVALID),
    an_expired_session:        (INVALID, INVALID, INVALID, EXPIRED, EXPIRED),
    a_session:                 (INVALID, INVALID, INVALID, OK,      OK),
    a_lower_case_scheme:       (INVALID, INVALID, INVALID, OK,      OK),
    a_read_key:                (OK,      SCOPE,   SCOPE,   INVALID, INVALID),
    a_write_key:               (OK,      OK,      SCOPE,   INVALID, INVALID),
    an_admin_key:              (OK,      OK,      OK,      INVALID, INVALID),
}  # fmt: skip


@pytest.mark.parametrize("credential", EXPECTED, ids=lambda credential: credential.__name__)
@pytest.mark.parametrize("path", METHODS)
async def test_a_method_takes_the_credentials_of_the_contract(
    service: Service, subject: Subject, path: str, credential: Credential
) -> None:
    expected = EXPECTED[credential][COLUMNS.index(KINDS[path])]
    metadata = await credential(service, subject)
    request = sample(path, subject)
    if expected == OK:
        await call(service, path, request, metadata)
        return
    refusal = await refused(call(service, path, request, metadata), expected)
    denied = expected == SCOPE
    assert refusal.code is (grpc.StatusCode.PERMISSION_DENIED if denied else grpc.StatusCode.UNAUTHENTICATED)
    assert refusal.metadata == ({"required_scope": KINDS[path]} if denied else {})


@pytest.mark.parametrize("path", METHODS)
async def test_permission_is_checked_before_a_byte_of_the_body(service: Service, subject: Subject, path: str) -> None:
    """Who may not call learns nothing about the request, not even that it is malformed."""
    foreign = subject.session if METHODS[path].for_backends else service.admin_key
    await refused(service.raw(path, b"\xff\xff", bearer(foreign)), INVALID)


WITHOUT_SCOPE: Final = [path for path, kind in KINDS.items() if kind in {"write", "admin"}]


@pytest.mark.parametrize("path", WITHOUT_SCOPE)
async def test_permission_is_checked_before_existence(service: Service, path: str) -> None:
    """A key without the scope gets the same answer for what is there and what is not."""
    nobody = Subject("user_nobody", "", "key_nobody")
    metadata = bearer(await service.key(Scope.READ))
    await refused(call(service, path, sample(path, nobody), metadata), SCOPE)


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
    monkeypatch.delitem(cast("dict[str, Scope]", policy._BACKEND_METHODS), "GetUser")
    async with serving(settings(tmp_path)) as service:
        await refused(service.raw(f"{BACKEND}GetUser", b"", bearer(service.admin_key)), "ACCESS_DENIED")
        await refused(service.raw(f"{BACKEND}GetUser", b""), "ACCESS_DENIED")
