"""A credential that ends while a call is under way, or while its caller goes away."""

import asyncio
from typing import Any

import grpc

from tests.store.sqlite import engine_of
from tests.support import DEADLINE, Service, bearer, refused
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta_server.model import Scope

WATCH = "/usermeta.backend.v1.BackendService/WatchUsers"
DELETE = "/usermeta.backend.v1.BackendService/DeleteUser"


def key_id(secret: str) -> str:
    return f"key_{secret.split('_')[1]}"


def revocation(secret: str) -> pb.RevokeSecretKeyRequest:
    return pb.RevokeSecretKeyRequest(secret_key_id=key_id(secret))


async def test_a_revocation_whose_caller_went_away_holds(own_service: Service) -> None:
    """Once the write is committed the key is refused, whether or not anybody waits for the answer."""
    secret = await own_service.key(Scope.WRITE)
    engine: Any = engine_of(own_service.server.app.store)
    apply, committing, committed = engine.apply, asyncio.Event(), asyncio.Event()
    caller_left = asyncio.Event()

    async def slow(*arguments: object) -> object:
        committing.set()
        await caller_left.wait()
        changes = await apply(*arguments)
        committed.set()
        return changes

    engine.apply = slow
    revoking = asyncio.ensure_future(own_service.admin.RevokeSecretKey(revocation(secret)))
    await asyncio.wait_for(committing.wait(), DEADLINE)
    revoking.cancel()
    await asyncio.gather(revoking, return_exceptions=True)
    caller_left.set()
    await asyncio.wait_for(committed.wait(), DEADLINE)
    engine.apply = apply
    await refused(own_service.backend(secret).CountUsers(pb.CountUsersRequest()), "CREDENTIAL_INVALID")


async def _late(own_service: Service, method: str, secret: str, request: bytes) -> Any:  # noqa: ANN401  # gRPC's call
    """Begin a call with its headers only, revoke its key, then send its body; return the call."""
    begin = own_service.channel.stream_stream(method, request_serializer=bytes, response_deserializer=bytes)
    call = begin(metadata=grpc.aio.Metadata(*bearer(secret)), timeout=DEADLINE)
    await own_service.backend(secret).CountUsers(pb.CountUsersRequest())
    await own_service.admin.RevokeSecretKey(revocation(secret))
    await call.write(request)
    await call.done_writing()
    return call


async def _read(call: Any) -> object:  # noqa: ANN401  # gRPC's call
    return await call.read()


async def test_a_stream_whose_body_comes_after_the_revocation_is_refused(own_service: Service) -> None:
    secret = await own_service.key(Scope.READ)
    call = await _late(own_service, WATCH, secret, b"")
    await refused(_read(call), "CREDENTIAL_INVALID")


async def test_a_write_whose_body_comes_after_the_revocation_is_refused(own_service: Service) -> None:
    secret = await own_service.key(Scope.WRITE)
    user = await own_service.user()
    request = pb.DeleteUserRequest(user_id=user.id).SerializeToString()
    call = await _late(own_service, DELETE, secret, request)
    await refused(_read(call), "CREDENTIAL_INVALID")
    assert (await own_service.get(user.id)).id == user.id
