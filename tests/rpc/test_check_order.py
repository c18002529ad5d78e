"""The order in which checks are made: each test breaks two of them, and is told of the earlier one."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest

from tests.rpc.methods import Subject
from tests.rpc.requests import merge, patch
from tests.support import Service, refused, request_id, struct
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1.user_pb2 import User
from usermeta.frontend.v1 import frontend_service_pb2 as frontend_pb
from usermeta_server.model import Scope

TOO_BIG: Final = {"big": "x" * 9000}


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


async def permission_then_shape_of_an_index(service: Service, _: Subject) -> object:
    return await service.backend(await service.key()).CreateMetadataIndex(pb.CreateMetadataIndexRequest())


async def shape_then_existence_of_an_index(service: Service, _: Subject) -> object:
    return await service.admin.DeleteMetadataIndex(pb.DeleteMetadataIndexRequest(path="username"))


async def shape_then_existence_of_a_user(service: Service, _: Subject) -> object:
    return await service.admin.RestoreUserMetadata(pb.RestoreUserMetadataRequest(user_id="user_nobody"))


async def replay_then_existence_of_a_change(service: Service, subject: Subject) -> object:
    used = await used_id(service, subject)
    request = pb.RestoreUserMetadataRequest(user_id=subject.user_id, change_id=1 << 60, request_id=used)
    return await service.admin.RestoreUserMetadata(request)


async def existence_of_a_user_then_of_a_change(service: Service, _: Subject) -> object:
    request = pb.RestoreUserMetadataRequest(user_id="user_nobody", change_id=1 << 60)
    return await service.admin.RestoreUserMetadata(request)


async def existence_of_a_change_then_etag(service: Service, subject: Subject) -> object:
    request = pb.RestoreUserMetadataRequest(user_id=subject.user_id, change_id=1 << 60)
    request.expected_etags.public_metadata = "stale"
    return await service.admin.RestoreUserMetadata(request)


async def replay_then_existence_of_a_sign_up(service: Service, subject: Subject) -> object:
    used = await used_id(service, subject)
    return await service.admin.RejectSignUp(pb.RejectSignUpRequest(sign_up_id="signup_nobody", request_id=used))


async def state_of_a_sign_up_then_its_etag(service: Service, subject: Subject) -> object:
    await service.admin.RejectSignUp(pb.RejectSignUpRequest(sign_up_id=subject.sign_up_id))
    request = frontend_pb.UpdateSignUpRequest(expected_etag="stale")
    return await service.frontend(subject.sign_up_token).UpdateSignUp(request)


async def etag_of_a_sign_up_then_limits(service: Service, subject: Subject) -> object:
    request = pb.UpdateSignUpRequest(sign_up_id=subject.sign_up_id, expected_etag="stale")
    request.sign_up.private_metadata.update(TOO_BIG)
    return await service.admin.UpdateSignUp(request)


async def etag_of_a_sign_up_then_uniqueness(service: Service, subject: Subject) -> object:
    await service.user(username=f"taken-{subject.user_id}")
    update = frontend_pb.UpdateSignUpRequest()
    update.sign_up.username = f"taken-{subject.user_id}"
    await service.frontend(subject.sign_up_token).UpdateSignUp(update)
    request = pb.CompleteSignUpRequest(sign_up_id=subject.sign_up_id, expected_etag="stale")
    return await service.admin.CompleteSignUp(request)


async def limits_then_uniqueness_of_an_identity(service: Service, subject: Subject) -> object:
    request = frontend_pb.CreateSignUpRequest()
    request.sign_up.unsafe_metadata.update(TOO_BIG)
    return await service.frontend(subject.identity).CreateSignUp(request)


async def shape_then_expiry_of_a_resume_token(service: Service, _: Subject) -> object:
    return await anext(aiter(service.admin.WatchUsers(pb.WatchUsersRequest(filter="(", resume_token="stale"))))


ORDER: Final[dict[Callable[[Service, Subject], Awaitable[object]], str]] = {
    permission_then_shape: "SCOPE_INSUFFICIENT",
    shape_then_replay: "FIELD_INVALID",
    replay_then_existence: "REQUEST_ID_REUSED",
    existence_then_etag: "USER_NOT_FOUND",
    ban_then_etag: "USER_BANNED",
    existence_of_a_change_then_etag: "CHANGE_NOT_FOUND",
    etag_then_patch: "ETAG_MISMATCH",
    patch_then_limits: "PATCH_TEST_FAILED",
    patch_of_a_later_document_then_limits: "PATCH_TEST_FAILED",
    etag_then_limits: "ETAG_MISMATCH",
    limits_then_uniqueness: "METADATA_TOO_LARGE",
    shape_then_uniqueness: "FIELD_INVALID",
    etag_then_uniqueness: "ETAG_MISMATCH",
    permission_then_shape_of_an_index: "SCOPE_INSUFFICIENT",
    shape_then_existence_of_an_index: "FIELD_INVALID",
    shape_then_existence_of_a_user: "FIELD_INVALID",
    replay_then_existence_of_a_change: "REQUEST_ID_REUSED",
    existence_of_a_user_then_of_a_change: "USER_NOT_FOUND",
    replay_then_existence_of_a_sign_up: "REQUEST_ID_REUSED",
    state_of_a_sign_up_then_its_etag: "SIGN_UP_CLOSED",
    etag_of_a_sign_up_then_limits: "ETAG_MISMATCH",
    etag_of_a_sign_up_then_uniqueness: "ETAG_MISMATCH",
    limits_then_uniqueness_of_an_identity: "METADATA_TOO_LARGE",
    shape_then_expiry_of_a_resume_token: "FILTER_INVALID",
}


@pytest.mark.parametrize(("broken", "reason"), ORDER.items(), ids=[each.__name__ for each in ORDER])
async def test_checks_are_made_in_their_order(
    service: Service, subject: Subject, broken: Callable[[Service, Subject], Awaitable[object]], reason: str
) -> None:
    await refused(broken(service, subject), reason)
