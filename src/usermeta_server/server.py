"""The server: app, interceptor, services, health, reflection, put together; its upkeep, and its graceful end."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import grpc

from usermeta.backend.v1 import backend_service_pb2
from usermeta.frontend.v1 import frontend_service_pb2
from usermeta_server import policy
from usermeta_server.app import App, open_app
from usermeta_server.clock import Clock, ClockWatch, wall_clock
from usermeta_server.errors import OperatorError, Reason, UsermetaError
from usermeta_server.interceptors.access_log import AccessLog, AccessLogMode
from usermeta_server.interceptors.audience import AudienceInterceptor
from usermeta_server.interceptors.drain import Drain
from usermeta_server.logs import LineWriter
from usermeta_server.model import SECOND
from usermeta_server.policy import ProfileAudience
from usermeta_server.services.backend import BackendService
from usermeta_server.services.frontend import FrontendService
from usermeta_server.services.rpc import service_handler
from usermeta_server.settings import ServerSettings
from usermeta_server.store.condition import Cause, Condition
from usermeta_server.transports.grpc import health
from usermeta_server.transports.grpc.health import Health
from usermeta_server.transports.grpc.open_streams import OpenStreams
from usermeta_server.transports.grpc.reflection import Reflection

log = logging.getLogger(__name__)

BACKEND: Final = backend_service_pb2.DESCRIPTOR.services_by_name["BackendService"]
FRONTEND: Final = frontend_service_pb2.DESCRIPTOR.services_by_name["FrontendService"]

_MAX_OPEN_STREAMS: Final = 1000
"""How many watches of health and streams of reflection there may be at once: they need no credential."""
STORE: Final = "usermeta.store"
"""The name by which health tells whether writes work."""

_SWEEP_SECONDS: Final = 60
_INDEX_SECONDS: Final = 1
_SLICE: Final = 1000
"""Changes that are trimmed at once, between two batches of writes."""

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


class Server:
    """A server that serves: where it listens, and how it ends."""

    def __init__(self, app: App, settings: ServerSettings, access_log: AccessLog) -> None:
        """Put the parts together; `start_server` makes and starts one."""
        self.app = app
        self.port = 0
        self._streams = OpenStreams(_MAX_OPEN_STREAMS)
        self.health = Health(("", BACKEND.full_name, FRONTEND.full_name), self._streams)
        self._show_store(app.store.condition)
        self._drain = Drain()
        rules = policy.method_rules(ProfileAudience(settings.profiles))
        interceptor = AudienceInterceptor(rules, app.authenticator, access_log, self._drain)
        self._grpc = grpc.aio.server(interceptors=[interceptor], options=_OPTIONS)
        self._grpc.add_generic_rpc_handlers(self._handlers(settings))

    def _show_store(self, condition: Condition) -> None:
        """Let the health of `usermeta.store` say whether writes work, now and whenever that changes."""

        def show(cause: Cause | None) -> None:
            self.health.set(STORE, serving=cause is None)

        show(condition.cause)
        condition.subscribe(show)

    def _handlers(self, settings: ServerSettings) -> Sequence[grpc.GenericRpcHandler]:
        use_cases = self.app.use_cases
        names = (BACKEND.full_name, FRONTEND.full_name, health.SERVICE)
        return (
            service_handler(BACKEND, BackendService(use_cases, settings.cache)),
            service_handler(FRONTEND, FrontendService(use_cases, settings.cache)),
            self.health.handler(),
            *(Reflection(names, self._streams).handlers() if settings.reflection else ()),
        )

    async def start(self, settings: ServerSettings) -> None:
        """Listen and serve.

        Raises:
            OperatorError: the address is taken, or TLS files cannot be read.
        """
        self.port = _bind(self._grpc, settings)
        await self._grpc.start()

    async def stop(self, grace: float) -> None:
        """Stop serving: say so, end what would go on for ever, let calls under way finish within `grace` seconds."""
        now = asyncio.get_running_loop().time
        deadline = now() + grace
        self.health.end()
        self.app.hub.close()
        await self._drain.run(grace)
        self._streams.end()
        # What there still is are replies on their way.
        await self._grpc.stop(max(deadline - now(), 0))


@asynccontextmanager
async def start_server(
    settings: ServerSettings,
    *,
    rotate_session_key: bool = False,
    lines: LineWriter | None = None,
    clock: Clock = wall_clock,
) -> AsyncIterator[Server]:
    """Serve by these settings until the context is left, then end gracefully; the access log goes to `lines`, if any.

    Raises:
        OperatorError: the store cannot be opened, the address is taken, or TLS files cannot be read.
    """
    access_log = AccessLog(AccessLogMode(settings.access_log), lines)
    async with open_app(settings, rotate_session_key=rotate_session_key, clock=clock) as app:
        server = Server(app, settings, access_log)
        await server.start(settings)
        upkeep = [asyncio.create_task(_sweep(app, settings)), asyncio.create_task(_build_indexes(app))]
        try:
            yield server
        finally:
            # Watches end before the calls, and the calls before the store that they write to.
            await server.stop(settings.shutdown_grace)
            for task in upkeep:
                task.cancel()
            await asyncio.gather(*upkeep, return_exceptions=True)
            access_log.flush()


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


async def _sweep(app: App, settings: ServerSettings) -> None:
    """Delete what has expired, a little at a time."""
    age = int(settings.history_age * SECOND)
    clock = ClockWatch(app.store.clock_behind)
    while True:
        clock.look()
        try:
            while await app.store.sweep() + await app.use_cases.sign_ups.sweep():
                pass
            # Only whole slices are worth another round at once: under load there is always one more change to trim.
            while await app.store.trim_changes(app.store.wall_time() - age, settings.history_count, _SLICE) == _SLICE:
                pass
        except Exception as error:  # noqa: BLE001  # it is logged
            _log_upkeep("sweeping", error)
        await asyncio.sleep(_SWEEP_SECONDS)


async def _build_indexes(app: App) -> None:
    """Build indexes a few users at a time, and look now and then whether there is one to build."""
    while True:
        try:
            while await app.store.build_indexes():
                pass
        except Exception as error:  # noqa: BLE001  # it is logged
            _log_upkeep("building an index", error)
        await asyncio.sleep(_INDEX_SECONDS)


def _log_upkeep(what: str, error: Exception) -> None:
    """Log that a piece of upkeep failed, unless it is for the store's condition, which that has logged."""
    if not (isinstance(error, UsermetaError) and error.reason is Reason.STORE_UNAVAILABLE):
        log.error("%s failed; it will be tried again", what, exc_info=error)
