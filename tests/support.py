"""What tests over a real channel share: a server in this process, its stubs, credentials, and how errors are read."""

import asyncio
import contextlib
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from inspect import isawaitable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import grpc
import pytest
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from usermeta.backend.v1 import backend_service_pb2 as backend_pb
from usermeta.backend.v1 import backend_service_pb2_grpc
from usermeta.backend.v1.user_pb2 import User
from usermeta.frontend.v1 import frontend_service_pb2_grpc
from usermeta_server import policy
from usermeta_server.caller import Audience, Caller, Principal, PrincipalKind
from usermeta_server.clock import wall_clock
from usermeta_server.core.writes import Intent
from usermeta_server.logs import LineWriter
from usermeta_server.model import SECOND, Actor, Scope
from usermeta_server.model import User as ModelUser
from usermeta_server.policy import AllowedWrite
from usermeta_server.server import Server, start_server
from usermeta_server.settings import ServerSettings
from usermeta_server.values import JsonObject

if TYPE_CHECKING:  # these names are only in the stubs
    from usermeta.backend.v1.backend_service_pb2_grpc import BackendServiceAsyncStub
    from usermeta.frontend.v1.frontend_service_pb2_grpc import FrontendServiceAsyncStub

BACKEND: Final = "/usermeta.backend.v1.BackendService/"
FRONTEND: Final = "/usermeta.frontend.v1.FrontendService/"
DEADLINE: Final = 60.0
"""Seconds after which what hangs fails its test; more than a busy machine needs, so that it decides no outcome."""

_PACE: Final = 0.005
"""Seconds between two looks at a condition."""

_OPERATOR: Final = Principal(PrincipalKind.SECRET_KEY, "operator", Scope.ADMIN)
BACKEND_CALLER: Final = Caller(Audience.BACKEND, "test", _OPERATOR)
_INTENT: Final = Intent(Actor("operator", "test"), "test")


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """Return the metadata that carries a credential; none for an empty one."""
    return (("authorization", f"Bearer {token}"),) if token else ()


def allowed(user_id: str, values: Mapping[str, str | bool]) -> AllowedWrite[ModelUser]:
    """Return a backend's write of fields and documents of a user, of one that it makes without an id."""
    return AllowedWrite(policy.grant_write(BACKEND_CALLER, user_id, values), values)


class Clock:
    """A clock that a test can turn, forward and back, or stop; else it goes as the machine's does."""

    def __init__(self) -> None:
        """Begin with the machine's time."""
        self._machine = wall_clock
        self._ahead = 0

    def __call__(self) -> int:
        """Return the time in microseconds since the epoch, as `start_server` takes it."""
        return self._machine() + self._ahead

    def turn(self, seconds: float) -> None:
        """Set it forward, or with less than 0 back."""
        self._ahead += round(seconds * SECOND)

    def stop(self) -> None:
        """Let it stand still until a test turns it, so that nothing expires before the test is ready."""
        stopped = wall_clock()
        self._machine = lambda: stopped


class _Authorized:
    """A channel whose unary calls carry a credential and a deadline."""

    def __init__(self, channel: grpc.aio.Channel, token: str) -> None:
        self._channel = channel
        self._metadata = bearer(token)

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # as grpc has it
        """Return the call of a method, with the credential in it."""
        call = self._channel.unary_unary(*args, **kwargs)
        return partial(call, metadata=self._metadata, timeout=DEADLINE)

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # as grpc has it
        """Return the call of a method that streams, with the credential in it."""
        call = self._channel.unary_stream(*args, **kwargs)
        return partial(call, metadata=self._metadata, timeout=DEADLINE)


class Service:
    """A server that runs in this process, and one channel to it."""

    def __init__(self, server: Server, database: Path, channel: grpc.aio.Channel, admin_key: str) -> None:
        """Put the parts together; `serving` makes them."""
        self.server = server
        self.database = database
        self.channel = channel
        self.admin_key = admin_key
        self.address = f"127.0.0.1:{server.port}"
        self.admin = self.backend(admin_key)

    def backend(self, token: str = "") -> "BackendServiceAsyncStub":
        """Return a stub of BackendService whose calls carry a credential."""
        channel = cast("grpc.aio.Channel", _Authorized(self.channel, token))
        return backend_service_pb2_grpc.BackendServiceStub(channel)

    def frontend(self, token: str = "") -> "FrontendServiceAsyncStub":
        """Return a stub of FrontendService whose calls carry a credential."""
        channel = cast("grpc.aio.Channel", _Authorized(self.channel, token))
        return frontend_service_pb2_grpc.FrontendServiceStub(channel)

    def raw(self, method: str, body: bytes, metadata: Sequence[tuple[str, str]] = ()) -> Awaitable[bytes]:
        """Call any method with bytes of the test's own, and return the reply's bytes."""
        call = self.channel.unary_unary(method, request_serializer=bytes, response_deserializer=bytes)
        return call(body, metadata=grpc.aio.Metadata(*metadata), timeout=DEADLINE)

    async def key(self, scope: Scope = Scope.WRITE, *, expires_in: float = 0) -> str:
        """Make a secret key and return its secret; with `expires_in` it works for that many seconds."""
        expire_time = self.server.app.store.wall_time() + round(expires_in * SECOND) if expires_in else 0
        keys = self.server.app.use_cases.secret_keys
        made = await keys.create(_OPERATOR, "a test's key", (scope,), expire_time, _INTENT)
        return made.secret

    async def user(self, **fields: Any) -> User:  # noqa: ANN401  # any field of the message
        """Make a user with these fields and return it; a dict stands for a document."""
        values: dict[str, Any] = {
            name: struct(value) if isinstance(value, dict) else value for name, value in fields.items()
        }
        response = await self.admin.CreateUser(backend_pb.CreateUserRequest(user=User(**values)))
        return response.user

    async def session(self, user_id: str, *, seconds: int = 3600) -> str:
        """Make a session token of a user."""
        request = backend_pb.CreateSessionTokenRequest(user_id=user_id)
        request.ttl.FromSeconds(seconds)
        return (await self.admin.CreateSessionToken(request)).session_token

    async def get(self, user_id: str) -> User:
        """Return a user as backends see it."""
        return (await self.admin.GetUser(backend_pb.GetUserRequest(user_id=user_id))).user


def settings(folder: Path, **changes: Any) -> ServerSettings:  # noqa: ANN401  # any setting
    """Return settings of a server in a folder, on a free port, without an access log and limits.

    Tests make more calls as one caller than anybody does.
    """
    values = {"database_url": folder / "usermeta.db", "listen": "127.0.0.1:0", "access_log": "off", "limits": "off"}
    return ServerSettings(**{**values, **changes})


@asynccontextmanager
async def _logging_server(
    chosen: ServerSettings, log_descriptor: int, clock: Callable[[], int]
) -> AsyncIterator[Server]:
    with LineWriter(log_descriptor) as lines:
        async with start_server(chosen, lines=lines, clock=clock) as server:
            yield server


@asynccontextmanager
async def serving(
    chosen: ServerSettings, *, log_descriptor: int = 2, clock: Callable[[], int] = wall_clock
) -> AsyncIterator[Service]:
    """Run the server in this process until the context is left; on an empty or a used database."""
    options = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
    async with _logging_server(chosen, log_descriptor, clock) as server:
        keys = server.app.use_cases.secret_keys
        made = await keys.create(_OPERATOR, "admin", (Scope.ADMIN,), 0, _INTENT)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options=options) as channel:
            yield Service(server, chosen.database_url, channel, made.secret)


async def until(true: Callable[[], Any]) -> None:
    """Wait until a condition holds, or one that has to be awaited, of which no event tells: rows, files, processes."""
    async with asyncio.timeout(DEADLINE):
        while True:
            held = true()
            if await held if isawaitable(held) else held:
                return
            await asyncio.sleep(_PACE)


# Documents


def struct(document: Mapping[str, Any]) -> Struct:
    """Return a JSON object as a Struct."""
    made = Struct()
    json_format.ParseDict(dict(document), made)
    return made


def document(value: Struct) -> JsonObject:
    """Return a Struct as a JSON object, as a client's library reads it."""
    return cast("JsonObject", json_format.MessageToDict(value))


def request_id() -> str:
    """Return a new request id."""
    return str(uuid.uuid4())


# Errors


class Refusal(NamedTuple):
    """What a client is told of an error.

    `fields` are those that its BadRequest names, `reasons` why, one for each; `retry_after` are the seconds of its
    RetryInfo, 0 without one.
    """

    code: grpc.StatusCode
    message: str
    reason: str
    metadata: Mapping[str, str]
    fields: tuple[str, ...]
    reasons: tuple[str, ...]
    retry_after: float


def read_status(status: Status) -> Refusal:
    """Read a status, having seen that it is made as every error of the service is."""
    code = next(each for each in grpc.StatusCode if each.value[0] == status.code)
    infos, bad_requests = _details(status, ErrorInfo), _details(status, BadRequest)
    (info,) = infos
    assert info.domain == "usermeta"
    violations = [violation for each in bad_requests for violation in each.field_violations]
    fields, reasons = tuple(each.field for each in violations), tuple(each.reason for each in violations)
    assert reasons[:1] in {(), (info.reason,)}
    assert len(bad_requests) == (code is grpc.StatusCode.INVALID_ARGUMENT), f"{info.reason}: {status}"
    assert bool(fields) == bool(bad_requests)
    retries = [each.retry_delay.ToTimedelta().total_seconds() for each in _details(status, RetryInfo)]
    assert len(status.details) == 1 + len(bad_requests) + len(retries)
    return Refusal(code, status.message, info.reason, dict(info.metadata), fields, reasons, sum(retries))


def _details(status: Status, kind: Callable[[], Any]) -> list[Any]:
    found = []
    for packed in status.details:
        message = kind()
        if packed.Unpack(message):
            found.append(message)
    return found


def read_error(error: grpc.aio.AioRpcError) -> Refusal:
    """Read the error of a call: the status in its trailer says what the call's own code and text say."""
    trailers = [value for key, value in error.trailing_metadata() if key == "grpc-status-details-bin"]
    (packed,) = trailers
    assert isinstance(packed, bytes)
    status = Status.FromString(packed)
    refusal = read_status(status)
    assert (refusal.code, refusal.message) == (error.code(), error.details())
    return refusal


async def refused(call: Awaitable[object], reason: str = "") -> Refusal:
    """Await a call that must fail, and return its error; with `reason`, it must be that one."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    refusal = read_error(caught.value)
    assert not reason or refusal.reason == reason, refusal
    return refusal


# Logs


@contextlib.contextmanager
def log_file(path: Path) -> Iterator[int]:
    """Open a file for an access log, and close it afterwards."""
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


# The model

USER: Final = ModelUser(
    id="user_1",
    version=1,
    external_id="",
    username="",
    email_address="",
    email_address_verified=False,
    first_name="",
    last_name="",
    image_url="",
    banned=False,
    public_metadata="{}",
    private_metadata="{}",
    unsafe_metadata="{}",
    public_metadata_etag="p",
    private_metadata_etag="q",
    unsafe_metadata_etag="u",
    etag="e",
    visible_etag="v",
    create_time=1,
    update_time=2,
    visible_update_time=2,
    create_version=1,
)
"""A user as the store keeps it, with nothing set."""
