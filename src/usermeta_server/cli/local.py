"""BackendService on a store that no server owns: in this process, as the operator, without a network or a key."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import grpc
from google.protobuf.message import DecodeError

from usermeta.backend.v1 import backend_service_pb2, backend_service_pb2_grpc
from usermeta_server import policy
from usermeta_server.app import App, open_app
from usermeta_server.audience import OPERATOR, Audience, Caller, set_caller
from usermeta_server.errors import UnreachableError, UsermetaError, invalid
from usermeta_server.policy import ProfileAudience
from usermeta_server.services.backend import BackendService
from usermeta_server.services.rpc import service_handler
from usermeta_server.settings import MEMORY, ServerSettings
from usermeta_server.status import to_status
from usermeta_server.store.sqlite.ownership import DatabaseOwnedError

if TYPE_CHECKING:
    from usermeta.backend.v1.backend_service_pb2_grpc import BackendServiceAsyncStub  # only in the stubs

_BACKEND: Final = backend_service_pb2.DESCRIPTOR.services_by_name["BackendService"]


@asynccontextmanager
async def local(settings: ServerSettings, *, make_store: bool = False) -> AsyncIterator["BackendServiceAsyncStub"]:
    """Open the store of these settings, which is made only on demand, and serve BackendService to this process.

    Raises:
        OperatorError: the store cannot be opened, or is not there.
    """
    if not make_store and not _is_there(settings.database_url):
        raise UnreachableError(
            f"there is no database at {settings.database_url}: "
            "start one with `usermeta serve`, or name a server with --address and --key"
        )
    try:
        async with open_app(settings) as app:
            channel = cast("grpc.aio.Channel", _LocalChannel(app, settings.cache))
            yield backend_service_pb2_grpc.BackendServiceStub(channel)
    except DatabaseOwnedError as error:
        raise UnreachableError(f"{error}: to go through its server, give --key (and --address)") from error


def _is_there(database: Path) -> bool:
    if database == MEMORY:
        return False
    try:
        return database.stat().st_size > 0
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise UnreachableError(f"cannot read the database {database}: {error.strerror}") from error


class _Context(NamedTuple):
    """What a handler that streams writes to."""

    write: Callable[[Any], Awaitable[None]]

    async def send_initial_metadata(self, _: object) -> None:
        """Do nothing: nobody waits for headers here."""


class _LocalChannel:
    """Stands in for a channel: calls go straight to the handlers, as the operator's, if the policy admits them."""

    def __init__(self, app: App, reply_cache_bytes: int) -> None:
        self._service = service_handler(_BACKEND, BackendService(app.use_cases, reply_cache_bytes))
        self._rules = policy.method_rules(ProfileAudience.OFF)

    def unary_unary(  # as grpc has it
        self,
        method: str,
        request_serializer: Callable[[Any], bytes],
        response_deserializer: Callable[[bytes], Any],
        **_: object,
    ) -> Any:  # noqa: ANN401  # a call of the method
        handler = self._handler(method)

        async def call(request: object) -> object:
            try:
                response = await handler.unary_unary(self._admit(method, handler, request_serializer(request)), None)
            except UsermetaError as error:
                raise _rpc_error(error) from error
            return response_deserializer(handler.response_serializer(response))

        return call

    def unary_stream(  # as grpc has it
        self,
        method: str,
        request_serializer: Callable[[Any], bytes],
        response_deserializer: Callable[[bytes], Any],
        **_: object,
    ) -> Any:  # noqa: ANN401  # a call of the method
        handler = self._handler(method)

        async def call(request: object) -> AsyncIterator[object]:
            written: asyncio.Queue[Any] = asyncio.Queue(1)

            async def handle() -> None:
                await handler.unary_stream(
                    self._admit(method, handler, request_serializer(request)), _Context(written.put)
                )

            task = asyncio.create_task(_until_ended(handle(), written.put))
            try:
                while (response := await written.get()) is not None:
                    if isinstance(response, UsermetaError):
                        raise _rpc_error(response) from response
                    yield response_deserializer(handler.response_serializer(response))
                await task
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

        return call

    def _handler(self, method: str) -> Any:  # noqa: ANN401  # grpc's handlers are typed by what they take
        return self._service.service(cast("grpc.HandlerCallDetails", SimpleNamespace(method=method)))

    def _admit(self, method: str, handler: Any, body: bytes) -> object:  # noqa: ANN401  # as above
        """Return the request of a call that the policy admits, and tag this task with its caller."""
        rule = self._rules[method]
        policy.authorize(rule, OPERATOR)
        set_caller(Caller(Audience.BACKEND, method, OPERATOR))
        try:
            return handler.request_deserializer(body)
        except DecodeError as error:
            raise invalid("request", "nests deeper than 32 levels") from error


async def _until_ended(handling: Awaitable[None], put: Callable[[object], Awaitable[None]]) -> None:
    """Await the handling of a stream, then put its error, or None, after what it wrote."""
    try:
        await handling
    except UsermetaError as error:
        await put(error)
    except Exception:
        await put(None)
        raise
    else:
        await put(None)


def _rpc_error(error: UsermetaError) -> grpc.aio.AioRpcError:
    """Return an error as a client has it, so that one way of reading errors does for both kinds of connection."""
    status = to_status(error)
    trailer = grpc.aio.Metadata(("grpc-status-details-bin", status.SerializeToString()))
    code = getattr(grpc.StatusCode, error.reason.status)
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailer, status.message)
