"""`read_mask`: of every answer that has users, the fields that the request names, and no others."""

from collections.abc import Iterator
from typing import Any, Final

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from tests.history.support import watching
from tests.rpc.methods import MASKED, METHODS, MUTATING, Subject, call, credential, sample
from tests.rpc.requests import merge
from tests.support import BACKEND, DEADLINE, FRONTEND, Service, bearer, refused, request_id, struct
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1.user_pb2 import User as BackendUser
from usermeta.frontend.v1 import frontend_service_pb2 as frontend_pb
from usermeta.frontend.v1.user_pb2 import User as FrontendUser

USERS: Final = (BackendUser, FrontendUser)
ANSWERING: Final = [path for path in MASKED if not METHODS[path].streaming]
REPEATABLE: Final = [path for path in MASKED if path in MUTATING]


def users_in(message: Message) -> Iterator[Message]:
    """Yield the users that a message holds, at any depth."""
    if isinstance(message, USERS):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for each in value if field.is_repeated else [value]:
                yield from users_in(each)


def names(user: Message) -> set[str]:
    """Return the names of what a user has."""
    return {field.name for field, _ in user.ListFields()}


def masked(path: str, subject: Subject, *paths: str, **fields: Any) -> Message:  # noqa: ANN401  # any field
    """Return a valid request of an RPC that asks for these fields of users."""
    return sample(path, subject, read_mask=FieldMask(paths=paths), **fields)


@pytest.mark.parametrize("path", ANSWERING)
async def test_an_answer_has_the_fields_of_the_mask_only(service: Service, subject: Subject, path: str) -> None:
    metadata = bearer(credential(service, path, subject))
    reply = await call(service, path, masked(path, subject, "metadata_etags", "id"), metadata)
    users = list(users_in(reply))
    assert users
    assert [names(user) for user in users] == [{"id", "metadata_etags"}] * len(users)


@pytest.mark.parametrize("path", ANSWERING)
@pytest.mark.parametrize("paths", [(), ("*",)])
async def test_an_empty_mask_and_a_star_are_all(
    service: Service, subject: Subject, path: str, paths: tuple[str, ...]
) -> None:
    metadata = bearer(credential(service, path, subject))
    for user in users_in(await call(service, path, masked(path, subject, *paths), metadata)):
        assert {"id", "etag", "unsafe_metadata", "metadata_etags", "create_time"} <= names(user)


@pytest.mark.parametrize("path", MASKED)
async def test_a_mask_names_top_level_fields_of_what_the_caller_sees(
    service: Service, subject: Subject, path: str
) -> None:
    hidden = ["nonsense", "metadata_etags.unsafe_metadata"]
    if not METHODS[path].for_backends:
        hidden += ["private_metadata", "external_id", "banned"]
    metadata = bearer(credential(service, path, subject))
    for name in hidden:
        refusal = await refused(call(service, path, masked(path, subject, "id", name), metadata), "FIELD_INVALID")
        assert refusal.fields == ("read_mask",)
        assert name in refusal.message


@pytest.mark.parametrize("path", REPEATABLE)
async def test_a_request_id_does_not_stand_for_the_mask(service: Service, subject: Subject, path: str) -> None:
    """Whoever asks again may ask for more of the user, or for less."""
    metadata = bearer(credential(service, path, subject))
    request: Any = masked(path, subject, "id", request_id=request_id())
    (few,) = users_in(await call(service, path, request, metadata))
    request.ClearField("read_mask")
    (all_of_it,) = users_in(await call(service, path, request, metadata))
    assert names(few) == {"id"}
    assert {"id", "etag", "unsafe_metadata"} <= names(all_of_it)


async def test_a_user_of_whom_the_mask_names_nothing_that_is_set_is_still_there(service: Service) -> None:
    """In lists and batches, where a user that is left out would shift the others."""
    marked = request_id()
    made = [await service.user(last_name=marked, first_name=name) for name in ("", "Ada", "")]
    mask = FieldMask(paths=["first_name"])
    listed = pb.ListUsersRequest(filter=f'last_name = "{marked}"', read_mask=mask)
    assert [user.first_name for user in (await service.admin.ListUsers(listed)).users] == ["", "Ada", ""]
    ids = [user.id for user in made]
    fetched = await service.admin.BatchGetUsers(pb.BatchGetUsersRequest(user_ids=ids, read_mask=mask))
    assert [user.first_name for user in fetched.users] == ["", "Ada", ""]
    merges = [merge(user_id, public_metadata={"a": 1}) for user_id in ids]
    written = await service.admin.BatchMergeUserMetadata(
        pb.BatchMergeUserMetadataRequest(requests=merges, read_mask=mask)
    )
    assert [result.WhichOneof("outcome") for result in written.results] == ["user"] * 3


async def test_a_user_that_has_nothing_of_the_mask_is_there_too(service: Service) -> None:
    """A trial makes no times."""
    request = pb.CreateUserRequest(validate_only=True, read_mask=FieldMask(paths=["create_time"]))
    assert (await service.admin.CreateUser(request)).HasField("user")


async def test_an_item_of_a_batch_has_no_mask_of_its_own(service: Service, subject: Subject) -> None:
    item = merge(subject.user_id, public_metadata={"a": 1})
    item.read_mask.paths.append("id")
    batch = pb.BatchMergeUserMetadataRequest(requests=[item])
    refusal = await refused(service.admin.BatchMergeUserMetadata(batch), "FIELD_INVALID")
    assert refusal.fields == ("requests[0].read_mask",)


async def test_a_trial_answers_by_the_mask_too(service: Service, subject: Subject) -> None:
    path = f"{BACKEND}MergeUserMetadata"
    request = masked(path, subject, "public_metadata", validate_only=True)
    (user,) = users_in(await call(service, path, request, bearer(service.admin_key)))
    assert names(user) == {"public_metadata"}


async def test_a_watch_sends_every_change_with_the_masks_fields_of_its_users(
    service: Service, subject: Subject
) -> None:
    """Two watchers of different masks are each told by their own, and a third one everything."""
    few, other = FieldMask(paths=["id", "last_name"]), FieldMask(paths=["metadata_etags"])
    async with (
        watching(service, read_mask=few) as first,
        watching(service, read_mask=other) as second,
        watching(service) as third,
    ):
        await service.admin.MergeUserMetadata(merge(subject.user_id, public_metadata={"watched": 1}))
        told = [(await watcher.changes(1))[0] for watcher in (first, second, third)]
    assert [(names(each.before), names(each.after)) for each in told[:2]] == [
        ({"id"}, {"id"}),
        ({"metadata_etags"}, {"metadata_etags"}),
    ]
    assert told[0].changed_fields == ["public_metadata"]
    assert told[2].after == await service.get(subject.user_id)


async def test_a_snapshot_goes_by_the_mask(service: Service, subject: Subject) -> None:
    asked: dict[str, Any] = {
        "filter": f'id = "{subject.user_id}"',
        "include_snapshot": True,
        "read_mask": FieldMask(paths=["id"]),
    }
    async with watching(service, **asked) as watcher:
        (only,) = await watcher.snapshot()
    assert (names(only.user), only.user.id) == ({"id"}, subject.user_id)


async def test_ones_own_watch_goes_by_the_mask(service: Service, subject: Subject) -> None:
    """It sends whenever something visible changes, of the mask or not."""
    mask = FieldMask(paths=["id", "public_metadata"])
    own: Any = service.channel.unary_stream(
        f"{FRONTEND}WatchUser",
        request_serializer=frontend_pb.WatchUserRequest.SerializeToString,
        response_deserializer=frontend_pb.WatchUserResponse.FromString,
    )(frontend_pb.WatchUserRequest(read_mask=mask), metadata=bearer(subject.session), timeout=DEADLINE)
    assert names((await own.read()).user) == {"id", "public_metadata"}
    merging = frontend_pb.MergeUserMetadataRequest(unsafe_metadata=struct({"seen": 1}))
    await service.frontend(subject.session).MergeUserMetadata(merging)
    assert names((await own.read()).user) == {"id", "public_metadata"}
    own.cancel()
