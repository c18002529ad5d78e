"""BatchMergeUserMetadata: order, what an item's failure does, atomic and not, and what is the batch's alone."""

from typing import Any

import grpc
import pytest

from tests.rpc.methods import Subject
from tests.rpc.requests import merge
from tests.support import Service, document, read_status, refused, request_id
from usermeta.backend.v1 import backend_service_pb2 as pb

TOO_BIG = {"big": "x" * 9000}


def batch(*items: pb.MergeUserMetadataRequest, **fields: Any) -> pb.BatchMergeUserMetadataRequest:  # noqa: ANN401
    """Make a batch."""
    return pb.BatchMergeUserMetadataRequest(requests=items, **fields)


async def public(service: Service, user_id: str) -> Any:  # noqa: ANN401  # any JSON
    """Return a user's public document."""
    return document((await service.get(user_id)).public_metadata)


async def test_items_are_written_in_order_and_see_earlier_ones(service: Service, subject: Subject) -> None:
    other = await service.user()
    items = [
        merge(subject.user_id, public_metadata={"a": 1, "b": 1}),
        merge(other.id, public_metadata={"a": 1}),
        merge(subject.user_id, public_metadata={"a": 2, "b": None}),
    ]
    results = (await service.admin.BatchMergeUserMetadata(batch(*items))).results
    assert [result.user.id for result in results] == [subject.user_id, other.id, subject.user_id]
    assert document(results[0].user.public_metadata) == {"plan": "pro", "a": 1, "b": 1}
    assert document(results[2].user.public_metadata) == {"plan": "pro", "a": 2}
    assert await service.get(subject.user_id) == results[2].user


async def test_an_item_may_expect_the_etag_that_an_earlier_one_left_alone(service: Service, subject: Subject) -> None:
    etags = (await service.get(subject.user_id)).metadata_etags
    items = [merge(subject.user_id, public_metadata={"a": 1}) for _ in range(2)]
    for item in items:
        item.expected_etags.public_metadata = etags.public_metadata
    first, second = (await service.admin.BatchMergeUserMetadata(batch(*items))).results
    refusal = read_status(second.status)
    assert refusal.reason == "ETAG_MISMATCH"
    assert refusal.metadata == {"public_metadata": first.user.metadata_etags.public_metadata, "index": "1"}


async def test_a_failing_item_harms_no_other(service: Service, subject: Subject) -> None:
    nothing = pb.MergeUserMetadataRequest(user_id=subject.user_id)
    items = [
        merge(subject.user_id, public_metadata={"a": 1}),
        merge("user_nobody", public_metadata={"a": 1}),
        merge(subject.user_id, private_metadata={"no": 1}, unsafe_metadata=TOO_BIG),
        nothing,
        merge("", public_metadata={"a": 1}),
        merge(subject.user_id, public_metadata={"b": 2}),
    ]
    results = (await service.admin.BatchMergeUserMetadata(batch(*items))).results
    assert [result.WhichOneof("outcome") for result in results] == ["user", *["status"] * 4, "user"]
    refusals = [read_status(result.status) for result in results[1:5]]
    reasons = [refusal.reason for refusal in refusals]
    assert reasons == ["USER_NOT_FOUND", "METADATA_TOO_LARGE", "FIELD_INVALID", "FIELD_INVALID"]
    assert [refusal.metadata["index"] for refusal in refusals] == ["1", "2", "3", "4"]
    assert refusals[1].fields == ("requests[2].unsafe_metadata",)
    assert refusals[3].fields == ("requests[4].user_id",)
    after = await service.get(subject.user_id)
    assert document(after.public_metadata) == {"plan": "pro", "a": 1, "b": 2}
    assert "no" not in after.private_metadata


@pytest.mark.parametrize(
    ("bad", "code", "reason"),
    [
        (merge("user_nobody", public_metadata={"a": 1}), grpc.StatusCode.NOT_FOUND, "USER_NOT_FOUND"),
        (merge("", public_metadata={"a": 1}), grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"),
        (merge("user_nobody"), grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"),
    ],
)
async def test_an_atomic_batch_fails_as_its_first_failing_item_does(
    service: Service, subject: Subject, bad: pb.MergeUserMetadataRequest, code: grpc.StatusCode, reason: str
) -> None:
    items = [
        merge(subject.user_id, public_metadata={"a": 1}),
        bad,
        merge(subject.user_id, public_metadata=TOO_BIG),
    ]
    refusal = await refused(service.admin.BatchMergeUserMetadata(batch(*items, atomic=True)), reason)
    assert refusal.code is code
    assert refusal.metadata["index"] == "1"
    assert all(field.startswith("requests[1].") for field in refusal.fields)
    assert await public(service, subject.user_id) == {"plan": "pro"}


async def test_an_atomic_batch_without_a_failing_item_is_written(service: Service, subject: Subject) -> None:
    items = [merge(subject.user_id, public_metadata={name: 1}) for name in "ab"]
    results = (await service.admin.BatchMergeUserMetadata(batch(*items, atomic=True))).results
    assert len(results) == 2
    assert await public(service, subject.user_id) == {"plan": "pro", "a": 1, "b": 1}


@pytest.mark.parametrize("atomic", [False, True])
@pytest.mark.parametrize(
    ("name", "value"), [("request_id", "5f0c4f0e-8d2b-4f5c-9a55-0d8f1c1f2a3b"), ("validate_only", True)]
)
async def test_what_is_the_batchs_is_refused_on_an_item(
    service: Service, subject: Subject, name: str, *, value: str | bool, atomic: bool
) -> None:
    items = [merge(subject.user_id, public_metadata={"a": 1}) for _ in range(2)]
    setattr(items[1], name, value)
    refusal = await refused(service.admin.BatchMergeUserMetadata(batch(*items, atomic=atomic)), "FIELD_INVALID")
    assert refusal.fields == (f"requests[1].{name}",)
    assert await public(service, subject.user_id) == {"plan": "pro"}


@pytest.mark.parametrize("count", [0, 101])
async def test_a_batch_has_1_to_100_items(service: Service, subject: Subject, count: int) -> None:
    items = [merge(subject.user_id, public_metadata={"a": 1})] * count
    refusal = await refused(service.admin.BatchMergeUserMetadata(batch(*items)), "FIELD_INVALID")
    assert refusal.fields == ("requests",)


async def test_a_hundred_items_are_a_batch(service: Service, subject: Subject) -> None:
    items = [merge(subject.user_id, public_metadata={str(index): index}) for index in range(100)]
    results = (await service.admin.BatchMergeUserMetadata(batch(*items))).results
    assert len(results) == 100
    assert len(await public(service, subject.user_id)) == 101


@pytest.mark.parametrize("atomic", [False, True])
async def test_a_replay_of_a_batch_writes_nothing_and_returns_users_as_they_are(
    service: Service, subject: Subject, *, atomic: bool
) -> None:
    other = await service.user()
    items = [merge(subject.user_id, public_metadata={"a": 1}), merge(other.id, public_metadata={"a": 1})]
    request = batch(*items, atomic=atomic, request_id=request_id())
    await service.admin.BatchMergeUserMetadata(request)
    later = (await service.admin.MergeUserMetadata(merge(other.id, public_metadata={"a": 3}))).user
    results = (await service.admin.BatchMergeUserMetadata(request)).results
    assert [result.user for result in results] == [await service.get(subject.user_id), later]


async def test_a_replay_of_a_batch_keeps_why_an_item_failed(service: Service, subject: Subject) -> None:
    """Also when the item would succeed by now: what happened, happened once."""
    late = f"user_late-{subject.user_id[5:]}"
    items = [merge(late, public_metadata={"a": 1}), merge(subject.user_id, public_metadata={"a": 1})]
    request = batch(*items, request_id=request_id())
    await service.admin.BatchMergeUserMetadata(request)
    await service.admin.CreateUser(pb.CreateUserRequest(user_id=late))
    first, second = (await service.admin.BatchMergeUserMetadata(request)).results
    refusal = read_status(first.status)
    assert (refusal.reason, refusal.metadata.get("index")) == ("USER_NOT_FOUND", "0")
    assert second.user.id == subject.user_id
    assert await public(service, late) == {}


async def test_a_replay_of_a_batch_still_says_what_was_wrong_with_an_item(service: Service, subject: Subject) -> None:
    request = batch(merge(subject.user_id, public_metadata=TOO_BIG), request_id=request_id())
    first = read_status((await service.admin.BatchMergeUserMetadata(request)).results[0].status)
    again = read_status((await service.admin.BatchMergeUserMetadata(request)).results[0].status)
    assert (again.code, again.reason, again.metadata["index"]) == (first.code, first.reason, "0")


async def test_a_replay_of_a_batch_says_who_was_erased_since(service: Service, subject: Subject) -> None:
    request = batch(merge(subject.user_id, public_metadata={"a": 1}), request_id=request_id())
    await service.admin.BatchMergeUserMetadata(request)
    await service.admin.DeleteUser(pb.DeleteUserRequest(user_id=subject.user_id))
    (result,) = (await service.admin.BatchMergeUserMetadata(request)).results
    refusal = read_status(result.status)
    assert (refusal.reason, refusal.metadata.get("index")) == ("USER_NOT_FOUND", "0")
