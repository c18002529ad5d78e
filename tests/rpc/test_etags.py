"""Etags and times: what moves them, what never does, and what a write that expects them is told."""

import asyncio
from typing import Any, Final

import grpc
import pytest

from tests.rpc.methods import Subject
from tests.rpc.requests import merge, patch, replace
from tests.support import Service, document, refused, struct
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1.user_pb2 import User
from usermeta.frontend.v1 import frontend_service_pb2 as frontend_pb
from usermeta.frontend.v1.user_pb2 import User as FrontendUser

DOCUMENTS: Final = ("public_metadata", "private_metadata", "unsafe_metadata")


def etags(user: User | FrontendUser) -> dict[str, str]:
    """Return the etags of a user: the profile's and each document's."""
    found = {field.name: value for field, value in user.metadata_etags.ListFields()}
    return {**found, "profile": user.etag}


async def seen(service: Service, subject: Subject) -> FrontendUser:
    """Return a user as they see themself."""
    return (await service.frontend(subject.session).GetUser(frontend_pb.GetUserRequest())).user


def moved(before: User | FrontendUser, after: User | FrontendUser) -> set[str]:
    """Return which etags differ, and `time` if the time of change does."""
    changed = {name for name, etag in etags(after).items() if etags(before)[name] != etag}
    return changed | ({"time"} if before.update_time != after.update_time else set())


def updated(subject: Subject, **fields: Any) -> pb.UpdateUserRequest:  # noqa: ANN401  # any field
    """Make a request that changes a user's profile."""
    return pb.UpdateUserRequest(user=User(id=subject.user_id, **fields))


CHANGES: Final[dict[str, tuple[dict[str, Any], set[str], set[str]]]] = {
    # what is written:        as a backend sees it move,      and as the user does
    "public_metadata": ({"x": 1}, {"public_metadata", "time"}, {"public_metadata", "time"}),
    "private_metadata": ({"x": 1}, {"private_metadata", "time"}, set()),
    "unsafe_metadata": ({"x": 1}, {"unsafe_metadata", "time"}, {"unsafe_metadata", "time"}),
}


@pytest.mark.parametrize("name", CHANGES)
async def test_a_document_moves_its_own_etag_and_only_where_it_is_seen(
    service: Service, subject: Subject, name: str
) -> None:
    change, for_backends, for_the_user = CHANGES[name]
    before, seen_before = await service.get(subject.user_id), await seen(service, subject)
    after = (await service.admin.MergeUserMetadata(merge(subject.user_id, **{name: change}))).user
    assert moved(before, after) == for_backends
    assert moved(seen_before, await seen(service, subject)) == for_the_user


@pytest.mark.parametrize(
    ("fields", "visible"),
    [
        ({"first_name": "Augusta"}, True),
        ({"email_address_verified": True}, True),
        ({"external_id": "idp|moved"}, False),
        ({"external_id": "idp|moved too", "last_name": "Byron"}, True),
    ],
)
async def test_a_profile_field_moves_the_profiles_etag_and_only_where_it_is_seen(
    service: Service, subject: Subject, fields: dict[str, Any], *, visible: bool
) -> None:
    before, seen_before = await service.get(subject.user_id), await seen(service, subject)
    after = (await service.admin.UpdateUser(updated(subject, **fields))).user
    assert moved(before, after) == {"profile", "time"}
    assert moved(seen_before, await seen(service, subject)) == ({"profile", "time"} if visible else set())


async def test_a_ban_never_shows(service: Service, subject: Subject) -> None:
    before, seen_before = await service.get(subject.user_id), await seen(service, subject)
    after = (await service.admin.UpdateUser(updated(subject, banned=True))).user
    assert moved(before, after) == {"profile", "time"}
    lifted = pb.UpdateUserRequest(user=User(id=subject.user_id))
    lifted.update_mask.paths.append("banned")
    await service.admin.UpdateUser(lifted)
    assert await seen(service, subject) == seen_before


async def test_a_frontend_never_sees_a_backends_etag(service: Service, subject: Subject) -> None:
    assert (await seen(service, subject)).etag != (await service.get(subject.user_id)).etag


async def test_a_write_that_changes_nothing_keeps_etags_and_times(service: Service, subject: Subject) -> None:
    before = await service.get(subject.user_id)
    nothing: list[Any] = [
        service.admin.MergeUserMetadata(merge(subject.user_id, public_metadata={"plan": "pro", "no": None})),
        service.admin.ReplaceUserMetadata(replace(subject.user_id, public_metadata={"plan": "pro"})),
        service.admin.PatchUserMetadata(
            patch(subject.user_id, public_metadata=[{"op": "test", "path": "/plan", "value": "pro"}])
        ),
        service.admin.UpdateUser(updated(subject, external_id=before.external_id)),
        service.admin.UpdateUser(updated(subject)),
    ]
    for call in nothing:
        assert (await call).user == before


async def test_an_etag_never_returns(service: Service, subject: Subject) -> None:
    """Not even when the content does."""
    known = {(await service.get(subject.user_id)).metadata_etags.public_metadata}
    for plan in ("free", "pro", "free", "pro"):
        user = (await service.admin.MergeUserMetadata(merge(subject.user_id, public_metadata={"plan": plan}))).user
        assert user.metadata_etags.public_metadata not in known
        known.add(user.metadata_etags.public_metadata)


async def test_true_over_one_is_a_change(service: Service, subject: Subject) -> None:
    one = (await service.admin.ReplaceUserMetadata(replace(subject.user_id, public_metadata={"a": 1}))).user
    true = (await service.admin.ReplaceUserMetadata(replace(subject.user_id, public_metadata={"a": True}))).user
    assert document(true.public_metadata)["a"] is True
    assert moved(one, true) >= {"public_metadata"}


# Expected etags


def backend_writes(subject: Subject) -> list[Any]:
    """Return a request of each kind that writes a public document."""
    steps: list[Any] = [{"op": "add", "path": "/x", "value": 1}]
    return [
        merge(subject.user_id, public_metadata={"x": 1}),
        replace(subject.user_id, public_metadata={"x": 1}),
        patch(subject.user_id, public_metadata=steps),
    ]


@pytest.mark.parametrize("verb", [0, 1, 2])
@pytest.mark.parametrize("name", DOCUMENTS)
async def test_a_write_may_expect_the_etag_of_any_document(
    service: Service, subject: Subject, name: str, verb: int
) -> None:
    """Of documents that it does not write, too; the mismatch names the document and its current etag."""
    before = await service.get(subject.user_id)
    request = backend_writes(subject)[verb]
    call = getattr(service.admin, type(request).__name__.removesuffix("Request"))
    setattr(request.expected_etags, name, "stale")
    refusal = await refused(call(request), "ETAG_MISMATCH")
    assert refusal.code is grpc.StatusCode.ABORTED
    assert refusal.metadata == {name: getattr(before.metadata_etags, name)}
    assert await service.get(subject.user_id) == before
    setattr(request.expected_etags, name, refusal.metadata[name])
    assert (await call(request)).user.metadata_etags.public_metadata != before.metadata_etags.public_metadata


async def test_a_mismatch_names_every_document_that_does_not_match(service: Service, subject: Subject) -> None:
    before = await service.get(subject.user_id)
    request = merge(subject.user_id, unsafe_metadata={"x": 1})
    request.expected_etags.public_metadata = "stale"
    request.expected_etags.private_metadata = before.metadata_etags.private_metadata
    request.expected_etags.unsafe_metadata = before.metadata_etags.public_metadata
    refusal = await refused(service.admin.MergeUserMetadata(request), "ETAG_MISMATCH")
    assert refusal.metadata == {
        "public_metadata": before.metadata_etags.public_metadata,
        "unsafe_metadata": before.metadata_etags.unsafe_metadata,
    }


FRONTEND_WRITES: Final = ("MergeUserMetadata", "ReplaceUserMetadata", "PatchUserMetadata")


@pytest.mark.parametrize("name", FRONTEND_WRITES)
async def test_a_frontend_expects_the_etag_of_its_document(service: Service, subject: Subject, name: str) -> None:
    before = await seen(service, subject)
    request = getattr(frontend_pb, f"{name}Request")(expected_etag="stale")
    if name == "PatchUserMetadata":
        request.unsafe_metadata.extend(
            patch("", unsafe_metadata=[{"op": "add", "path": "/x", "value": 1}]).unsafe_metadata
        )
    else:
        request.unsafe_metadata.CopyFrom(struct({"x": 1}))
    call = getattr(service.frontend(subject.session), name)
    refusal = await refused(call(request), "ETAG_MISMATCH")
    assert refusal.metadata == {"unsafe_metadata": before.metadata_etags.unsafe_metadata}
    request.expected_etag = before.metadata_etags.unsafe_metadata
    assert document((await call(request)).user.unsafe_metadata)["x"] == 1


async def test_an_update_may_expect_the_profiles_etag(service: Service, subject: Subject) -> None:
    before = await service.get(subject.user_id)
    request = updated(subject, first_name="Augusta")
    request.expected_etag = "stale"
    refusal = await refused(service.admin.UpdateUser(request), "ETAG_MISMATCH")
    assert refusal.metadata == {"profile": before.etag}
    request.expected_etag = before.etag
    assert (await service.admin.UpdateUser(request)).user.first_name == "Augusta"


async def test_a_frontends_update_expects_the_etag_that_it_was_shown(service: Service, subject: Subject) -> None:
    inner, shown = await service.get(subject.user_id), await seen(service, subject)
    frontend = service.frontend(subject.session)
    request = frontend_pb.UpdateUserRequest(user=FrontendUser(first_name="Ada"), expected_etag=inner.etag)
    refusal = await refused(frontend.UpdateUser(request), "ETAG_MISMATCH")
    assert refusal.metadata == {"profile": shown.etag}
    request.expected_etag = shown.etag
    assert (await frontend.UpdateUser(request)).user.first_name == "Ada"


async def test_a_deletion_may_expect_the_profiles_etag(service: Service, subject: Subject) -> None:
    before = await service.get(subject.user_id)
    request = pb.DeleteUserRequest(user_id=subject.user_id, expected_etag="stale")
    refusal = await refused(service.admin.DeleteUser(request), "ETAG_MISMATCH")
    assert refusal.metadata == {"profile": before.etag}
    request.expected_etag = before.etag
    await service.admin.DeleteUser(request)
    await refused(service.get(subject.user_id), "USER_NOT_FOUND")


async def test_of_writers_that_expect_one_etag_exactly_one_wins(service: Service, subject: Subject) -> None:
    etag = (await service.get(subject.user_id)).metadata_etags.public_metadata

    async def write(number: int) -> bool:
        request = merge(subject.user_id, public_metadata={"winner": number})
        request.expected_etags.public_metadata = etag
        try:
            await service.admin.MergeUserMetadata(request)
        except grpc.aio.AioRpcError as error:
            assert error.code() is grpc.StatusCode.ABORTED  # noqa: PT017  # one of many, most of which fail
            return False
        return True

    assert sum(await asyncio.gather(*map(write, range(20)))) == 1


async def test_merges_of_different_keys_by_many_writers_never_lose_a_key(service: Service, subject: Subject) -> None:
    writes = (merge(subject.user_id, public_metadata={f"key{number}": number}) for number in range(50))
    await asyncio.gather(*map(service.admin.MergeUserMetadata, writes))
    kept = document((await service.get(subject.user_id)).public_metadata)
    assert kept == {"plan": "pro", **{f"key{number}": number for number in range(50)}}
