"""Limits over a real channel: who calls too much is told so, and when to try again; others are not."""

import asyncio
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final

import grpc
import pytest

from tests.support import DEADLINE, FRONTEND, Service, bearer, refused, serving, settings
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1.user_pb2 import User
from usermeta.frontend.v1 import frontend_service_pb2 as frontend_pb
from usermeta.frontend.v1.user_pb2 import User as FrontendUser

LIMITED: Final = {"limits": "on", "rates": (("user.reads", 1.0), ("anonymous.writes", 1.0), ("anonymous.reads", 1.0))}
BURST: Final = 5
"""Calls that may come at once at a rate of one a second."""


async def reasons(service: Service, method: str, count: int, *headers: tuple[str, str], body: bytes = b"") -> list[str]:
    """Make calls one after the other, and return why each failed, `` if it did not."""
    told = []
    for _ in range(count):
        try:
            await service.raw(method, body, headers)
        except grpc.aio.AioRpcError as error:
            told.append((await refused(_raise(error))).reason)
        else:
            told.append("")
    return told


async def _raise(error: grpc.aio.AioRpcError) -> None:
    raise error


async def test_who_calls_too_often_is_told_when_to_try_again_and_nobody_else_is(tmp_path: Path) -> None:
    async with serving(settings(tmp_path, **LIMITED)) as service:
        sessions = [await service.session((await service.user()).id) for _ in range(2)]
        stub = service.frontend(sessions[0])
        for _ in range(BURST):
            await stub.GetUser(frontend_pb.GetUserRequest())
        refusal = await refused(stub.GetUser(frontend_pb.GetUserRequest()), "RATE_LIMITED")
        assert refusal.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert 0 < refusal.retry_after <= 1
        await service.frontend(sessions[1]).GetUser(frontend_pb.GetUserRequest())
        await stub.UpdateUser(frontend_pb.UpdateUserRequest(user=FrontendUser(first_name="Ada")))
        for user in range(4 * BURST):
            await service.admin.CreateUser(pb.CreateUserRequest(user=User(external_id=str(user))))


@pytest.mark.parametrize(("mode", "limited"), [("on", True), ("log", False), ("off", False)])
async def test_limits_refuse_or_only_log_or_are_off(tmp_path: Path, mode: str, limited: bool) -> None:  # noqa: FBT001  # a case
    async with serving(settings(tmp_path, **{**LIMITED, "limits": mode})) as service:
        told = await reasons(service, f"{FRONTEND}CreateSignUp", 2 * BURST)
        assert told == [""] * BURST + ["RATE_LIMITED" if limited else ""] * BURST


async def test_a_body_that_comes_from_nobody_known_is_not_parsed(tmp_path: Path) -> None:
    async with serving(settings(tmp_path, **LIMITED)) as service:
        told = await reasons(service, f"{FRONTEND}CreateSignUp", BURST + 1, body=b"\xff")
        assert told == ["FIELD_INVALID"] * BURST + ["RATE_LIMITED"]


async def test_behind_a_trusted_proxy_each_caller_is_one(tmp_path: Path) -> None:
    chosen = settings(tmp_path, trusted_proxies=(ip_network("127.0.0.0/8"),), **LIMITED)
    async with serving(chosen) as service:
        method = f"{FRONTEND}CreateSignUp"
        for address in ("192.0.2.1", "192.0.2.2"):
            forwarded = ("x-forwarded-for", f"203.0.113.9, {address}")
            assert await reasons(service, method, BURST + 1, forwarded) == [""] * BURST + ["RATE_LIMITED"]


async def test_whoever_tries_credentials_is_soon_told_nothing_any_more(tmp_path: Path) -> None:
    async with serving(settings(tmp_path, limits="on")) as service:
        told = await reasons(service, f"{FRONTEND}GetUser", 200, *bearer("a.b.c"))
        assert (told[0], told[-1]) == ("CREDENTIAL_INVALID", "RATE_LIMITED")
        await service.user()


async def test_watches_of_one_caller_are_counted_and_give_their_places_back(tmp_path: Path) -> None:
    async with serving(settings(tmp_path, limits="on")) as service:
        metadata = grpc.aio.Metadata(*bearer(await service.session((await service.user()).id)))
        method: Any = service.channel.unary_stream(f"{FRONTEND}WatchUser", request_serializer=bytes)
        calls = [method(b"", metadata=metadata, timeout=DEADLINE) for _ in range(20)]
        for call in calls:
            await call.read()
        assert await method(b"", metadata=metadata, timeout=DEADLINE).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        for call in calls:
            call.cancel()
        async with asyncio.timeout(DEADLINE):
            while True:
                again = method(b"", metadata=metadata)
                try:
                    assert await again.read()
                except grpc.aio.AioRpcError as error:
                    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED  # noqa: PT017  # until they have ended
                    continue
                break
        again.cancel()


async def test_while_a_caller_floods_another_is_served_and_all_are_answered(tmp_path: Path) -> None:
    async with serving(settings(tmp_path, limits="on")) as service:
        user = await service.user()
        flooding, other = service.admin_key, await service.session(user.id)
        body = pb.GetUserRequest(user_id=user.id).SerializeToString()
        get: Any = service.channel.unary_unary("/usermeta.backend.v1.BackendService/GetUser")
        metadata = grpc.aio.Metadata(*bearer(flooding))
        flood = [asyncio.ensure_future(get(body, metadata=metadata, timeout=DEADLINE)) for _ in range(500)]
        for _ in range(5):
            await service.frontend(other).GetUser(frontend_pb.GetUserRequest())
        assert all(await asyncio.gather(*flood))
