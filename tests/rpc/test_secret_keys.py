"""Secret keys: scopes, expiry, revocation, pages, and that no key grants more than it has."""

import asyncio
import base64
import re
import time
from pathlib import Path
from typing import Final

import grpc
import pytest

from tests.rpc.methods import Subject
from tests.support import Clock, Service, read_error, refused, request_id, serving, settings
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1.secret_key_pb2 import SCOPE_ADMIN, SCOPE_READ, SCOPE_UNSPECIFIED, SCOPE_WRITE, Scope, SecretKey
from usermeta_server.core.writes import Intent
from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.model import Actor
from usermeta_server.model import Scope as ModelScope
from usermeta_server.model import SecretKey as ModelKey

NOBODY: Final = pb.GetUserRequest(user_id="user_nobody")


def creation(*scopes: Scope.ValueType, expires_in: float = 0) -> pb.CreateSecretKeyRequest:
    """Make a request for a key; with `expires_in` it shall work for that many seconds."""
    request = pb.CreateSecretKeyRequest(display_name="a key", scopes=scopes)
    if expires_in:
        request.expire_time.FromMicroseconds(round((time.time() + expires_in) * 1e6))
    return request


def revocation(key_id: str) -> pb.RevokeSecretKeyRequest:
    """Make a request that revokes a key."""
    return pb.RevokeSecretKeyRequest(secret_key_id=key_id)


async def test_a_key_is_made_and_works_at_once(service: Service) -> None:
    made = await service.admin.CreateSecretKey(creation(SCOPE_WRITE, SCOPE_READ, SCOPE_WRITE, expires_in=3600))
    assert re.fullmatch(r"sk_[0-9a-v]{26}_[A-Za-z0-9_-]{43}", made.secret)
    assert made.secret_key.id == f"key_{made.secret.split('_')[1]}"
    assert made.secret_key.display_name == "a key"
    assert list(made.secret_key.scopes) == [SCOPE_READ, SCOPE_WRITE]
    assert made.secret_key.HasField("create_time")
    assert not made.secret_key.HasField("revoke_time")
    await refused(service.backend(made.secret).GetUser(NOBODY), "USER_NOT_FOUND")


async def test_a_replay_shows_no_secret_and_makes_no_key(service: Service) -> None:
    request = creation(SCOPE_READ)
    request.request_id = request_id()
    first = await service.admin.CreateSecretKey(request)
    again = await service.admin.CreateSecretKey(request)
    assert first.secret
    assert again == pb.CreateSecretKeyResponse(secret_key=first.secret_key)


BAD_CREATIONS: Final = [
    (pb.CreateSecretKeyRequest(scopes=[SCOPE_READ]), "display_name"),
    (pb.CreateSecretKeyRequest(display_name="x" * 257, scopes=[SCOPE_READ]), "display_name"),
    (pb.CreateSecretKeyRequest(display_name="a\nb", scopes=[SCOPE_READ]), "display_name"),
    (pb.CreateSecretKeyRequest(display_name="a\u2028b", scopes=[SCOPE_READ]), "display_name"),
    (pb.CreateSecretKeyRequest(display_name="a key"), "scopes"),
    (creation(SCOPE_READ, SCOPE_UNSPECIFIED), "scopes[1]"),
    (pb.CreateSecretKeyRequest(display_name="a key", scopes=[99]), "scopes[0]"),  # type: ignore[list-item]  # on purpose
    (creation(SCOPE_READ, expires_in=-60), "expire_time"),
]


@pytest.mark.parametrize(("request_", "field"), BAD_CREATIONS)
async def test_a_malformed_request_for_a_key_is_refused(
    service: Service, request_: pb.CreateSecretKeyRequest, field: str
) -> None:
    refusal = await refused(service.admin.CreateSecretKey(request_), "FIELD_INVALID")
    assert refusal.fields == (field,)


@pytest.mark.parametrize(
    ("seconds", "nanos"), [(0, 0), (-5, 0), (1 << 60, 0), (4_000_000_000, -1), (4_000_000_000, 10**9)]
)
async def test_a_time_that_is_none_is_refused(service: Service, seconds: int, nanos: int) -> None:
    request = creation(SCOPE_READ)
    request.expire_time.seconds, request.expire_time.nanos = seconds, nanos
    refusal = await refused(service.admin.CreateSecretKey(request), "FIELD_INVALID")
    assert refusal.fields == ("expire_time",)


async def test_an_expired_key_is_refused(tmp_path: Path) -> None:
    clock = Clock()
    async with serving(settings(tmp_path), clock=clock) as service:
        clock.stop()
        backend = service.backend(await service.key(ModelScope.READ, expires_in=60))
        clock.turn(59)
        await refused(backend.GetUser(NOBODY), "USER_NOT_FOUND")
        clock.turn(1)
        await refused(backend.GetUser(NOBODY), "CREDENTIAL_EXPIRED")


async def test_a_revoked_key_is_refused_by_the_next_call(service: Service) -> None:
    made = await service.admin.CreateSecretKey(creation(SCOPE_READ))
    backend = service.backend(made.secret)
    await refused(backend.GetUser(NOBODY), "USER_NOT_FOUND")
    revoked = (await service.admin.RevokeSecretKey(revocation(made.secret_key.id))).secret_key
    assert revoked.HasField("revoke_time")
    await refused(backend.GetUser(NOBODY), "CREDENTIAL_INVALID")


async def test_revoking_again_changes_nothing(service: Service, subject: Subject) -> None:
    first = await service.admin.RevokeSecretKey(revocation(subject.key_id))
    assert await service.admin.RevokeSecretKey(revocation(subject.key_id)) == first


async def test_a_trial_of_a_revocation_leaves_the_key_working(service: Service) -> None:
    secret = await service.key(ModelScope.READ)
    trial = pb.RevokeSecretKeyRequest(secret_key_id=f"key_{secret.split('_')[1]}", validate_only=True)
    await service.admin.RevokeSecretKey(trial)
    await refused(service.backend(secret).GetUser(NOBODY), "USER_NOT_FOUND")


async def test_a_key_may_revoke_itself(service: Service) -> None:
    made = await service.admin.CreateSecretKey(creation(SCOPE_ADMIN))
    backend = service.backend(made.secret)
    await backend.RevokeSecretKey(revocation(made.secret_key.id))
    await refused(backend.RevokeSecretKey(revocation(made.secret_key.id)), "CREDENTIAL_INVALID")


@pytest.mark.parametrize(("key_id", "reason"), [("", "FIELD_INVALID"), ("key_nobody", "SECRET_KEY_NOT_FOUND")])
async def test_only_a_key_that_is_there_is_revoked(service: Service, key_id: str, reason: str) -> None:
    await refused(service.admin.RevokeSecretKey(revocation(key_id)), reason)


@pytest.mark.parametrize("held", ModelScope)
@pytest.mark.parametrize("wanted", ModelScope)
async def test_no_key_grants_more_than_it_has(service: Service, held: ModelScope, wanted: ModelScope) -> None:
    """Tried on the use case: the method by itself asks for admin already."""
    app = service.server.app
    principal = await app.ring.authenticate(await service.key(held), time.time_ns() // 1000)
    creating = app.use_cases.secret_keys.create(
        principal, "a key", (wanted,), 0, Intent(Actor("backend", str(principal)), "test")
    )
    if wanted > held:
        with pytest.raises(Exception, match="SCOPE_INSUFFICIENT"):
            await creating
    else:
        assert (await creating).secret


# The last admin key


async def test_the_last_admin_key_that_does_not_expire_is_not_revoked(tmp_path: Path) -> None:
    """Neither keys of lower scopes nor those that expire make up for it; revoked ones neither."""
    async with serving(settings(tmp_path)) as own_service:
        own, mine = own_service.admin, f"key_{own_service.admin_key.split('_')[1]}"
        await own.CreateSecretKey(creation(SCOPE_WRITE))
        await own.CreateSecretKey(creation(SCOPE_ADMIN, expires_in=3600))
        other = (await own.CreateSecretKey(creation(SCOPE_ADMIN))).secret_key.id
        await own.RevokeSecretKey(revocation(other))
        for trial in (True, False):
            request = pb.RevokeSecretKeyRequest(secret_key_id=mine, validate_only=trial, request_id=request_id())
            refusal = await refused(own.RevokeSecretKey(request), "LAST_ADMIN_KEY")
            assert refusal.code is grpc.StatusCode.FAILED_PRECONDITION
        assert (await own.RevokeSecretKey(revocation(other))).secret_key.HasField("revoke_time")
        another = await own.CreateSecretKey(creation(SCOPE_ADMIN, SCOPE_READ))
        await own.RevokeSecretKey(revocation(mine))
        backend = own_service.backend(another.secret)
        await refused(backend.RevokeSecretKey(revocation(another.secret_key.id)), "LAST_ADMIN_KEY")


async def test_every_other_key_can_be_revoked(tmp_path: Path) -> None:
    async with serving(settings(tmp_path)) as own_service:
        own = own_service.admin
        for request in (creation(SCOPE_WRITE), creation(SCOPE_ADMIN, expires_in=3600), creation(SCOPE_ADMIN)):
            made = await own.CreateSecretKey(request)
            assert (await own.RevokeSecretKey(revocation(made.secret_key.id))).secret_key.HasField("revoke_time")


async def test_of_two_last_admin_keys_that_revoke_each_other_one_stays(tmp_path: Path) -> None:
    """In one commit, and in two: whichever comes second is refused."""
    async with serving(settings(tmp_path)) as own_service:
        for _ in range(5):
            mine = f"key_{own_service.admin_key.split('_')[1]}"
            other = await own_service.admin.CreateSecretKey(creation(SCOPE_ADMIN))
            results = await asyncio.gather(
                own_service.admin.RevokeSecretKey(revocation(other.secret_key.id)),
                own_service.backend(other.secret).RevokeSecretKey(revocation(mine)),
                return_exceptions=True,
            )
            (error,) = (each for each in results if isinstance(each, grpc.aio.AioRpcError))
            assert read_error(error).reason in {"LAST_ADMIN_KEY", "CREDENTIAL_INVALID"}
            if isinstance(results[0], grpc.aio.AioRpcError):
                own_service.admin_key = other.secret
                own_service.admin = own_service.backend(other.secret)


async def test_of_two_revocations_in_one_commit_the_second_is_refused(tmp_path: Path) -> None:
    async with serving(settings(tmp_path)) as own_service:
        keys, mine = own_service.server.app.use_cases.secret_keys, f"key_{own_service.admin_key.split('_')[1]}"
        other = (await own_service.admin.CreateSecretKey(creation(SCOPE_ADMIN))).secret_key.id
        intent = Intent(Actor("backend", "test"), "test")
        first, second = await asyncio.gather(
            keys.revoke(other, intent), keys.revoke(mine, intent), return_exceptions=True
        )
        assert isinstance(first, ModelKey)
        assert isinstance(second, UsermetaError)
        assert second.reason is Reason.LAST_ADMIN_KEY


async def test_keys_work_after_a_restart_and_revoked_ones_do_not(tmp_path: Path) -> None:
    chosen = settings(tmp_path)
    async with serving(chosen) as service:
        kept = await service.admin.CreateSecretKey(creation(SCOPE_READ))
        gone = await service.admin.CreateSecretKey(creation(SCOPE_READ))
        await service.admin.RevokeSecretKey(revocation(gone.secret_key.id))
    async with serving(chosen) as service:
        await refused(service.backend(kept.secret).GetUser(NOBODY), "USER_NOT_FOUND")
        await refused(service.backend(gone.secret).GetUser(NOBODY), "CREDENTIAL_INVALID")


# Pages


async def all_keys(service: Service, size: int) -> list[SecretKey]:
    """Read all keys, page by page."""
    found: list[SecretKey] = []
    token = ""
    while True:
        page = await service.admin.ListSecretKeys(pb.ListSecretKeysRequest(page_size=size, page_token=token))
        assert len(page.secret_keys) <= size
        found += page.secret_keys
        token = page.next_page_token
        if not token:
            return found


@pytest.mark.parametrize("size", [1, 2, 5, 6, 7, 1000])
async def test_pages_hold_every_key_once_oldest_first(tmp_path: Path, size: int) -> None:
    async with serving(settings(tmp_path)) as service:
        made = [(await service.admin.CreateSecretKey(creation(SCOPE_READ))).secret_key.id for _ in range(5)]
        keys = await all_keys(service, size)
        assert len(keys) == 6
        assert {key.id for key in keys} > set(made)
        assert [key.id for key in keys] == sorted(key.id for key in keys)


async def test_a_list_shows_keys_that_do_not_work_too_and_no_secret(service: Service, subject: Subject) -> None:
    await service.admin.RevokeSecretKey(revocation(subject.key_id))
    secret = await service.key(expires_in=60)
    keys = {key.id: key for key in await all_keys(service, 1000)}
    assert keys[subject.key_id].HasField("revoke_time")
    assert keys[f"key_{secret.split('_')[1]}"].HasField("expire_time")
    assert secret[-43:] not in str(keys)


async def test_a_page_holds_50_keys_by_default_and_1000_at_the_most(tmp_path: Path) -> None:
    async with serving(settings(tmp_path)) as service:
        for _ in range(55):
            await service.key()
        page = await service.admin.ListSecretKeys(pb.ListSecretKeysRequest())
        assert (len(page.secret_keys), bool(page.next_page_token)) == (50, True)
        page = await service.admin.ListSecretKeys(pb.ListSecretKeysRequest(page_size=2_000_000_000))
        assert (len(page.secret_keys), page.next_page_token) == (56, "")


async def test_a_page_size_is_not_negative(service: Service) -> None:
    refusal = await refused(service.admin.ListSecretKeys(pb.ListSecretKeysRequest(page_size=-1)), "FIELD_INVALID")
    assert refusal.fields == ("page_size",)


BAD_TOKENS: Final = ("x", "nonsense", "é", "A" * 22, "A" * 500, "====", "A B")


@pytest.mark.parametrize("token", BAD_TOKENS)
async def test_a_page_token_that_is_none_is_refused(service: Service, token: str) -> None:
    refusal = await refused(
        service.admin.ListSecretKeys(pb.ListSecretKeysRequest(page_token=token)), "PAGE_TOKEN_INVALID"
    )
    assert refusal.fields == ("page_token",)


async def test_a_page_token_that_was_changed_or_is_another_stores_is_refused(
    service: Service, subject: Subject, tmp_path: Path
) -> None:
    assert subject.key_id
    first = await service.admin.ListSecretKeys(pb.ListSecretKeysRequest(page_size=1))
    raw = bytearray(base64.urlsafe_b64decode(first.next_page_token + "=="))
    raw[-2] ^= 1
    changed = base64.urlsafe_b64encode(bytes(raw)).rstrip(b"=").decode()
    await refused(service.admin.ListSecretKeys(pb.ListSecretKeysRequest(page_token=changed)), "PAGE_TOKEN_INVALID")
    async with serving(settings(tmp_path)) as other:
        request = pb.ListSecretKeysRequest(page_token=first.next_page_token)
        await refused(other.admin.ListSecretKeys(request), "PAGE_TOKEN_INVALID")
