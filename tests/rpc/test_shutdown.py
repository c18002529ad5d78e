"""The graceful end: what is under way finishes, what would go on for ever is ended, what comes later is refused."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest

from tests.rpc.methods import METHODS
from tests.store.sqlite import engine_of
from tests.support import BACKEND, DEADLINE, Service, bearer, log_file, read_error, serving, settings
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta_server.server import Server, start_server

WATCH: Final = "/grpc.health.v1.Health/Watch"
Reply = health_pb2.HealthCheckResponse
SERVING: Final = Reply(status=Reply.SERVING).SerializeToString()


async def held_write(service: Service) -> tuple["asyncio.Task[pb.CreateUserResponse]", asyncio.Event]:
    """Begin a write that is not committed before an event; return the call, once it got there, and the event."""
    engine: Any = engine_of(service.server.app.store)
    apply, reached, release = engine.apply, asyncio.Event(), asyncio.Event()

    async def slow(*arguments: object) -> object:
        reached.set()
        await release.wait()
        return await apply(*arguments)

    engine.apply = slow

    async def create() -> pb.CreateUserResponse:
        return await service.admin.CreateUser(pb.CreateUserRequest())

    writing = asyncio.create_task(create())
    await asyncio.wait_for(reached.wait(), DEADLINE)
    return writing, release


async def not_serving(service: Service) -> None:
    """Wait until health says that the server does not serve any more, or is gone."""
    answer = SERVING
    while answer == SERVING:
        try:
            answer = await service.raw("/grpc.health.v1.Health/Check", b"")
        except grpc.aio.AioRpcError:
            return


async def test_a_write_under_way_finishes_before_the_server_ends(tmp_path: Path) -> None:
    chosen = settings(tmp_path)
    async with serving(chosen) as service:
        writing, release = await held_write(service)
        stopping = asyncio.create_task(service.server.stop(DEADLINE))
        await not_serving(service)
        assert not stopping.done()
        assert not writing.done()
        release.set()
        made = (await writing).user
        await stopping
    async with serving(chosen) as service:
        assert await service.get(made.id) == made


async def test_while_the_server_ends_every_other_call_is_told_to_go_elsewhere(tmp_path: Path) -> None:
    """At once, whoever calls, and before a body is read; health still answers."""
    async with serving(settings(tmp_path)) as service:
        writing, release = await held_write(service)
        stopping = asyncio.create_task(service.server.stop(DEADLINE))
        await not_serving(service)
        for path in METHODS:
            assert await _told(service, path) == "SHUTTING_DOWN"
        assert not stopping.done()
        reply = Reply.FromString(await service.raw("/grpc.health.v1.Health/Check", b""))
        assert reply.status == Reply.NOT_SERVING
        release.set()
        await writing
        await stopping


async def _told(service: Service, path: str) -> str:
    """Return why a call whose body never comes is refused."""

    async def body() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    method = service.channel.stream_stream(path, request_serializer=bytes, response_deserializer=bytes)
    call = method(body(), timeout=DEADLINE)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    return read_error(caught.value).reason


async def test_clients_whose_policy_retries_what_is_unavailable_take_the_refusal_up(tmp_path: Path) -> None:
    """It comes without headers before it, after which gRPC's clients would not retry."""
    policy = {"maxAttempts": 3, "initialBackoff": "0.01s", "maxBackoff": "0.01s", "backoffMultiplier": 1}
    method = {"name": [{}], "retryPolicy": {**policy, "retryableStatusCodes": ["UNAVAILABLE"]}}
    options = (("grpc.service_config", json.dumps({"methodConfig": [method]})),)
    file = tmp_path / "access.log"
    with log_file(file) as descriptor:
        async with serving(settings(tmp_path, access_log="errors"), log_descriptor=descriptor) as service:
            writing, release = await held_write(service)
            stopping = asyncio.create_task(service.server.stop(DEADLINE))
            await not_serving(service)
            async with grpc.aio.insecure_channel(service.address, options=options) as channel:
                get: Any = channel.unary_unary(f"{BACKEND}GetUser")
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await get(b"", timeout=DEADLINE)
            release.set()
            await writing
            await stopping
    assert read_error(caught.value).reason == "SHUTTING_DOWN"
    assert [json.loads(line)["reason"] for line in file.read_text().splitlines()] == ["SHUTTING_DOWN"] * 3


async def test_a_call_whose_body_comes_after_the_end_began_is_told_to_go_elsewhere(tmp_path: Path) -> None:
    async with serving(settings(tmp_path)) as service:
        sent = asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            await sent.wait()
            yield b""

        writing, release = await held_write(service)
        method = service.channel.stream_unary(
            f"{BACKEND}CreateUser", request_serializer=bytes, response_deserializer=bytes
        )
        call = method(body(), metadata=grpc.aio.Metadata(*bearer(service.admin_key)), timeout=DEADLINE)
        await service.raw("/grpc.health.v1.Health/Check", b"")
        stopping = asyncio.create_task(service.server.stop(DEADLINE))
        await not_serving(service)
        sent.set()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert read_error(caught.value).reason == "SHUTTING_DOWN"
        release.set()
        await writing
        await stopping


async def test_a_write_that_outlasts_the_grace_is_still_whole(tmp_path: Path) -> None:
    """Its caller is told nothing, but the store finishes what it began before it closes."""
    chosen = settings(tmp_path, shutdown_grace=0.05)
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(serving(chosen))
        writing, release = await held_write(service)
        await service.server.stop(0.05)
        assert isinstance(await _error(writing), grpc.aio.AioRpcError)
        release.set()
    async with start_server(chosen) as server:
        assert await _count(server) == 1


async def _error(task: "asyncio.Task[pb.CreateUserResponse]") -> BaseException | None:
    await asyncio.wait([task], timeout=DEADLINE)
    return task.exception()


async def _count(server: Server) -> int:
    store: Any = server.app.store
    ((count,),) = await engine_of(store)._reading.execute_fetchall("SELECT count(*) FROM users")
    return int(count)


async def test_a_watch_of_health_is_told_and_does_not_hold_the_server_up(tmp_path: Path) -> None:
    async with serving(settings(tmp_path)) as service:
        watch = service.channel.unary_stream(WATCH, request_serializer=bytes, response_deserializer=Reply.FromString)
        replies = aiter(watch(b""))
        first = await asyncio.wait_for(anext(replies), DEADLINE)
        await asyncio.wait_for(service.server.stop(100 * DEADLINE), DEADLINE)
        seen = [reply async for reply in replies]  # raises what the grace, once over, would have ended it with
    assert first.status == Reply.SERVING
    assert [reply.status for reply in seen] == [Reply.NOT_SERVING]


async def test_a_stream_of_reflection_does_not_hold_the_server_up(tmp_path: Path) -> None:
    async with serving(settings(tmp_path)) as service:
        never = asyncio.Event()

        async def questions() -> AsyncIterator[bytes]:
            yield ServerReflectionRequest(list_services="").SerializeToString()
            await never.wait()

        path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
        method = service.channel.stream_stream(path, request_serializer=bytes, response_deserializer=bytes)
        call = method(questions())
        assert isinstance(await call.read(), bytes)
        await asyncio.wait_for(service.server.stop(100 * DEADLINE), DEADLINE)
        assert await call.code() is grpc.StatusCode.OK


async def test_a_call_to_a_server_that_has_ended_is_unavailable(tmp_path: Path) -> None:
    async with serving(settings(tmp_path)) as service:
        await service.server.stop(0)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await service.raw(f"{BACKEND}GetUser", b"", bearer(service.admin_key))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
