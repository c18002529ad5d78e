"""A connection to a running server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import grpc

from usermeta.backend.v1 import backend_service_pb2_grpc
from usermeta_server.cli.rpc_errors import retry_delay_of
from usermeta_server.errors import OperatorError
from usermeta_server.settings import ClientSettings

if TYPE_CHECKING:
    from usermeta.backend.v1.backend_service_pb2_grpc import BackendServiceAsyncStub  # only in the stubs

_TIMEOUT: Final = 60.0
"""Seconds that one call may take."""
_PATIENCE: Final = 300.0
"""Seconds that a call waits at the most, all in all, for a server that wants it later."""
_SHORTEST_DELAY: Final = 0.05
_OPTIONS: Final = (("grpc.initial_reconnect_backoff_ms", 500), ("grpc.max_reconnect_backoff_ms", 5000))


class _Authorized:
    """A channel whose calls carry a secret key, and wait as the server's RetryInfo says."""

    def __init__(self, channel: grpc.aio.Channel, key: str) -> None:
        self._channel = channel
        self._metadata = (("authorization", f"Bearer {key}"),)

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # as grpc has it
        call = self._channel.unary_unary(*args, **kwargs)
        return partial(_patiently, partial(call, metadata=self._metadata, timeout=_TIMEOUT))

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # as grpc has it
        return partial(self._channel.unary_stream(*args, **kwargs), metadata=self._metadata)


async def _patiently(call: Callable[[Any], Awaitable[Any]], request: object) -> object:
    waited = 0.0
    while True:
        try:
            return await call(request)
        except grpc.aio.AioRpcError as error:
            delay = retry_delay_of(error)
            if delay is None or waited + delay > _PATIENCE:
                raise
        delay = max(delay, _SHORTEST_DELAY)
        await asyncio.sleep(delay)
        waited += delay


@asynccontextmanager
async def remote(settings: ClientSettings) -> AsyncIterator["BackendServiceAsyncStub"]:
    """Connect to the server's BackendService with the operator's key.

    Raises:
        OperatorError: there is no key, or none that can be sent, or a file of certificates cannot be read.
    """
    if not settings.key:
        raise OperatorError(f"set USERMETA_KEY (or --key) to a secret key of the server {settings.address}")
    if not (settings.key.isascii() and settings.key.isprintable()):
        raise OperatorError("USERMETA_KEY (or --key) holds characters that no secret key has")
    async with _channel(settings) as channel:
        authorized = cast("grpc.aio.Channel", _Authorized(channel, settings.key))
        yield backend_service_pb2_grpc.BackendServiceStub(authorized)


def _channel(settings: ClientSettings) -> grpc.aio.Channel:
    secure = settings.address.startswith("https://")
    address = settings.address.removeprefix("https://").removeprefix("http://")
    if not secure:
        return grpc.aio.insecure_channel(address, options=_OPTIONS)
    try:
        roots = settings.tls_ca.read_bytes() if settings.tls_ca else None
    except OSError as error:
        raise OperatorError(f"cannot read {error.filename}: {error.strerror}") from error
    return grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(roots), options=_OPTIONS)
