"""Callers that send too much, or nothing, and never finish: they are refused without being waited for."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Final

import grpc
import pytest

from tests.rpc.methods import METHODS, Subject
from tests.support import BACKEND, DEADLINE, FRONTEND, Service, bearer, read_error, refused

PROMPT: Final = 3.0
"""Seconds within which a refusal comes, also on a slow machine."""
EXAMPLES: Final = (f"{BACKEND}CreateUser", f"{FRONTEND}MergeUserMetadata")


@pytest.mark.parametrize("path", METHODS)
async def test_an_unauthenticated_caller_that_never_sends_its_body_is_refused_at_once(
    service: Service, path: str
) -> None:
    never = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        await never.wait()
        yield b""

    call = service.channel.stream_unary(path, request_serializer=bytes, response_deserializer=bytes)
    start = time.monotonic()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(body(), metadata=grpc.aio.Metadata(*bearer("garbage")), timeout=DEADLINE)
    assert read_error(caught.value).reason == "CREDENTIAL_INVALID"
    assert time.monotonic() - start < PROMPT


async def test_an_unauthenticated_caller_with_a_huge_body_is_refused_at_once(service: Service) -> None:
    """It never gets to send it: flow control lets a few kilobytes through."""
    start = time.monotonic()
    refusal = await refused(service.raw(f"{BACKEND}CreateUser", bytes(200 << 20)))
    assert refusal.reason == "CREDENTIAL_MISSING"
    assert time.monotonic() - start < PROMPT


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
