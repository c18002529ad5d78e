"""Errors: what a client is told, and what it never is."""

import asyncio
import json
import logging
import sqlite3
from dataclasses import replace
from typing import Final, NoReturn

import grpc
import pytest

from tests.rpc.methods import METHODS, Subject, call, credential, raw, sample
from tests.rpc.requests import merge
from tests.store.sqlite import engine_of
from tests.support import BACKEND, FRONTEND, Service, bearer, refused
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1.user_pb2 import User
from usermeta_server.errors import RETRY_AFTER, Reason, UsermetaError, invalid

# Malformed bodies


NOT_PROTOBUF: Final = (b"\xff", b"\x0a\xff", b"\x08", b"\x0b")


@pytest.mark.parametrize("body", NOT_PROTOBUF)
@pytest.mark.parametrize("path", METHODS)
async def test_bytes_that_are_no_message_are_refused(
    service: Service, subject: Subject, path: str, body: bytes
) -> None:
    metadata = bearer(credential(service, path, subject))
    refusal = await refused(raw(service, path, body, metadata), "FIELD_INVALID")
    assert refusal.fields == ("request",)


async def test_a_string_that_is_not_utf_8_is_refused(service: Service) -> None:
    calling = service.raw(f"{BACKEND}GetUser", b"\x0a\x02\xc3\x28", bearer(service.admin_key))
    assert (await refused(calling, "FIELD_INVALID")).fields == ("request",)


# Faults of ours


def boom(*_: object, **__: object) -> NoReturn:
    """Fail as no code should."""
    raise RuntimeError("the password is swordfish")


FAULTY: Final = {
    f"{BACKEND}GetUser": ("users", "get"),
    f"{FRONTEND}GetUser": ("users", "get"),
    f"{FRONTEND}GetProfile": ("users", "get_profile"),
    f"{FRONTEND}CreateSignUp": ("sign_ups", "create"),
    f"{BACKEND}ListUsers": ("search", "list"),
    f"{BACKEND}ListUserChanges": ("history", "list"),
    f"{BACKEND}WatchUsers": ("watches", "users"),
    f"{FRONTEND}WatchUser": ("watches", "own"),
}
"""RPCs, streams among them, and for each the use case that fails."""


@pytest.mark.parametrize("path", FAULTY)
async def test_a_fault_is_told_by_an_id_that_the_log_has_too(
    service: Service,
    subject: Subject,
    path: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    use_cases, name = FAULTY[path]
    monkeypatch.setattr(getattr(service.server.app.use_cases, use_cases), name, boom)
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

    monkeypatch.setattr(engine_of(service.server.app.store), "apply", fail)
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


RETRIES: Final = [
    (UsermetaError(Reason.USER_NOT_FOUND), 0),
    (UsermetaError(Reason.USER_NOT_FOUND, retry_after=0.25), 0.25),
    (UsermetaError(Reason.OVERLOADED), RETRY_AFTER[Reason.OVERLOADED]),
    (UsermetaError(Reason.OVERLOADED, retry_after=30), 30),
    (replace(invalid("user_id", "is no id"), retry_after=7.5).of_item(3), 7.5),
]


@pytest.mark.parametrize(("error", "seconds"), RETRIES)
async def test_when_to_make_a_call_again_reaches_the_client(
    service: Service, subject: Subject, error: UsermetaError, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> object:
        raise error

    monkeypatch.setattr(service.server.app.use_cases.users, "get", fail)
    refusal = await refused(service.get(subject.user_id), error.reason.name)
    assert refusal.retry_after == seconds
