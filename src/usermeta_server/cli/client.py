"""A connection to a running server, for the commands that need one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from usermeta.backend.v1 import backend_service_pb2_grpc
from usermeta_server.errors import OperatorError
from usermeta_server.settings import ClientSettings


class _KeyCredentials(grpc.aio.UnaryUnaryClientInterceptor):
    """Sends the secret key with every call."""

    def __init__(self, key: str) -> None:
        self._header = ("authorization", f"Bearer {key}")

    async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:  # noqa: ANN401  # as grpc has it
        """Add the header."""
        metadata = grpc.aio.Metadata(*(details.metadata or ()), self._header)
        return await continuation(details._replace(metadata=metadata), request)


@asynccontextmanager
async def backend(settings: ClientSettings) -> AsyncIterator["backend_service_pb2_grpc.BackendServiceAsyncStub"]:
    """Connect to the server's BackendService with the operator's key.

    Raises:
        OperatorError: there is no key, or the server cannot be reached or refuses a call.
    """
    if not settings.key:
        raise OperatorError("set USERMETA_KEY (or --key) to a secret key of the server")
    try:
        async with _channel(settings) as channel:
            yield backend_service_pb2_grpc.BackendServiceStub(channel)
    except grpc.aio.AioRpcError as error:
        raise OperatorError(f"{settings.address}: {error.code().name}: {error.details()}") from error


def _channel(settings: ClientSettings) -> grpc.aio.Channel:
    interceptors = [_KeyCredentials(settings.key)]
    secure = settings.address.startswith("https://")
    address = settings.address.removeprefix("https://").removeprefix("http://")
    if not secure:
        return grpc.aio.insecure_channel(address, interceptors=interceptors)
    try:
        roots = settings.tls_ca.read_bytes() if settings.tls_ca else None
    except OSError as error:
        raise OperatorError(f"cannot read {error.filename}: {error.strerror}") from error
    return grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(roots), interceptors=interceptors)
