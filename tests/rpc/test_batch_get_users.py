"""BatchGetUsers: order, what is missing, what is deferred, and read masks."""

from typing import Final

import pytest

from tests.support import Service, document, refused
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.frontend.v1 import frontend_service_pb2 as frontend_pb

MIB: Final = 1 << 20


async def test_users_come_in_the_order_of_the_request(service: Service) -> None:
    users = [await service.user(first_name=str(index)) for index in range(4)]
    order = [users[3], users[0], users[2], users[1]]
    asked = [order[0].id, "user_no", order[1].id, order[2].id, "", order[3].id]
    reply = await service.admin.BatchGetUsers(pb.BatchGetUsersRequest(user_ids=asked))
    assert list(reply.users) == order
    assert list(reply.missing_user_ids) == ["user_no", ""]
    assert not reply.deferred_user_ids


@pytest.mark.parametrize("count", [0, 101])
async def test_a_batch_has_1_to_100_ids(service: Service, count: int) -> None:
    request = pb.BatchGetUsersRequest(user_ids=["user_no"] * count)
    refusal = await refused(service.admin.BatchGetUsers(request), "FIELD_INVALID")
    assert refusal.fields == ("user_ids",)


async def test_a_hundred_ids_are_a_batch(service: Service) -> None:
    ids = [f"user_{index}" for index in range(100)]
    reply = await service.admin.BatchGetUsers(pb.BatchGetUsersRequest(user_ids=ids))
    assert list(reply.missing_user_ids) == ids


@pytest.mark.parametrize("paths", [["first_name"], ["private_metadata", "id"], ["metadata_etags"], ["create_time"]])
async def test_a_read_mask_leaves_the_other_fields_away(service: Service, paths: list[str]) -> None:
    user = await service.user(first_name="Ada", last_name="Lovelace", private_metadata={"a": 1})
    request = pb.BatchGetUsersRequest(user_ids=[user.id])
    request.read_mask.paths.extend(paths)
    (read,) = (await service.admin.BatchGetUsers(request)).users
    assert sorted(field.name for field, _ in read.ListFields()) == sorted(paths)
    assert all(getattr(read, name) == getattr(user, name) for name in paths)


async def test_a_star_reads_every_field(service: Service) -> None:
    user = await service.user(first_name="Ada")
    request = pb.BatchGetUsersRequest(user_ids=[user.id])
    request.read_mask.paths.append("*")
    assert list((await service.admin.BatchGetUsers(request)).users) == [user]


@pytest.mark.parametrize("path", ["nonsense", "private_metadata.secret", "metadata_etags.public_metadata", ""])
async def test_a_read_mask_names_top_level_fields_only(service: Service, path: str) -> None:
    request = pb.BatchGetUsersRequest(user_ids=["user_no"])
    request.read_mask.paths.append(path)
    refusal = await refused(service.admin.BatchGetUsers(request), "FIELD_INVALID")
    assert refusal.fields == ("read_mask",)


async def test_a_reply_past_3_mib_ends_early_and_says_who_is_left(service: Service) -> None:
    """A list of small numbers takes five times its JSON on the wire."""
    wide = {"n": [1] * 4000}
    users = [await service.user(public_metadata=wide, private_metadata=wide, unsafe_metadata=wide) for _ in range(26)]
    waiting, seen, calls = [user.id for user in users], [], 0
    while waiting:
        reply = await service.admin.BatchGetUsers(pb.BatchGetUsersRequest(user_ids=waiting))
        assert reply.users
        assert reply.ByteSize() <= 3 * MIB
        seen += [user.id for user in reply.users]
        waiting = list(reply.deferred_user_ids)
        calls += 1
    assert seen == [user.id for user in users]
    assert calls == 2
    await _profiles_are_deferred_too(service, seen)
    await _a_batch_of_merges_is_deferred_too(service, seen)


async def _profiles_are_deferred_too(service: Service, user_ids: list[str]) -> None:
    asked = (user_ids * 4)[:100]
    reply = await service.frontend().BatchGetProfiles(frontend_pb.BatchGetProfilesRequest(user_ids=asked))
    assert reply.ByteSize() <= 3 * MIB
    assert reply.deferred_user_ids
    assert [profile.user_id for profile in reply.profiles] + list(reply.deferred_user_ids) == asked


async def _a_batch_of_merges_is_deferred_too(service: Service, user_ids: list[str]) -> None:
    request = pb.BatchMergeUserMetadataRequest()
    for user_id in user_ids:
        request.requests.add(user_id=user_id).public_metadata.update({"seen": True})
    results = (await service.admin.BatchMergeUserMetadata(request)).results
    kinds = [str(result.WhichOneof("outcome")) for result in results]
    assert kinds == sorted(kinds, reverse=True)
    assert set(kinds) == {"user", "deferred_user_id"}
    assert results[-1].deferred_user_id == user_ids[-1]
    assert document((await service.get(user_ids[-1])).public_metadata)["seen"] is True
