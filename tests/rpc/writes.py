"""Every path on which a document is written, as one kind of function: give it a Struct, it returns what was kept."""

from collections.abc import Awaitable, Callable
from typing import Final

from google.protobuf.struct_pb2 import Struct

from tests.rpc.methods import Subject
from tests.rpc.requests import replace
from tests.support import Service
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1.user_pb2 import User
from usermeta.frontend.v1 import frontend_service_pb2 as frontend_pb
from usermeta.type.v1.patch_pb2 import PatchOperation

Write = Callable[[Service, Subject, Struct], Awaitable[Struct]]


async def by_create(service: Service, _: Subject, value: Struct) -> Struct:
    user = User(private_metadata=value)
    return (await service.admin.CreateUser(pb.CreateUserRequest(user=user))).user.private_metadata


async def by_merge(service: Service, subject: Subject, value: Struct) -> Struct:
    await service.admin.ReplaceUserMetadata(replace(subject.user_id, private_metadata={}))
    request = pb.MergeUserMetadataRequest(user_id=subject.user_id, private_metadata=value)
    return (await service.admin.MergeUserMetadata(request)).user.private_metadata


async def by_replace(service: Service, subject: Subject, value: Struct) -> Struct:
    request = pb.ReplaceUserMetadataRequest(user_id=subject.user_id, private_metadata=value)
    return (await service.admin.ReplaceUserMetadata(request)).user.private_metadata


async def by_patch(service: Service, subject: Subject, value: Struct) -> Struct:
    operation = PatchOperation(op=PatchOperation.OP_REPLACE, path="")
    operation.value.struct_value.CopyFrom(value)
    request = pb.PatchUserMetadataRequest(user_id=subject.user_id, private_metadata=[operation])
    return (await service.admin.PatchUserMetadata(request)).user.private_metadata


async def by_a_batch(service: Service, subject: Subject, value: Struct) -> Struct:
    await service.admin.ReplaceUserMetadata(replace(subject.user_id, private_metadata={}))
    request = pb.BatchMergeUserMetadataRequest(atomic=True)
    request.requests.add(user_id=subject.user_id, private_metadata=value)
    return (await service.admin.BatchMergeUserMetadata(request)).results[0].user.private_metadata


async def by_a_frontends_merge(service: Service, subject: Subject, value: Struct) -> Struct:
    frontend = service.frontend(subject.session)
    await frontend.ReplaceUserMetadata(frontend_pb.ReplaceUserMetadataRequest(unsafe_metadata=Struct()))
    request = frontend_pb.MergeUserMetadataRequest(unsafe_metadata=value)
    return (await frontend.MergeUserMetadata(request)).user.unsafe_metadata


async def by_a_frontends_replacement(service: Service, subject: Subject, value: Struct) -> Struct:
    request = frontend_pb.ReplaceUserMetadataRequest(unsafe_metadata=value)
    return (await service.frontend(subject.session).ReplaceUserMetadata(request)).user.unsafe_metadata


async def by_a_frontends_patch(service: Service, subject: Subject, value: Struct) -> Struct:
    operation = PatchOperation(op=PatchOperation.OP_REPLACE, path="")
    operation.value.struct_value.CopyFrom(value)
    request = frontend_pb.PatchUserMetadataRequest(unsafe_metadata=[operation])
    return (await service.frontend(subject.session).PatchUserMetadata(request)).user.unsafe_metadata


WRITES: Final[list[Write]] = [
    by_create,
    by_merge,
    by_replace,
    by_patch,
    by_a_batch,
    by_a_frontends_merge,
    by_a_frontends_replacement,
    by_a_frontends_patch,
]
