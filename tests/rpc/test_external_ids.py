"""Requests that name a user by `external_id` in place of `user_id`: they act on whoever has it, and on nobody else."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest
from google.protobuf.message import Message

from tests.rpc.methods import BY_EXTERNAL_ID, MUTATING, NOBODY, Subject, call, sample
from tests.rpc.requests import merge
from tests.support import BACKEND, Service, bearer, document, read_status, refused, request_id, struct
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1.user_change_pb2 import UserChange
from usermeta.backend.v1.user_pb2 import User
from usermeta.frontend.v1 import frontend_service_pb2 as frontend_pb
from usermeta_server.model import Identifier
from usermeta_server.model import User as ModelUser

DELETE: Final = f"{BACKEND}DeleteUser"
RESTORE: Final = f"{BACKEND}RestoreUserMetadata"
WRITES: Final = [path for path in BY_EXTERNAL_ID if path in MUTATING]


def by_external_id(path: str, subject: Subject, **fields: Any) -> Message:  # noqa: ANN401  # any field of any request
    """Return a valid request of an RPC that names the user by its external id."""
    return sample(path, subject, external_id=subject.external_id, **fields)


async def called(service: Service, path: str, request: Message) -> Any:  # noqa: ANN401  # any response
    """Call an RPC with the admin key."""
    return await call(service, path, request, bearer(service.admin_key))


async def changes_of(service: Service, user_id: str) -> list[UserChange]:
    """Return what was written to a user."""
    return list((await service.admin.ListUserChanges(pb.ListUserChangesRequest(user_id=user_id))).changes)


async def give(service: Service, user_id: str, external_id: str) -> None:
    """Let a user have an external id; with an empty one, none."""
    request = pb.UpdateUserRequest(user=User(id=user_id, external_id=external_id))
    request.update_mask.paths.append("external_id")
    await service.admin.UpdateUser(request)


def test_these_methods_take_an_external_id() -> None:
    names = (
        *("GetUser", "DeleteUser", "MergeUserMetadata", "ReplaceUserMetadata", "PatchUserMetadata"),
        *("ListUserChanges", "RestoreUserMetadata", "CreateSessionToken"),
    )
    assert set(BY_EXTERNAL_ID) == {BACKEND + name for name in names}


@pytest.mark.parametrize("path", BY_EXTERNAL_ID)
async def test_the_user_that_has_the_external_id_is_meant(service: Service, subject: Subject, path: str) -> None:
    response = await called(service, path, by_external_id(path, subject))
    if path == DELETE:
        await refused(service.get(subject.user_id), "USER_NOT_FOUND")
    elif path.endswith("ListUserChanges"):
        assert list(response.changes) == await changes_of(service, subject.user_id)
    elif path.endswith("CreateSessionToken"):
        own = await service.frontend(response.session_token).GetUser(frontend_pb.GetUserRequest())
        assert own.user.id == subject.user_id
    else:
        assert response.user == await service.get(subject.user_id)


@pytest.mark.parametrize("path", BY_EXTERNAL_ID)
async def test_an_external_id_that_nobody_has_is_not_found(service: Service, subject: Subject, path: str) -> None:
    await refused(called(service, path, by_external_id(path, NOBODY)), "USER_NOT_FOUND")
    if path in WRITES:
        tried = by_external_id(path, NOBODY, validate_only=True, request_id=request_id())
        await refused(called(service, path, tried), "USER_NOT_FOUND")
    assert (await service.get(subject.user_id)).id == subject.user_id


@pytest.mark.parametrize(
    ("given", "named"), [({}, "user_id"), ({"user_id": ""}, "user_id"), ({"external_id": ""}, "external_id")]
)
@pytest.mark.parametrize("path", BY_EXTERNAL_ID)
async def test_one_of_the_two_is_required(
    service: Service, subject: Subject, path: str, given: dict[str, str], named: str
) -> None:
    request: Any = sample(path, subject)
    request.ClearField("user_id")
    for name, value in given.items():
        setattr(request, name, value)
    refusal = await refused(called(service, path, request), "FIELD_INVALID")
    assert refusal.fields == (named,)
    assert given or "external_id" in refusal.message


@pytest.mark.parametrize("path", WRITES)
async def test_a_replay_is_about_the_user_that_had_the_external_id_then(
    service: Service, subject: Subject, path: str
) -> None:
    request = by_external_id(path, subject, request_id=request_id())
    first = await called(service, path, request)
    if path != DELETE:
        await give(service, subject.user_id, "")
    other = await service.user(external_id=subject.external_id)
    again = await called(service, path, request)
    assert await service.get(other.id) == other
    if hasattr(first, "user"):
        assert again.user == await service.get(subject.user_id)
    elif path != DELETE:
        assert (again.expire_time, again.session_token) == (first.expire_time, "")


@pytest.mark.parametrize("path", WRITES)
async def test_a_request_id_stands_for_the_external_id_too(service: Service, subject: Subject, path: str) -> None:
    used = request_id()
    await called(service, path, by_external_id(path, subject, request_id=used))
    for other in (sample(path, subject, request_id=used), by_external_id(path, NOBODY, request_id=used)):
        await refused(called(service, path, other), "REQUEST_ID_REUSED")


Between = Callable[[], Awaitable[object]]


def moving(service: Service, monkeypatch: pytest.MonkeyPatch, between: Between) -> list[str]:
    """Let something happen once between the look-up of an identifier and the write; return whom look-ups found."""
    found: list[str] = []
    look_up = service.server.app.store.user_by

    async def user_by(identifier: Identifier) -> ModelUser | None:
        user = await look_up(identifier)
        found.append(user.id if user else "")
        if len(found) == 1:
            await between()
        return user

    monkeypatch.setattr(service.server.app.store, "user_by", user_by)
    return found


@pytest.mark.parametrize("path", WRITES)
async def test_a_write_never_reaches_a_user_that_has_lost_the_external_id(
    service: Service, subject: Subject, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes to another user between the look-up and the write: then that one is meant."""
    other = await service.user()

    async def move() -> None:
        await give(service, subject.user_id, "")
        await give(service, other.id, subject.external_id)

    found = moving(service, monkeypatch, move)
    calling = called(service, path, by_external_id(path, subject, request_id=request_id()))
    if path == RESTORE:  # of a change of the first user
        await refused(calling, "CHANGE_NOT_FOUND")
    else:
        await calling
    assert found == [subject.user_id, other.id]
    assert (await changes_of(service, subject.user_id))[0].changed_fields == ["external_id"]
    if path == DELETE:
        await refused(service.get(other.id), "USER_NOT_FOUND")


@pytest.mark.parametrize("path", WRITES)
async def test_a_write_is_not_found_when_the_user_loses_the_external_id_meanwhile(
    service: Service, subject: Subject, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = moving(service, monkeypatch, lambda: give(service, subject.user_id, ""))
    await refused(called(service, path, by_external_id(path, subject)), "USER_NOT_FOUND")
    assert found == [subject.user_id, ""]
    assert (await changes_of(service, subject.user_id))[0].changed_fields == ["external_id"]


@pytest.mark.parametrize("path", WRITES)
async def test_a_write_reaches_a_user_that_gets_the_external_id_meanwhile(
    service: Service, subject: Subject, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await give(service, subject.user_id, "")
    found = moving(service, monkeypatch, lambda: give(service, subject.user_id, subject.external_id))
    await called(service, path, by_external_id(path, subject))
    assert found == ["", subject.user_id]


# Batches


def item(external_id: str, **public: int) -> pb.MergeUserMetadataRequest:
    """Make an item of a batch that merges into the public document."""
    return pb.MergeUserMetadataRequest(external_id=external_id, public_metadata=struct(public))


async def test_items_of_a_batch_name_users_by_either(service: Service, subject: Subject) -> None:
    other = await service.user()
    items = [
        item(subject.external_id, a=1),
        merge(other.id, public_metadata={"a": 1}),
        item("nobody", a=1),
        merge(subject.user_id, public_metadata={"b": 2}),
        pb.MergeUserMetadataRequest(public_metadata=struct({"a": 1})),
    ]
    reply = await service.admin.BatchMergeUserMetadata(pb.BatchMergeUserMetadataRequest(requests=items))
    first, second, nobody, again, unnamed = reply.results
    assert (first.user.id, second.user.id, again.user.id) == (subject.user_id, other.id, subject.user_id)
    assert document(again.user.public_metadata) == {"plan": "pro", "a": 1, "b": 2}
    assert read_status(nobody.status).reason == "USER_NOT_FOUND"
    assert read_status(unnamed.status).fields == ("requests[4].user_id",)


async def test_an_item_of_a_batch_follows_the_external_id_too(
    service: Service, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the items before it are written once."""
    other = await service.user()

    async def move() -> None:
        await give(service, subject.user_id, "")
        await give(service, other.id, subject.external_id)

    moving(service, monkeypatch, move)
    third = await service.user()
    batch = pb.BatchMergeUserMetadataRequest(
        requests=[merge(third.id, public_metadata={"a": 1}), item(subject.external_id, a=1)], request_id=request_id()
    )
    reply = await service.admin.BatchMergeUserMetadata(batch)
    assert [result.user.id for result in reply.results] == [third.id, other.id]
    assert len(await changes_of(service, third.id)) == 2
    assert await service.admin.BatchMergeUserMetadata(batch) == reply


# Lists


async def test_the_pages_of_a_list_of_changes_are_all_of_the_first_ones_user(
    service: Service, subject: Subject
) -> None:
    """Also when another user has the external id by then, or the user was erased."""
    everything = await changes_of(service, subject.user_id)
    request = pb.ListUserChangesRequest(external_id=subject.external_id, page_size=1)
    page = await service.admin.ListUserChanges(request)
    assert list(page.changes) == everything[:1]
    await give(service, subject.user_id, "")
    other = await service.user(external_id=subject.external_id)
    request.page_token = page.next_page_token
    assert list((await service.admin.ListUserChanges(request)).changes) == everything[1:2]
    await service.admin.DeleteUser(pb.DeleteUserRequest(user_id=subject.user_id))
    (erased,) = (await service.admin.ListUserChanges(request)).changes
    assert (erased.change_id, erased.erased) == (everything[1].change_id, True)
    request.page_token = ""
    assert [each.user_id for each in (await service.admin.ListUserChanges(request)).changes] == [other.id]


async def test_a_page_token_is_of_the_identifier_that_it_was_made_with(service: Service, subject: Subject) -> None:
    request = pb.ListUserChangesRequest(external_id=subject.external_id, page_size=1)
    token = (await service.admin.ListUserChanges(request)).next_page_token
    for asked in (
        pb.ListUserChangesRequest(page_token=token, user_id=subject.user_id),
        pb.ListUserChangesRequest(page_token=token, external_id="nobody"),
    ):
        await refused(service.admin.ListUserChanges(asked), "PAGE_TOKEN_INVALID")
