"""Calls that fail: they wait as the server says, end as their status says, and are told of in a few lines."""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta_server.cli.client import remote
from usermeta_server.cli.rpc_errors import exit_code_of, text_of
from usermeta_server.errors import ExitCode
from usermeta_server.settings import ClientSettings

EXIT_CODES = {
    "CANCELLED": 5,
    "UNKNOWN": 1,
    "INVALID_ARGUMENT": 4,
    "DEADLINE_EXCEEDED": 5,
    "NOT_FOUND": 3,
    "ALREADY_EXISTS": 4,
    "PERMISSION_DENIED": 4,
    "UNAUTHENTICATED": 4,
    "RESOURCE_EXHAUSTED": 4,
    "FAILED_PRECONDITION": 4,
    "ABORTED": 4,
    "UNIMPLEMENTED": 4,
    "OUT_OF_RANGE": 4,
    "INTERNAL": 1,
    "UNAVAILABLE": 5,
    "DATA_LOSS": 1,
}


def test_every_status_has_its_exit_code() -> None:
    statuses = [status.name for status in grpc.StatusCode if status is not grpc.StatusCode.OK]
    assert {status: int(exit_code_of(status)) for status in statuses} == EXIT_CODES
    assert set(EXIT_CODES.values()) | {ExitCode.USAGE, ExitCode.BROKEN_OFF} == set(ExitCode)


def failure(code: grpc.StatusCode, text: str, *details: Message) -> grpc.aio.AioRpcError:
    """Return an error as a client has it."""
    status = Status(code=code.value[0], message=text)
    for detail in details:
        status.details.add().Pack(detail)
    trailer = grpc.aio.Metadata(("grpc-status-details-bin", status.SerializeToString()))
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailer, text)


def test_an_error_is_told_by_status_reason_and_text_and_each_further_bad_field_in_a_line() -> None:
    fields = [
        BadRequest.FieldViolation(field="user.username", description="is too long"),
        BadRequest.FieldViolation(field="user.image_url", description="must be an https URL"),
    ]
    info, bad = ErrorInfo(reason="FIELD_INVALID", domain="usermeta"), BadRequest(field_violations=fields)
    error = failure(grpc.StatusCode.INVALID_ARGUMENT, "user.username: is too long", info, bad)
    assert text_of(error).splitlines() == [
        "INVALID_ARGUMENT (FIELD_INVALID): user.username: is too long",
        "  user.image_url: must be an https URL",
    ]


def test_an_error_without_details_is_told_in_one_line() -> None:
    assert text_of(failure(grpc.StatusCode.UNKNOWN, "some\n  text")) == "UNKNOWN: some text"


class Refusing:
    """A server that refuses as it is told, and then answers."""

    def __init__(self) -> None:
        self.refusals: deque[grpc.aio.AioRpcError] = deque()
        self.requests: list[bytes] = []
        self.settings = ClientSettings()

    async def answer(self, request: bytes, context: Any) -> bytes:  # noqa: ANN401  # grpc's
        """Refuse as long as there is a refusal left."""
        self.requests.append(request)
        if self.refusals:
            await self._refuse(self.refusals.popleft(), context)
        return pb.CountUsersResponse(count=7).SerializeToString()

    async def _refuse(self, error: grpc.aio.AioRpcError, context: Any) -> NoReturn:  # noqa: ANN401  # grpc's
        await context.abort(error.code(), error.details(), tuple(error.trailing_metadata()))
        raise AssertionError


@pytest.fixture
async def refusing() -> AsyncIterator[Refusing]:
    """Run such a server."""
    async with _running(Refusing()) as running:
        yield running


@asynccontextmanager
async def _running(refusing: Refusing) -> AsyncIterator[Refusing]:
    server = grpc.aio.server()
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "CountUsers": grpc.unary_unary_rpc_method_handler(refusing.answer)
    }
    handler = grpc.method_handlers_generic_handler("usermeta.backend.v1.BackendService", handlers)
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    refusing.settings = ClientSettings(address=f"127.0.0.1:{port}", key="sk_x")
    await server.start()
    try:
        yield refusing
    finally:
        await server.stop(None)


def later(code: grpc.StatusCode, **delay: int) -> grpc.aio.AioRpcError:
    """Return an error that asks for the call again."""
    return failure(code, "later", RetryInfo(retry_delay=Duration(**delay)))


async def test_a_call_waits_as_retry_info_says_and_is_then_made_again(refusing: Refusing) -> None:
    refusing.refusals += [
        later(grpc.StatusCode.RESOURCE_EXHAUSTED, nanos=1000),
        later(grpc.StatusCode.UNAVAILABLE, seconds=-5),
        later(grpc.StatusCode.RESOURCE_EXHAUSTED),
    ]
    async with remote(refusing.settings) as stub:
        response = await stub.CountUsers(pb.CountUsersRequest(filter="banned = true"))
    assert response.count == 7
    assert refusing.requests == [pb.CountUsersRequest(filter="banned = true").SerializeToString()] * 4


REFUSED_AT_ONCE = [
    failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "no"),
    failure(grpc.StatusCode.UNAVAILABLE, "no"),
    failure(grpc.StatusCode.ABORTED, "no", ErrorInfo(reason="ETAG_MISMATCH")),
    later(grpc.StatusCode.RESOURCE_EXHAUSTED, seconds=3600),
]


@pytest.mark.parametrize("error", REFUSED_AT_ONCE, ids=["bare", "away", "another-detail", "an-hour"])
async def test_a_call_that_is_not_asked_for_again_soon_is_made_once(
    refusing: Refusing, error: grpc.aio.AioRpcError
) -> None:
    refusing.refusals.append(error)
    async with remote(refusing.settings) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.CountUsers(pb.CountUsersRequest())
    assert caught.value.code() is error.code()
    assert len(refusing.requests) == 1
