"""Errors: in which order checks are made, what a client is told, and what it never is."""

import asyncio
import json
import logging
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any, Final

import grpc
import pytest

from tests.rpc.methods import METHODS, Subject, call, credential, sample
from tests.rpc.requests import merge, patch
from tests.support import BACKEND, FRONTEND, Service, bearer, refused, request_id, struct
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1.user_pb2 import User
from usermeta.frontend.v1 import frontend_service_pb2 as frontend_pb
from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.model import Scope

TOO_BIG: Final = {"big": "x" * 9000}


# The order of checks: each test breaks two of them, and the earlier one is told.


async def used_id(service: Service, subject: Subject) -> str:
    """Return a request id that was used to write the subject's public document."""
    change = merge(subject.user_id, public_metadata={"used": 1})
    change.request_id = request_id()
    await service.admin.MergeUserMetadata(change)
    return change.request_id


async def permission_then_shape(service: Service, _: Subject) -> object:
    reader = service.backend(await service.key(Scope.READ))
    return await reader.MergeUserMetadata(pb.MergeUserMetadataRequest())


async def shape_then_replay(service: Service, subject: Subject) -> object:
    request = pb.MergeUserMetadataRequest(user_id=subject.user_id, request_id=await used_id(service, subject))
    return await service.admin.MergeUserMetadata(request)


async def replay_then_existence(service: Service, subject: Subject) -> object:
    request = merge("user_nobody", public_metadata={"a": 1})
    request.request_id = await used_id(service, subject)
    return await service.admin.MergeUserMetadata(request)


async def existence_then_etag(service: Service, _: Subject) -> object:
    request = merge("user_nobody", public_metadata={"a": 1})
    request.expected_etags.public_metadata = "stale"
    return await service.admin.MergeUserMetadata(request)


async def ban_then_etag(service: Service, subject: Subject) -> object:
    await service.admin.UpdateUser(pb.UpdateUserRequest(user=User(id=subject.user_id, banned=True)))
    request = frontend_pb.MergeUserMetadataRequest(unsafe_metadata=struct({"a": 1}), expected_etag="stale")
    return await service.frontend(subject.session).MergeUserMetadata(request)


async def etag_then_patch(service: Service, subject: Subject) -> object:
    request = patch(subject.user_id, public_metadata=[{"op": "test", "path": "/plan", "value": "no"}])
    request.expected_etags.private_metadata = "stale"
    return await service.admin.PatchUserMetadata(request)


async def patch_then_limits(service: Service, subject: Subject) -> object:
    steps: list[Any] = [{"op": "add", "path": "/n", "value": 2**53}, {"op": "test", "path": "/plan", "value": "no"}]
    return await service.admin.PatchUserMetadata(patch(subject.user_id, public_metadata=steps))


async def patch_of_a_later_document_then_limits(service: Service, subject: Subject) -> object:
    request = patch(
        subject.user_id,
        public_metadata=[{"op": "add", "path": "/n", "value": 2**53}],
        unsafe_metadata=[{"op": "test", "path": "/theme", "value": "no"}],
    )
    return await service.admin.PatchUserMetadata(request)


async def etag_then_limits(service: Service, subject: Subject) -> object:
    request = merge(subject.user_id, public_metadata=TOO_BIG)
    request.expected_etags.public_metadata = "stale"
    return await service.admin.MergeUserMetadata(request)


async def limits_then_uniqueness(service: Service, subject: Subject) -> object:
    await service.user(username=f"taken-{subject.user_id}")
    return await service.user(username=f"taken-{subject.user_id}", public_metadata=TOO_BIG)


async def shape_then_uniqueness(service: Service, subject: Subject) -> object:
    await service.user(username=f"taken-{subject.user_id}")
    return await service.user(username=f"taken-{subject.user_id}", image_url="nonsense")


async def etag_then_uniqueness(service: Service, subject: Subject) -> object:
    await service.user(username=f"taken-{subject.user_id}")
    user = User(id=subject.user_id, username=f"taken-{subject.user_id}")
    return await service.admin.UpdateUser(pb.UpdateUserRequest(user=user, expected_etag="stale"))


ORDER: Final[dict[Callable[[Service, Subject], Awaitable[object]], str]] = {
    permission_then_shape: "SCOPE_INSUFFICIENT",
    shape_then_replay: "FIELD_INVALID",
    replay_then_existence: "REQUEST_ID_REUSED",
    existence_then_etag: "USER_NOT_FOUND",
    ban_then_etag: "USER_BANNED",
    etag_then_patch: "ETAG_MISMATCH",
    patch_then_limits: "PATCH_TEST_FAILED",
    patch_of_a_later_document_then_limits: "PATCH_TEST_FAILED",
    etag_then_limits: "ETAG_MISMATCH",
    limits_then_uniqueness: "METADATA_TOO_LARGE",
    shape_then_uniqueness: "FIELD_INVALID",
    etag_then_uniqueness: "ETAG_MISMATCH",
}


@pytest.mark.parametrize(("broken", "reason"), ORDER.items(), ids=[each.__name__ for each in ORDER])
async def test_checks_are_made_in_their_order(
    service: Service, subject: Subject, broken: Callable[[Service, Subject], Awaitable[object]], reason: str
) -> None:
    await refused(broken(service, subject), reason)


# Malformed bodies


NOT_PROTOBUF: Final = (b"\xff", b"\x0a\xff", b"\x08", b"\x0b")


@pytest.mark.parametrize("body", NOT_PROTOBUF)
@pytest.mark.parametrize("path", METHODS)
async def test_bytes_that_are_no_message_are_refused(
    service: Service, subject: Subject, path: str, body: bytes
) -> None:
    metadata = bearer(credential(service, path, subject))
    refusal = await refused(service.raw(path, body, metadata), "FIELD_INVALID")
    assert refusal.fields == ("request",)


async def test_a_string_that_is_not_utf_8_is_refused(service: Service) -> None:
    calling = service.raw(f"{BACKEND}GetUser", b"\x0a\x02\xc3\x28", bearer(service.admin_key))
    assert (await refused(calling, "FIELD_INVALID")).fields == ("request",)


# Faults of ours


async def boom(*_: object, **__: object) -> object:
    """Fail as no code should."""
    raise RuntimeError("the password is swordfish")


@pytest.mark.parametrize("path", [f"{BACKEND}GetUser", f"{FRONTEND}GetUser", f"{FRONTEND}GetProfile"])
async def test_a_fault_is_told_by_an_id_that_the_log_has_too(
    service: Service,
    subject: Subject,
    path: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    users = service.server.app.use_cases.users
    for name in ("get", "get_profile"):
        monkeypatch.setattr(users, name, boom)
    with caplog.at_level(logging.ERROR):
        metadata = bearer(credential(service, path, subject))
        refusal = await refused(call(service, path, sample(path, subject), metadata), "INTERNAL")
    assert refusal.code is grpc.StatusCode.INTERNAL
    assert refusal.message == "Internal error."
    assert refusal.metadata.keys() == {"error_id"}
    assert len(refusal.metadata["error_id"]) >= 16
    (record,) = [record for record in caplog.records if refusal.metadata["error_id"] in record.getMessage()]
    assert record.exc_info is not None
    assert "swordfish" in str(record.exc_info[1])


async def test_a_fault_inside_a_write_is_told_by_its_id_and_harms_no_other_write(
    service: Service, subject: Subject, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> bytes:
        raise ZeroDivisionError("secret")

    with monkeypatch.context() as patched:
        patched.setattr("usermeta_server.core.metadata.revise", fail)
        change = service.admin.MergeUserMetadata(merge(subject.user_id, public_metadata={"a": 1}))
        update = service.admin.UpdateUser(pb.UpdateUserRequest(user=User(id=subject.user_id, first_name="Ada")))
        refusal, reply = await asyncio.gather(refused(change, "INTERNAL"), update)
    assert reply.user.first_name == "Ada"
    assert refusal.metadata["error_id"] in caplog.text
    await service.admin.MergeUserMetadata(merge(subject.user_id, public_metadata={"a": 1}))


async def test_a_cancellation_of_the_handlers_own_does_not_hang_the_client(
    service: Service, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def cancelled(*_: object) -> object:
        raise asyncio.CancelledError

    monkeypatch.setattr(service.server.app.use_cases.users, "get", cancelled)
    await refused(service.get(subject.user_id), "INTERNAL")


async def test_a_store_that_fails_is_unavailable_and_says_no_more(
    service: Service, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error in /somewhere")

    monkeypatch.setattr(service.server.app.store, "commit", fail)
    change = service.admin.MergeUserMetadata(merge(subject.user_id, public_metadata={"a": 1}))
    refusal = await refused(change, "STORE_UNAVAILABLE")
    assert refusal.code is grpc.StatusCode.UNAVAILABLE
    assert refusal.message == Reason.STORE_UNAVAILABLE.message
    assert not refusal.metadata


@pytest.mark.parametrize("reason", [each for each in Reason if each is not Reason.INTERNAL])
async def test_every_reason_reaches_the_client_with_its_status(
    service: Service, subject: Subject, reason: Reason, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> object:
        raise UsermetaError(reason, "a text with \n and é", {"name": json.dumps({"a": 1})})

    monkeypatch.setattr(service.server.app.use_cases.users, "get", fail)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await service.get(subject.user_id)
    assert caught.value.code() is grpc.StatusCode[reason.status]
    assert caught.value.details() == "a text with \n and é"
