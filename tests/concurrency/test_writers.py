"""Many callers at once, over a real channel: nothing is lost, nothing happens twice, nothing is left half done."""

import asyncio
import random
from collections.abc import Awaitable, Iterable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.struct_pb2 import Value

from tests.support import Service, document, read_error, refused, request_id, serving, settings, struct
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1.user_pb2 import User
from usermeta.type.v1.patch_pb2 import PatchOperation


def merge(user_id: str, **documents: Any) -> pb.MergeUserMetadataRequest:  # noqa: ANN401  # JSON objects
    patches = {name: struct(value) for name, value in documents.items()}
    return pb.MergeUserMetadataRequest(user_id=user_id, **patches)  # type: ignore[arg-type]  # documents only


def increment(user_id: str, known_as: str = "") -> pb.PatchUserMetadataRequest:
    operation = PatchOperation(op=PatchOperation.OP_INCREMENT, path="/count", value=Value(number_value=1))
    return pb.PatchUserMetadataRequest(user_id=user_id, private_metadata=[operation], request_id=known_as)


async def outcomes(calls: Iterable[Awaitable[Any]]) -> tuple[list[Any], list[grpc.aio.AioRpcError]]:
    """Await calls that were made at once, and return the replies and the errors."""
    ended = await asyncio.gather(*calls, return_exceptions=True)
    errors = [each for each in ended if isinstance(each, grpc.aio.AioRpcError)]
    replies = [each for each in ended if not isinstance(each, BaseException)]
    assert len(replies) + len(errors) == len(ended), ended
    return replies, errors


async def test_merges_of_different_keys_are_all_there(service: Service) -> None:
    """200 callers merge a key each into one document, without etags."""
    user = await service.user()
    keys = {f"key_{number}": number for number in range(200)}
    calls = [service.admin.MergeUserMetadata(merge(user.id, public_metadata={key: keys[key]})) for key in keys]
    replies, errors = await outcomes(calls)
    assert errors == []
    assert document((await service.get(user.id)).public_metadata) == keys
    assert len({reply.user.metadata_etags.public_metadata for reply in replies}) == 200


async def test_increments_are_all_counted(service: Service) -> None:
    """200 callers increment one number: each sees a count of its own, and the last is 200."""
    user = await service.user()
    replies, errors = await outcomes(service.admin.PatchUserMetadata(increment(user.id)) for _ in range(200))
    assert errors == []
    assert sorted(document(reply.user.private_metadata)["count"] for reply in replies) == list(range(1, 201))  # type: ignore[type-var]  # numbers
    assert document((await service.get(user.id)).private_metadata) == {"count": 200}


async def test_of_writers_that_expect_one_etag_one_succeeds(service: Service) -> None:
    """50 callers expect the same etag: the others are told the etag that the one made."""
    user = await service.user(public_metadata={"writer": -1})
    requests = [merge(user.id, public_metadata={"writer": number}) for number in range(50)]
    for request in requests:
        request.expected_etags.public_metadata = user.metadata_etags.public_metadata
    (reply,), errors = await outcomes(map(service.admin.MergeUserMetadata, requests))
    refusals = [read_error(error) for error in errors]
    assert len(refusals) == 49
    current = {"public_metadata": reply.user.metadata_etags.public_metadata}
    told = {(each.code, each.reason, tuple(each.metadata.items())) for each in refusals}
    assert told == {(grpc.StatusCode.ABORTED, "ETAG_MISMATCH", tuple(current.items()))}
    assert (await service.get(user.id)) == reply.user


async def test_of_creations_with_one_name_one_succeeds(service: Service) -> None:
    """50 callers want the same username: one has it, and the others are told which field is taken."""
    name = f"wanted {request_id()}"
    requests = [pb.CreateUserRequest(user=User(username=name, first_name=str(number))) for number in range(50)]
    (reply,), errors = await outcomes(map(service.admin.CreateUser, requests))
    refusals = {(each.code, each.reason, each.metadata["field"]) for each in map(read_error, errors)}
    assert len(errors) == 49
    assert refusals == {(grpc.StatusCode.ALREADY_EXISTS, "IDENTIFIER_TAKEN", "user.username")}
    assert (await service.admin.GetUser(pb.GetUserRequest(username=name.upper()))).user == reply.user


async def test_one_request_id_writes_once_however_many_send_it(service: Service) -> None:
    """50 equal requests at once under one id: one increment, and every caller gets the user."""
    user = await service.user()
    request = increment(user.id, request_id())
    replies, errors = await outcomes(service.admin.PatchUserMetadata(request) for _ in range(50))
    assert errors == []
    now = await service.get(user.id)
    assert document(now.private_metadata) == {"count": 1}
    assert all(reply.user == now for reply in replies)


async def test_one_request_id_makes_one_user(service: Service) -> None:
    """50 equal creations at once under one id return one user, although it has no unique name."""
    request = pb.CreateUserRequest(user=User(first_name="Ada"), request_id=request_id())
    replies, errors = await outcomes(service.admin.CreateUser(request) for _ in range(50))
    assert errors == []
    assert len({reply.user.id for reply in replies}) == 1


async def test_a_replay_after_a_restart_writes_nothing(tmp_path: Path) -> None:
    """A request that was acknowledged before is recognised by the next server: it returns the user as it is now."""
    async with serving(settings(tmp_path)) as first:
        user = await first.user()
        request = increment(user.id, request_id())
        await first.admin.PatchUserMetadata(request)
        await first.admin.PatchUserMetadata(increment(user.id))
        key = first.admin_key
    async with serving(settings(tmp_path)) as second:
        stub = second.backend(key)
        replayed = (await stub.PatchUserMetadata(request)).user
        assert document(replayed.private_metadata) == {"count": 2}
        assert replayed == await second.get(user.id)
        other = increment(user.id, request.request_id)
        other.private_metadata[0].value.number_value = 2
        await refused(stub.PatchUserMetadata(other), "REQUEST_ID_REUSED")
        # Another principal's ids are its own.
        counted = (await second.admin.PatchUserMetadata(request)).user
        assert document(counted.private_metadata) == {"count": 3}


async def test_callers_that_go_away_harm_nobody(service: Service) -> None:
    """Of 1,000 writes many are cancelled or time out: each is there whole or not at all, and the acknowledged are."""
    chance = random.Random(1)  # noqa: S311  # a schedule, not a secret
    user_ids = [(await service.user()).id for _ in range(10)]
    send = service.admin.MergeUserMetadata
    room = asyncio.Semaphore(150)  # a connection takes 1,000 calls at once, and is slow to forget those that left

    async def write(number: int, fate: str) -> bool:
        async with room:
            return await attempt(number, fate)

    async def attempt(number: int, fate: str) -> bool:
        key = {f"key_{number}": number}
        request = merge(user_ids[number % 10], public_metadata=key, private_metadata=key, unsafe_metadata=key)
        call = send(request, timeout=chance.uniform(0.001, 0.1)) if fate == "times out" else send(request)
        if fate == "is cancelled":
            asyncio.get_running_loop().call_later(chance.uniform(0, 0.1), call.cancel)
        try:
            await call
        except asyncio.CancelledError:
            return False
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                raise
            return False
        return True

    fates = [chance.choice(("stays", "times out", "is cancelled")) for _ in range(1000)]
    acknowledged = await asyncio.gather(*(write(number, fate) for number, fate in enumerate(fates)))
    assert all(done for done, fate in zip(acknowledged, fates, strict=True) if fate == "stays")
    assert not all(acknowledged)
    # These come after whatever is still under way, for writes are in order.
    users = [(await send(merge(user_id, public_metadata={"last": True}))).user for user_id in user_ids]
    for user in users:
        assert document(user.public_metadata).pop("last") is True
        del user.public_metadata.fields["last"]
        assert user.public_metadata == user.private_metadata == user.unsafe_metadata
    for number, done in enumerate(acknowledged):
        assert not done or f"key_{number}" in users[number % 10].public_metadata.fields


@pytest.mark.parametrize("part", ["public_metadata", "private_metadata", "unsafe_metadata"])
async def test_readers_never_see_a_write_undone(service: Service, part: str) -> None:
    """While one caller counts up others read: for each of them, and after each reply, counts only grow."""
    user = await service.user()
    acknowledged = 0

    async def write() -> int:
        nonlocal acknowledged
        for number in range(1, 101):
            reply = await service.admin.MergeUserMetadata(merge(user.id, **{part: {"count": number}}))
            assert document(getattr(reply.user, part)) == {"count": number}
            acknowledged = number
        return acknowledged

    async def read() -> int:
        counts = [0]
        while counts[-1] < 100:
            floor = max(acknowledged, counts[-1])
            counts.append(int(getattr(await service.get(user.id), part).fields["count"].number_value))
            assert counts[-1] >= floor
        return len(set(counts))

    _, *seen = await asyncio.gather(write(), *(read() for _ in range(8)))
    assert max(seen) > 10
