"""`request_id` of every mutating RPC: a repetition writes nothing."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

import pytest
from google.protobuf.message import Message

from tests.rpc.inspection import SHOWN_ONCE, fields, rows
from tests.rpc.methods import MUTATING, Subject, call, credential, new_subject, sample
from tests.rpc.outside import trusted
from tests.rpc.requests import merge, patch, replace
from tests.support import BACKEND, FRONTEND, Clock, Service, bearer, document, refused, request_id, serving, settings
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1 import secret_key_pb2
from usermeta.backend.v1.user_pb2 import User
from usermeta.frontend.v1.sign_up_pb2 import SignUp
from usermeta_server.model import REMEMBERED_FOR, SECOND

OTHERWISE: Final[Mapping[str, Mapping[str, Any]]] = {
    f"{BACKEND}CreateUser": {"user_id": "user_otherwise"},
    f"{BACKEND}UpdateUser": {"expected_etag": "other"},
    f"{BACKEND}DeleteUser": {"expected_etag": "other"},
    f"{BACKEND}MergeUserMetadata": {"user_id": "user_nobody"},
    f"{BACKEND}ReplaceUserMetadata": {"user_id": "user_nobody"},
    f"{BACKEND}PatchUserMetadata": {"user_id": "user_nobody"},
    f"{BACKEND}BatchMergeUserMetadata": {"atomic": True},
    f"{BACKEND}CreateSessionToken": {"user_id": "user_nobody"},
    f"{BACKEND}CreateSecretKey": {"display_name": "other"},
    f"{BACKEND}RevokeSecretKey": {"secret_key_id": "key_nobody"},
    f"{BACKEND}CreateMetadataIndex": {"path": "public_metadata.other"},
    f"{BACKEND}DeleteMetadataIndex": {"path": "public_metadata.other"},
    f"{BACKEND}RestoreUserMetadata": {"user_id": "user_nobody"},
    f"{BACKEND}UpdateSignUp": {"sign_up_id": "signup_nobody"},
    f"{BACKEND}CompleteSignUp": {"sign_up_id": "signup_nobody"},
    f"{BACKEND}RejectSignUp": {"sign_up_id": "signup_nobody"},
    f"{FRONTEND}CreateSignUp": {"sign_up": SignUp(first_name="Other")},
    f"{FRONTEND}UpdateSignUp": {"expected_etag": "other"},
    f"{FRONTEND}CompleteSignUp": {"expected_etag": "other"},
    f"{FRONTEND}UpdateUser": {"expected_etag": "other"},
    f"{FRONTEND}MergeUserMetadata": {"expected_etag": "other"},
    f"{FRONTEND}ReplaceUserMetadata": {"expected_etag": "other"},
    f"{FRONTEND}PatchUserMetadata": {"expected_etag": "other"},
}
"""For each mutating RPC what makes another request of its sample."""


def test_every_mutating_method_is_here() -> None:
    assert OTHERWISE.keys() == set(MUTATING)


async def twice(service: Service, path: str, request: Message, token: str) -> tuple[Message, Message]:
    """Call an RPC twice with the same request and return both responses, having seen that the second writes nothing."""
    first = await call(service, path, request, bearer(token))
    kept = rows(service.database)
    again = await call(service, path, request, bearer(token))
    assert rows(service.database) == kept
    return first, again


def lasting(response: Message) -> Message:
    """Return a response without what is shown once, and without how far an index is, which moves on by itself."""
    shown: Any = type(response)()
    shown.CopyFrom(response)
    for name in shown.DESCRIPTOR.fields_by_name:
        if name in SHOWN_ONCE:
            shown.ClearField(name)
        if name == "metadata_index":
            shown.metadata_index.ClearField("state")
    return cast("Message", shown)


def check_replay(path: str, first: Message, again: Message) -> None:
    """Check that a replay returned what the first call did, and no secret; but a session to who completes a sign-up."""
    assert lasting(again) == lasting(first)
    shown = {name for name, _ in fields(again)} & set(SHOWN_ONCE)
    assert shown == ({"session_token"} if path == f"{FRONTEND}CompleteSignUp" else set())


@pytest.mark.parametrize("path", MUTATING)
async def test_a_replay_writes_nothing_and_returns_the_same(service: Service, subject: Subject, path: str) -> None:
    request = sample(path, subject, request_id=request_id())
    first, again = await twice(service, path, request, credential(service, path, subject))
    check_replay(path, first, again)


@pytest.mark.parametrize("path", MUTATING)
async def test_an_id_that_was_used_for_another_request_is_refused(
    service: Service, subject: Subject, path: str
) -> None:
    used = request_id()
    metadata = bearer(credential(service, path, subject))
    await call(service, path, sample(path, subject, request_id=used), metadata)
    other = sample(path, subject, request_id=used, **OTHERWISE[path])
    refusal = await refused(call(service, path, other, metadata), "REQUEST_ID_REUSED")
    assert refusal.metadata == {"request_id": used}
    assert refusal.fields == ("request_id",)


async def test_an_id_that_was_used_for_another_method_is_refused(service: Service, subject: Subject) -> None:
    used = request_id()
    change = merge(subject.user_id, public_metadata={"a": 1})
    change.request_id = used
    await service.admin.MergeUserMetadata(change)
    other = replace(subject.user_id, public_metadata={"a": 1})
    other.request_id = used
    await refused(service.admin.ReplaceUserMetadata(other), "REQUEST_ID_REUSED")


async def test_an_id_is_the_same_in_either_case(service: Service, subject: Subject) -> None:
    change = patch(subject.user_id, public_metadata=[{"op": "increment", "path": "/n", "value": 1}])
    change.request_id = request_id()
    await service.admin.PatchUserMetadata(change)
    change.request_id = change.request_id.upper()
    reply = await service.admin.PatchUserMetadata(change)
    assert document(reply.user.public_metadata)["n"] == 1


async def test_ids_of_different_principals_never_meet(service: Service, subject: Subject) -> None:
    used = request_id()
    change = patch(subject.user_id, public_metadata=[{"op": "increment", "path": "/n", "value": 1}])
    change.request_id = used
    other_key = service.backend(await service.key())
    await service.admin.PatchUserMetadata(change)
    reply = await other_key.PatchUserMetadata(change)
    assert document(reply.user.public_metadata)["n"] == 2
    path = f"{FRONTEND}MergeUserMetadata"
    await call(service, path, sample(path, subject, request_id=used), bearer(subject.session))


async def test_a_user_that_calls_with_another_session_is_the_same_principal(service: Service, subject: Subject) -> None:
    path = f"{FRONTEND}MergeUserMetadata"
    request = sample(path, subject, request_id=request_id())
    first = await call(service, path, request, bearer(subject.session))
    kept = rows(service.database)
    again = await call(service, path, request, bearer(await service.session(subject.user_id)))
    assert again == first
    assert rows(service.database) == kept


async def test_a_replay_returns_the_user_as_it_is_by_then(service: Service, subject: Subject) -> None:
    change = merge(subject.user_id, public_metadata={"plan": "free"})
    change.request_id = request_id()
    await service.admin.MergeUserMetadata(change)
    later = (await service.admin.MergeUserMetadata(merge(subject.user_id, public_metadata={"plan": "gone"}))).user
    assert (await service.admin.MergeUserMetadata(change)).user == later


async def test_what_failed_is_not_remembered(service: Service, subject: Subject) -> None:
    change = merge("user_later-" + subject.user_id[5:], public_metadata={"a": 1})
    change.request_id = request_id()
    await refused(service.admin.MergeUserMetadata(change), "USER_NOT_FOUND")
    await service.admin.CreateUser(pb.CreateUserRequest(user_id=change.user_id))
    assert document((await service.admin.MergeUserMetadata(change)).user.public_metadata) == {"a": 1}


@pytest.mark.parametrize(
    "bad", ["1", "x" * 36, "5f0c4f0e8d2b4f5c9a550d8f1c1f2a3b", "{5f0c4f0e-8d2b-4f5c-9a55-0d8f1c1f2a3b}"]
)
@pytest.mark.parametrize("path", MUTATING)
async def test_an_id_is_a_uuid(service: Service, subject: Subject, path: str, bad: str) -> None:
    request = sample(path, subject, request_id=bad)
    refusal = await refused(call(service, path, request, bearer(credential(service, path, subject))), "FIELD_INVALID")
    assert refusal.fields == ("request_id",)


async def test_who_has_no_credential_has_no_id(service: Service, subject: Subject) -> None:
    """Nobody's ids would be everybody's."""
    path = f"{FRONTEND}CreateSignUp"
    refusal = await refused(call(service, path, sample(path, subject, request_id=request_id()), ()), "FIELD_INVALID")
    assert refusal.fields == ("request_id",)


async def test_an_id_is_remembered_for_24_hours(tmp_path: Path) -> None:
    """To the microsecond."""
    clock, microsecond = Clock(), 1 / SECOND
    async with serving(settings(tmp_path), clock=clock) as service:
        subject = await new_subject(service)
        change = patch(subject.user_id, public_metadata=[{"op": "increment", "path": "/n", "value": 1}])
        change.request_id = request_id()
        clock.stop()
        await service.admin.PatchUserMetadata(change)
        for later, n in ((REMEMBERED_FOR / SECOND - microsecond, 1), (microsecond, 2)):
            clock.turn(later)
            reply = await service.admin.PatchUserMetadata(change)
            assert document(reply.user.public_metadata)["n"] == n


@pytest.mark.parametrize("path", MUTATING)
async def test_a_replay_after_a_restart_writes_nothing(tmp_path: Path, path: str) -> None:
    chosen = settings(tmp_path, issuers=trusted(tmp_path))
    async with serving(chosen) as service:
        subject = await new_subject(service)
        token = credential(service, path, subject)
        request = sample(path, subject, request_id=request_id())
        first = await call(service, path, request, bearer(token))
    async with serving(chosen) as service:
        kept = rows(service.database)
        again = await call(service, path, request, bearer(token))
        assert rows(service.database) == kept
    check_replay(path, first, again)


def contents(folder: Path) -> list[bytes]:
    """Return the bytes of all files of a folder."""
    return [file.read_bytes() for file in folder.iterdir()]


async def test_nothing_of_contents_or_secrets_is_kept_with_an_id(tmp_path: Path) -> None:
    """The bytes of the files are searched: after the user is erased, nothing of it is left anywhere."""
    chosen = settings(tmp_path)
    async with serving(chosen) as service:
        user = User(username="Marked-Username", first_name="Marked-First")
        user.private_metadata.update({"Marked-Key": "Marked-Value"})
        made = (await service.admin.CreateUser(pb.CreateUserRequest(user=user, request_id=request_id()))).user
        change = merge(made.id, unsafe_metadata={"Marked-Merge": "Marked-Merged"})
        change.request_id = request_id()
        await service.admin.MergeUserMetadata(change)
        session = await service.admin.CreateSessionToken(
            pb.CreateSessionTokenRequest(user_id=made.id, request_id=request_id())
        )
        key = await service.admin.CreateSecretKey(
            pb.CreateSecretKeyRequest(display_name="kept", scopes=[secret_key_pb2.SCOPE_READ], request_id=request_id())
        )
        await service.admin.DeleteUser(pb.DeleteUserRequest(user_id=made.id, request_id=request_id()))
    files = contents(tmp_path)
    assert any(made.id.encode() in data for data in files)
    for secret in ("marked-", "Marked-", session.session_token.split(".")[2], key.secret, key.secret[-43:]):
        assert not any(secret.encode() in data for data in files)
