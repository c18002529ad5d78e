"""BackendService on a store that no server owns: in this process, as the operator, without a network or a key."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, cast

import grpc

from usermeta.backend.v1 import backend_service_pb2, backend_service_pb2_grpc
from usermeta_server import policy
from usermeta_server.admission.admission import Admission
from usermeta_server.admission.call import set_call
from usermeta_server.admission.drain import Drain
from usermeta_server.admission.observers import Observers
from usermeta_server.app import App, open_app
from usermeta_server.caller import OPERATOR, Audience, Principal
from usermeta_server.errors import UnreachableError, UsermetaError
from usermeta_server.policy import ProfileAudience
from usermeta_server.services.backend import BackendService
from usermeta_server.services.rpc import methods_of
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


class _Operator:
    """Whose calls they are, without a credential: whoever can open the store."""

    async def authenticate(self, _: Audience, __: Sequence[str | bytes]) -> Principal:
        """Return the operator."""
        return OPERATOR

    def check(self, principal: Principal) -> None:
        """Let the operator go on."""


def _no_peer() -> str:
    return ""


Send: TypeAlias = Callable[[bytes], Awaitable[None]]
"""Where one response goes."""


class _Responses(NamedTuple):
    """Where the responses of a call that streams go."""

    put: Send

    async def begin(self) -> None:
        """Do nothing: nobody waits for headers here."""

    async def send(self, response: bytes) -> None:
        """Put a response where the caller takes it from."""
        await self.put(response)


class _LocalChannel:
    """Stands in for a channel: calls go straight to the methods, as the operator's, if they are admitted."""

    def __init__(self, app: App, reply_cache_bytes: int) -> None:
        self._methods = methods_of(_BACKEND, BackendService(app.use_cases, reply_cache_bytes))
        self._admission = Admission(policy.method_rules(ProfileAudience.OFF), _Operator(), Drain(), Observers())

    def unary_unary(  # as grpc has it
        self,
        method: str,
        request_serializer: Callable[[Any], bytes],
        response_deserializer: Callable[[bytes], Any],
        **_: object,
    ) -> Any:  # noqa: ANN401  # a call of the method
        async def call(request: object) -> object:
            outcome = await self._carry_out(method, request_serializer(request))
            if isinstance(outcome, UsermetaError):
                raise _rpc_error(outcome)
            return response_deserializer(outcome)

        return call

    def unary_stream(  # as grpc has it
        self,
        method: str,
        request_serializer: Callable[[Any], bytes],
        response_deserializer: Callable[[bytes], Any],
        **_: object,
    ) -> Any:  # noqa: ANN401  # a call of the method
        async def call(request: object) -> AsyncIterator[object]:
            written: asyncio.Queue[Any] = asyncio.Queue(1)

            async def handle() -> None:
                await written.put(await self._carry_out(method, request_serializer(request), written.put))

            task = asyncio.create_task(handle())
            try:
                while isinstance(response := await written.get(), bytes):
                    yield response_deserializer(response)
                if response is not None:
                    raise _rpc_error(response)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

        return call

    async def _carry_out(self, path: str, body: bytes, send: Send | None = None) -> Any:  # noqa: ANN401  # as admission's
        call = await self._admission.admit(path, (), time.perf_counter_ns())
        set_call(call)
        handle: Any = self._methods[path].handle
        return await self._admission.carry_out(
            call, _no_peer, body, partial(handle, _Responses(send)) if send else handle
        )


def _rpc_error(error: UsermetaError) -> grpc.aio.AioRpcError:
    """Return an error as a client has it, so that one way of reading errors does for both kinds of connection."""
    status = to_status(error)
    trailer = grpc.aio.Metadata(("grpc-status-details-bin", status.SerializeToString()))
    code = getattr(grpc.StatusCode, error.reason.status)
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailer, status.message)
