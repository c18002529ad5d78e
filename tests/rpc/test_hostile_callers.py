"""Callers that send too much, or nothing, and never finish: they are refused without being waited for."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import grpc
import pytest

from tests.rpc.methods import METHODS, Subject
from tests.support import BACKEND, DEADLINE, FRONTEND, Service, bearer, read_error, refused

HUGE: Final = 100 << 20
CHUNK: Final = 1 << 16
UNLIMITED: Final = (("grpc.max_send_message_length", -1),)
EXAMPLES: Final = (f"{BACKEND}CreateUser", f"{FRONTEND}MergeUserMetadata")


@pytest.mark.parametrize("path", METHODS)
async def test_an_unauthenticated_caller_that_never_sends_its_body_is_refused(service: Service, path: str) -> None:
    never = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        await never.wait()
        yield b""

    call = service.channel.stream_unary(path, request_serializer=bytes, response_deserializer=bytes)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(body(), metadata=grpc.aio.Metadata(*bearer("garbage")), timeout=DEADLINE)
    assert read_error(caught.value).reason == "CREDENTIAL_INVALID"


class Wire:
    """A way to a server, that counts the bytes which pass over it."""

    def __init__(self, address: str) -> None:
        """Lead to an address."""
        self.passed = 0
        self._host, _, self._port = address.partition(":")

    async def carry(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        """Carry one connection, both ways, until either side closes it."""
        server, to_server = await asyncio.open_connection(self._host, self._port)
        pairs = ((client, to_server), (server, to_client))
        ways = [asyncio.create_task(self._pass(*pair)) for pair in pairs]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        to_server.close()
        to_client.close()
        await asyncio.gather(*ways, return_exceptions=True)

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(CHUNK):
            self.passed += len(data)
            sink.write(data)
            await sink.drain()


async def test_an_unauthenticated_caller_with_a_huge_body_is_refused_before_it_is_sent(service: Service) -> None:
    """Flow control lets the beginning through, that fits into buffers: nobody reads the rest."""
    wire = Wire(service.address)
    async with await asyncio.start_server(wire.carry, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=UNLIMITED) as channel:
            call = channel.unary_unary(f"{BACKEND}CreateUser", request_serializer=bytes, response_deserializer=bytes)
            await refused(call(bytes(HUGE), timeout=DEADLINE), "CREDENTIAL_MISSING")
    assert wire.passed < HUGE / 10


@pytest.mark.parametrize("path", EXAMPLES)
async def test_a_body_past_4_mib_is_refused(service: Service, subject: Subject, path: str) -> None:
    token = service.admin_key if METHODS[path].for_backends else subject.session
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await service.raw(path, bytes((4 << 20) + 1), bearer(token))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (await service.get(subject.user_id)).id == subject.user_id


async def test_headers_past_their_limit_are_refused(service: Service, subject: Subject) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await service.raw(f"{FRONTEND}GetUser", b"", (*bearer(subject.session), ("x-padding", "x" * 100_000)))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_caller_that_goes_away_harms_nobody(service: Service, subject: Subject) -> None:
    """Calls that are cancelled under way happen whole or not at all, and the server goes on."""
    body = b"\x12" + bytes([len(subject.user_id)]) + subject.user_id.encode()
    calls = [
        asyncio.ensure_future(service.raw(f"{BACKEND}CreateUser", b"", bearer(service.admin_key))) for _ in range(20)
    ]
    await asyncio.sleep(0)
    for call in calls[::2]:
        call.cancel()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(outcome, bytes) for outcome in outcomes[1::2])
    refusal = await refused(service.raw(f"{BACKEND}CreateUser", body, bearer(service.admin_key)))
    assert refusal.reason == "IDENTIFIER_TAKEN"
