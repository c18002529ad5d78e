"""The gRPC server: how it listens, what it serves, how it ends."""

import ssl
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import grpc

from usermeta_server.admission.admission import Admission
from usermeta_server.errors import OperatorError
from usermeta_server.services.rpc import Method
from usermeta_server.settings import ServerSettings
from usermeta_server.transports.grpc import health
from usermeta_server.transports.grpc.handlers import Handler, handler_of
from usermeta_server.transports.grpc.health import Health
from usermeta_server.transports.grpc.interceptor import AudienceInterceptor
from usermeta_server.transports.grpc.open_streams import OpenStreams
from usermeta_server.transports.grpc.reflection import Reflection

_MAX_OPEN_STREAMS: Final = 1000
"""How many watches of health and streams of reflection there may be at once: they need no credential."""

_OPTIONS: Final = (
    # Two servers on one port would share its calls in silence.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", 4 << 20),
    ("grpc.max_concurrent_streams", 1000),
    ("grpc.max_metadata_size", 16 << 10),
    ("grpc.server_handshake_timeout_ms", 10_000),
    # Connections end now and then, so that clients spread over servers that were added behind a balancer.
    ("grpc.max_connection_age_ms", 3_600_000),
    ("grpc.max_connection_age_grace_ms", 600_000),
    ("grpc.max_connection_idle_ms", 900_000),
    # Peers that vanished are noticed; clients may ping as often as gRPC's own documents advise at the most.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
)


class GrpcServer:
    """Serves methods by gRPC, and says how they are: health, reflection."""

    def __init__(
        self, services: Iterable[str], methods: Mapping[str, Method], admission: Admission, *, reflection: bool
    ) -> None:
        """Serve the methods of some services, by their full paths and names; with `reflection` tell their protos."""
        names = tuple(services)
        self._streams = OpenStreams(_MAX_OPEN_STREAMS)
        self.health = Health(("", *names), self._streams)
        self._server = grpc.aio.server(interceptors=[AudienceInterceptor(admission)], options=_OPTIONS)
        self._server.add_generic_rpc_handlers(
            (
                _Handlers({path: handler_of(method, admission) for path, method in methods.items()}),
                self.health.handler(),
            )
        )
        if reflection:
            self._server.add_generic_rpc_handlers(Reflection((*names, health.SERVICE), self._streams).handlers())

    async def start(self, settings: ServerSettings) -> int:
        """Listen and serve; return the port.

        Raises:
            OperatorError: the address is taken, or TLS files cannot be read.
        """
        port = _bind(self._server, settings)
        await self._server.start()
        return port

    async def stop(self, grace: float) -> None:
        """End the streams that anyone may open, and the connections; replies on their way have `grace` seconds."""
        self._streams.end()
        await self._server.stop(grace)


class _Handlers(grpc.GenericRpcHandler):
    """The handlers of methods, by their full paths."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self._handlers = handlers

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "Handler | None":
        """Return the handler of a method, None if it is none of these."""
        return self._handlers.get(handler_call_details.method)


def _bind(server: grpc.aio.Server, settings: ServerSettings) -> int:
    try:
        if settings.tls_cert is None and settings.tls_key is None:
            return server.add_insecure_port(settings.listen)
        return server.add_secure_port(settings.listen, _credentials(settings.tls_cert, settings.tls_key))
    except RuntimeError as error:
        raise OperatorError(
            f"cannot listen on {settings.listen}: the address is taken, or is none of this machine"
        ) from error


def _credentials(certificate: Path | None, key: Path | None) -> grpc.ServerCredentials:
    if certificate is None or key is None:
        raise OperatorError("TLS needs both a certificate and its key")
    try:
        pair = (key.read_bytes(), certificate.read_bytes())
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)
    except ssl.SSLError as error:
        raise OperatorError(f"{certificate} and {key} are no certificate and its key: {error.reason}") from error
    except OSError as error:
        raise OperatorError(f"cannot read {error.filename}: {error.strerror}") from error
    return grpc.ssl_server_credentials([pair])
