"""Calls that fail leave nothing behind: neither objects that only the garbage collector finds, nor streams in use."""

import asyncio
import gc
import types
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, NamedTuple, NoReturn

import grpc
import pytest
import pytest_asyncio
from grpc_health.v1.health_pb2 import HealthCheckRequest

from tests.cli.processes import run, served
from tests.rpc.methods import Subject, raw
from tests.rpc.requests import merge
from tests.support import BACKEND, DEADLINE, FRONTEND, Service, bearer
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.frontend.v1 import frontend_service_pb2 as frontend_pb
from usermeta_server import errors
from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.model import Scope
from usermeta_server.transports.grpc.handlers import open_handler, refuse

KEY: Final = "a key"
READ_KEY: Final = "a key that reads"


class Failing(NamedTuple):
    """A call that fails: its method, its body, with what credential, and with what status."""

    method: str
    body: bytes
    credential: str
    status: str


FAILING: Final = {
    "a malformed body": Failing(f"{FRONTEND}CreateSignUp", b"\xff", "", "INVALID_ARGUMENT"),
    "a profile of nobody": Failing(
        f"{FRONTEND}GetProfile",
        frontend_pb.GetProfileRequest(user_id="user_nobody").SerializeToString(),
        "",
        "NOT_FOUND",
    ),
    "an empty id": Failing(f"{BACKEND}GetUser", b"", KEY, "INVALID_ARGUMENT"),
    "no credential": Failing(f"{BACKEND}GetUser", b"", "", "UNAUTHENTICATED"),
    "a missing username": Failing(
        f"{BACKEND}GetUser", pb.GetUserRequest(username="nobody").SerializeToString(), KEY, "NOT_FOUND"
    ),
    "a scope too small": Failing(f"{BACKEND}DeleteUser", b"", READ_KEY, "PERMISSION_DENIED"),
    "a malformed key": Failing(f"{BACKEND}GetUser", b"", "sk_garbage", "UNAUTHENTICATED"),
    "an unknown method": Failing(f"{BACKEND}Nothing", b"", KEY, "UNIMPLEMENTED"),
    "a watch that fails": Failing(
        f"{BACKEND}WatchUsers", pb.WatchUsersRequest(filter="a = ").SerializeToString(), KEY, "INVALID_ARGUMENT"
    ),
    "a malformed request for reflection": Failing(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", b"\xff", "", "INVALID_ARGUMENT"
    ),
}
"""One call of each kind that a stranger, or a program with a fault, makes by the thousand."""

MORE: Final = {
    "a malformed body of a watch": Failing(f"{BACKEND}WatchUsers", b"\xff", KEY, "INVALID_ARGUMENT"),
    "a foreign resume token": Failing(
        f"{BACKEND}WatchUsers", pb.WatchUsersRequest(resume_token="x").SerializeToString(), KEY, "INVALID_ARGUMENT"
    ),
    "a write to nobody": Failing(
        f"{BACKEND}MergeUserMetadata",
        merge("user_nobody", public_metadata={"a": 1}).SerializeToString(),
        KEY,
        "NOT_FOUND",
    ),
    "a forged session": Failing(f"{FRONTEND}GetUser", b"", "a.b.c", "UNAUTHENTICATED"),
    "a filter that cannot be read": Failing(
        f"{BACKEND}ListUsers", pb.ListUsersRequest(filter="a = ").SerializeToString(), KEY, "INVALID_ARGUMENT"
    ),
}


# Garbage

A_FEW: Final = 20


@contextmanager
def collector_off() -> Iterator[None]:
    """Collect what garbage there is, and then none until the context is left."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def garbage() -> Counter[str]:
    """Collect, and return what of the server was found: its calls, its objects, its frames."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    gc.set_debug(0)
    found = Counter(type(each).__name__ for each in gc.garbage if _of_the_server(each))
    gc.garbage.clear()
    return found


def _of_the_server(found: object) -> bool:
    if isinstance(found, types.TracebackType):
        return _of_the_server(found.tb_frame)
    if isinstance(found, types.FrameType):
        return str(Path(errors.__file__).parent) in found.f_code.co_filename
    kind = type(found)
    return kind.__name__ == "RPCState" or str(kind.__module__).startswith("usermeta_server")


async def ended(service: Service) -> None:
    """Wait until the server is done with all calls before this one: it answered, and then let them go."""
    await service.raw("/grpc.health.v1.Health/Check", b"")
    for _ in range(10):
        await asyncio.sleep(0)


async def status_of(call: Any) -> str:  # noqa: ANN401  # an awaitable, or a stream
    """Return how a call ended."""
    return str((await asyncio.wait_for(call.code(), DEADLINE)).name)


def begin(service: Service, method: str, body: bytes, credential: str) -> Any:  # noqa: ANN401  # as grpc has it
    """Begin a call."""
    kind = service.channel.unary_stream if method.endswith(("WatchUsers", "WatchUser")) else service.channel.unary_unary
    metadata = grpc.aio.Metadata(*bearer(credential))
    return kind(method, request_serializer=bytes, response_deserializer=bytes)(body, metadata=metadata)


@pytest.mark.parametrize("kind", [*FAILING, *MORE])
async def test_a_failing_call_leaves_no_garbage(service: Service, kind: str) -> None:
    failing = (FAILING | MORE)[kind]
    keys = {KEY: service.admin_key, READ_KEY: await service.key(Scope.READ)}
    credential = keys.get(failing.credential, failing.credential)
    with collector_off():
        calls = [begin(service, failing.method, failing.body, credential) for _ in range(A_FEW)]
        assert {await status_of(call) for call in calls} == {failing.status}
        await ended(service)
        assert not garbage()


def boom(*_: object, **__: object) -> None:
    """Fail as no code should, with an error that came of another."""
    try:
        int("first")
    except ValueError as first:
        kept = first
        raise RuntimeError("second") from kept


async def test_a_fault_leaves_no_garbage(service: Service, subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("usermeta_server.core.metadata.revise", boom)
    monkeypatch.setattr("usermeta_server.admission.settle.log.error", lambda *_, **__: None)
    request = merge(subject.user_id, public_metadata={"a": 1}).SerializeToString()
    with collector_off():
        for _ in range(A_FEW):
            assert (
                await status_of(begin(service, f"{BACKEND}MergeUserMetadata", request, service.admin_key)) == "INTERNAL"
            )
        await ended(service)
        assert not garbage()


async def test_an_error_that_is_raised_for_many_leaves_no_garbage(
    service: Service, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = UsermetaError(Reason.USER_NOT_FOUND)

    async def fail(*_: object) -> NoReturn:
        raise kept

    monkeypatch.setattr(service.server.app.use_cases.users, "get", fail)
    body = pb.GetUserRequest(user_id=subject.user_id).SerializeToString()
    with collector_off():
        for _ in range(A_FEW):
            assert await status_of(begin(service, f"{BACKEND}GetUser", body, service.admin_key)) == "NOT_FOUND"
        assert kept.__traceback__ is None
        await ended(service)
        assert not garbage()


@pytest.mark.parametrize("method", [f"{BACKEND}WatchUsers", f"{FRONTEND}WatchUser"])
async def test_a_watch_whose_caller_leaves_leaves_no_garbage(service: Service, subject: Subject, method: str) -> None:
    token = service.admin_key if method.startswith(BACKEND) else subject.session
    with collector_off():
        for _ in range(A_FEW):
            await raw(service, method, b"", bearer(token))
        await until(lambda: not service.server.app.hub._all())
        await ended(service)
        assert not garbage()


async def test_a_watch_that_is_ended_leaves_no_garbage(service: Service) -> None:
    keys = [await service.key() for _ in range(A_FEW)]
    with collector_off():
        calls = [begin(service, f"{BACKEND}WatchUsers", b"", key) for key in keys]
        for call in calls:
            await call.read()
        for key in keys:
            request = pb.RevokeSecretKeyRequest(secret_key_id=f"key_{key.split('_')[1]}")
            await service.admin.RevokeSecretKey(request)
        assert {await status_of(call) for call in calls} == {"UNAUTHENTICATED"}
        await ended(service)
        assert not garbage()


async def test_a_call_whose_caller_leaves_leaves_no_garbage(
    service: Service, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = 0

    async def wait(*_: object) -> None:
        nonlocal waiting
        waiting += 1
        await asyncio.Event().wait()

    monkeypatch.setattr(service.server.app.use_cases.users, "get", wait)
    body = pb.GetUserRequest(user_id=subject.user_id).SerializeToString()
    with collector_off():
        calls = [begin(service, f"{BACKEND}GetUser", body, service.admin_key) for _ in range(A_FEW)]
        await until(lambda: waiting == A_FEW)
        for call in calls:
            call.cancel()
        assert {await status_of(call) for call in calls} == {"CANCELLED"}
        await ended(service)
        assert not garbage()


async def test_a_call_that_grpc_has_ended_is_no_fault(caplog: pytest.LogCaptureFixture) -> None:
    """Its client left just now: nothing can be sent to it, neither headers nor an error."""

    async def send(*_: object) -> NoReturn:
        raise grpc.aio.InternalError("Failed to execute a batch")

    context: Any = SimpleNamespace(abort=send)
    handler: Any = open_handler(
        "/a.Service/Method", grpc.unary_unary_rpc_method_handler, send, HealthCheckRequest.FromString
    )
    with pytest.raises(asyncio.CancelledError):
        await handler.unary_unary(b"", context)
    await refuse(context, UsermetaError(Reason.USER_NOT_FOUND))
    assert not caplog.records


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(DEADLINE):
        while not condition():  # noqa: ASYNC110  # what is waited for is no event
            await asyncio.sleep(0.001)


# Connections

MANY: Final = 5000
AT_ONCE: Final = 64


class Process(NamedTuple):
    """A server that is a process, so that it collects garbage as seldom as servers do, and one channel to it."""

    channel: grpc.aio.Channel
    keys: dict[str, str]
    limited: bool


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=["on", "off"])
async def process(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> AsyncIterator[Process]:
    """Return a server, and one channel to it, that these tests share."""
    folder = tmp_path_factory.mktemp("process")
    names = {KEY: "admin", READ_KEY: "read"}
    keys = {name: run(folder, "keys", "create", scope, "--scope", scope).out.strip() for name, scope in names.items()}
    with served(folder, USERMETA_ACCESS_LOG="off", USERMETA_LIMITS=request.param) as server:
        async with grpc.aio.insecure_channel(server.address) as channel:
            yield Process(channel, keys, limited=request.param == "on")


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("kind", FAILING)
async def test_five_thousand_failing_calls_leave_their_connection_as_it_was(process: Process, kind: str) -> None:
    failing = FAILING[kind]
    metadata = grpc.aio.Metadata(*bearer(process.keys.get(failing.credential, failing.credential)))
    make = process.channel.unary_stream if "Watch" in failing.method else process.channel.unary_unary
    method: Any = make(failing.method, request_serializer=bytes, response_deserializer=bytes)
    left = iter(range(MANY))

    async def call_on() -> Sequence[str]:
        return [await status_of(method(failing.body, metadata=metadata, timeout=60)) for _ in left]

    told = await asyncio.gather(*[call_on() for _ in range(AT_ONCE)])
    ended = Counter(status for statuses in told for status in statuses)
    limited = ended.pop("RESOURCE_EXHAUSTED", 0)
    assert bool(limited) <= process.limited
    assert ended == {failing.status: MANY - limited}
    listing: Any = process.channel.unary_unary(
        f"{BACKEND}ListSecretKeys", response_deserializer=pb.ListSecretKeysResponse.FromString
    )
    reply: Any = await listing(b"", metadata=grpc.aio.Metadata(*bearer(process.keys[KEY])), timeout=DEADLINE)
    assert len(reply.secret_keys) == 2
