"""History: one change for each committed write, and what it says."""

import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest

from tests.history.support import Kind, history_of, kinds, merge
from tests.support import Service, bearer, document, refused, request_id, struct
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1.user_pb2 import User
from usermeta.frontend.v1 import frontend_service_pb2 as frontend_pb
from usermeta.frontend.v1.sign_up_pb2 import SignUp
from usermeta.frontend.v1.user_pb2 import User as OwnUser
from usermeta_server.model import Scope


async def test_creating(service: Service) -> None:
    """A user that was made has a change with all that was set, nobody before it, and the user after it."""
    asked = request_id()
    user = User(username=f"u{uuid.uuid4().hex}", public_metadata=struct({"a": 1}))
    made = (await service.admin.CreateUser(pb.CreateUserRequest(user=user, request_id=asked))).user
    (change,) = await history_of(service, made.id)
    assert change.kind == Kind.KIND_CREATED
    assert (change.user_id, change.request_id) == (made.id, asked)
    assert change.actor.audience == "backend"
    assert change.actor.principal.startswith("secret_key:key_")
    assert {"username", "public_metadata"} <= set(change.changed_fields)
    assert not change.HasField("before")
    assert change.after == made
    assert change.time == made.create_time


async def _profile(service: Service, user_id: str) -> None:
    await service.admin.UpdateUser(pb.UpdateUserRequest(user=User(id=user_id, first_name="Ada")))


async def _documents(service: Service, user_id: str) -> None:
    await merge(service, user_id, private={"a": 1}, unsafe={"b": 2})


async def _ban(service: Service, user_id: str) -> None:
    await service.admin.UpdateUser(pb.UpdateUserRequest(user=User(id=user_id, banned=True)))


@pytest.mark.parametrize(
    ("write", "kind", "parts"),
    [
        (_profile, Kind.KIND_PROFILE_UPDATED, {"first_name"}),
        (_documents, Kind.KIND_METADATA_WRITTEN, {"private_metadata", "unsafe_metadata"}),
        (_ban, Kind.KIND_BANNED, {"banned"}),
    ],
)
async def test_writing(
    service: Service, write: Callable[[Service, str], Awaitable[None]], kind: int, parts: set[str]
) -> None:
    """A write has one change, that names what changed and has the user before and after it; done again, it has none."""
    before = await service.user(public_metadata={"kept": 1})
    await write(service, before.id)
    await write(service, before.id)
    newest, _ = await history_of(service, before.id)
    assert (newest.kind, set(newest.changed_fields)) == (kind, parts)
    assert newest.before == before
    assert newest.after == await service.get(before.id)


async def test_unbanning(service: Service) -> None:
    """Lifting a ban is a kind of its own."""
    user = await service.user()
    await _ban(service, user.id)
    request = pb.UpdateUserRequest(user=User(id=user.id))
    request.update_mask.paths.append("banned")
    await service.admin.UpdateUser(request)
    assert kinds(await history_of(service, user.id)) == ["UNBANNED", "BANNED", "CREATED"]


async def test_the_users_own_write(service: Service) -> None:
    """What the user wrote names the user as its actor."""
    user = await service.user()
    own = service.frontend(await service.session(user.id))
    await own.UpdateUser(frontend_pb.UpdateUserRequest(user=OwnUser(first_name="Ada")))
    change = (await history_of(service, user.id))[0]
    assert (change.actor.audience, change.actor.principal) == ("frontend", f"user:{user.id}")


async def test_completing_a_sign_up(service: Service) -> None:
    """A user that a sign-up became says so."""
    sign_up = SignUp(email_address=f"{uuid.uuid4().hex}@example.com", unsafe_metadata=struct({"a": 1}))
    made = await service.frontend().CreateSignUp(frontend_pb.CreateSignUpRequest(sign_up=sign_up))
    holder = service.frontend(made.sign_up_token)
    done = await holder.CompleteSignUp(frontend_pb.CompleteSignUpRequest())
    (change,) = await history_of(service, done.user.id)
    assert change.kind == Kind.KIND_SIGN_UP_COMPLETED
    assert change.actor.principal == f"sign_up:{made.sign_up.id}"
    assert document(change.after.unsafe_metadata) == {"a": 1}


async def test_what_leaves_no_change(service: Service) -> None:
    """A write that changes nothing, is only tried, fails, or is a replay leaves none."""
    user = await service.user(public_metadata={"a": 1})
    given: dict[str, Any] = {"user_id": user.id, "public_metadata": struct({"a": 2})}
    await merge(service, user.id, public={"a": 1})
    await service.admin.MergeUserMetadata(pb.MergeUserMetadataRequest(**given, validate_only=True))
    etags = pb.MergeUserMetadataRequest(**given).expected_etags
    etags.public_metadata = "another"
    await refused(
        service.admin.MergeUserMetadata(pb.MergeUserMetadataRequest(**given, expected_etags=etags)), "ETAG_MISMATCH"
    )
    assert kinds(await history_of(service, user.id)) == ["CREATED"]
    asked = request_id()
    for _ in range(2):
        await service.admin.MergeUserMetadata(pb.MergeUserMetadataRequest(**given, request_id=asked))
    assert kinds(await history_of(service, user.id)) == ["METADATA_WRITTEN", "CREATED"]


async def test_pages(service: Service) -> None:
    """Pages hold all changes once, newest first; a token is good for its own list only."""
    user = await service.user()
    for number in range(7):
        await merge(service, user.id, private={"n": number})
    numbers: list[float] = []
    request = pb.ListUserChangesRequest(user_id=user.id, page_size=3)
    while True:
        page = await service.admin.ListUserChanges(request)
        assert len(page.changes) <= 3
        numbers += [change.after.private_metadata.fields["n"].number_value for change in page.changes]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert numbers == [6, 5, 4, 3, 2, 1, 0, 0]
    request.user_id = (await service.user()).id
    await refused(service.admin.ListUserChanges(request), "PAGE_TOKEN_INVALID")


async def test_a_page_ends_early_rather_than_pass_what_clients_receive(service: Service) -> None:
    """Large changes come in pages that a client with its library's defaults can receive, and all of them come."""
    user = await service.user()
    for number in range(30):
        await merge(service, user.id, **{name: {"l": [0] * 4000, "n": number} for name in ("public", "private")})
    request = pb.ListUserChangesRequest(user_id=user.id, page_size=1000)
    async with grpc.aio.insecure_channel(service.address) as channel:
        list_ = channel.unary_unary(
            "/usermeta.backend.v1.BackendService/ListUserChanges",
            request_serializer=pb.ListUserChangesRequest.SerializeToString,
            response_deserializer=pb.ListUserChangesResponse.FromString,
        )
        page = await list_(request, metadata=grpc.aio.Metadata(*bearer(service.admin_key)))
    assert 0 < len(page.changes) < 31
    assert len(await history_of(service, user.id)) == 31


async def test_an_unknown_user(service: Service) -> None:
    """A user that never was has no history."""
    await refused(service.admin.ListUserChanges(pb.ListUserChangesRequest(user_id="user_none")), "USER_NOT_FOUND")


# Restoring


async def _restore(service: Service, user_id: str, change_id: int, **fields: Any) -> User:  # noqa: ANN401  # of the request
    request = pb.RestoreUserMetadataRequest(user_id=user_id, change_id=change_id, **fields)
    return (await service.admin.RestoreUserMetadata(request)).user


async def test_restoring(service: Service) -> None:
    """The documents are again as they were right after the change; that is a change of its own."""
    user = await service.user(public_metadata={"a": 1}, private_metadata={"b": 1})
    await merge(service, user.id, public={"a": 2, "more": True}, private={"b": 2})
    _, created = await history_of(service, user.id)
    restored = await _restore(service, user.id, created.change_id)
    assert document(restored.public_metadata) == {"a": 1}
    assert document(restored.private_metadata) == {"b": 1}
    assert restored.metadata_etags.public_metadata != user.metadata_etags.public_metadata
    newest = (await history_of(service, user.id))[0]
    assert set(newest.changed_fields) == {"public_metadata", "private_metadata"}
    await _restore(service, user.id, created.change_id)
    assert len(await history_of(service, user.id)) == 3, "restoring what is there already leaves no change"


async def test_restoring_some_documents(service: Service) -> None:
    """Only the documents that are named are restored."""
    user = await service.user(public_metadata={"a": 1}, private_metadata={"b": 1})
    await merge(service, user.id, public={"a": 2}, private={"b": 2})
    created = (await history_of(service, user.id))[-1]
    restored = await _restore(service, user.id, created.change_id, documents=[2])
    assert document(restored.public_metadata) == {"a": 2}
    assert document(restored.private_metadata) == {"b": 1}


async def test_what_restoring_refuses(service: Service) -> None:
    """A change of somebody else, one that never was, an etag of before, a key that may only read."""
    user, other = await service.user(), await service.user()
    own, others = (await history_of(service, user.id))[0], (await history_of(service, other.id))[0]
    await refused(_restore(service, user.id, others.change_id), "CHANGE_NOT_FOUND")
    await refused(_restore(service, user.id, 1 << 60), "CHANGE_NOT_FOUND")
    await refused(_restore(service, "user_none", own.change_id), "USER_NOT_FOUND")
    await refused(_restore(service, user.id, own.change_id, documents=[99]), "FIELD_INVALID")
    await refused(_restore(service, user.id, 0), "FIELD_INVALID")
    mismatch = await refused(
        _restore(service, user.id, own.change_id, expected_etags={"unsafe_metadata": "another"}), "ETAG_MISMATCH"
    )
    assert mismatch.metadata == {"unsafe_metadata": user.metadata_etags.unsafe_metadata}
    reader = service.backend(await service.key(Scope.READ))
    request = pb.RestoreUserMetadataRequest(user_id=user.id, change_id=own.change_id)
    await refused(reader.RestoreUserMetadata(request), "SCOPE_INSUFFICIENT")
