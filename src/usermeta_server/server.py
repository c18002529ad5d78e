"""The server: app, admission, services, transport, put together; and its graceful end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from usermeta.backend.v1 import backend_service_pb2
from usermeta.frontend.v1 import frontend_service_pb2
from usermeta_server import policy
from usermeta_server.admission.access_log import AccessLog
from usermeta_server.admission.admission import Admission
from usermeta_server.admission.drain import Drain
from usermeta_server.admission.limits import Limits
from usermeta_server.admission.observers import Observers
from usermeta_server.app import App, open_app
from usermeta_server.clock import Clock, wall_clock
from usermeta_server.logs import LineWriter
from usermeta_server.policy import ProfileAudience
from usermeta_server.services.backend import BackendService
from usermeta_server.services.frontend import FrontendService
from usermeta_server.services.rpc import methods_of
from usermeta_server.settings import ServerSettings
from usermeta_server.store.condition import Cause, Condition
from usermeta_server.transports.grpc.health import Health
from usermeta_server.transports.grpc.server import GrpcServer
from usermeta_server.upkeep import kept_up

BACKEND: Final = backend_service_pb2.DESCRIPTOR.services_by_name["BackendService"]
FRONTEND: Final = frontend_service_pb2.DESCRIPTOR.services_by_name["FrontendService"]

STORE: Final = "usermeta.store"
"""The name by which health tells whether writes work."""


class Server:
    """A server that serves: where it listens, and how it ends."""

    def __init__(self, app: App, settings: ServerSettings, observers: Observers) -> None:
        """Put the parts together; `start_server` makes and starts one."""
        self.app = app
        self.port = 0
        self._drain = Drain()
        rules = policy.method_rules(ProfileAudience(settings.profiles))
        admission = Admission(rules, app.authenticator, self._drain, observers, _limits(settings))
        methods = {
            **methods_of(BACKEND, BackendService(app.use_cases, settings.cache)),
            **methods_of(FRONTEND, FrontendService(app.use_cases, settings.cache)),
        }
        names = (BACKEND.full_name, FRONTEND.full_name)
        self._grpc = GrpcServer(names, methods, admission, reflection=settings.reflection)
        self.health = self._grpc.health
        _show_store(app.store.condition, self.health)

    async def start(self, settings: ServerSettings) -> None:
        """Listen and serve.

        Raises:
            OperatorError: the address is taken, or TLS files cannot be read.
        """
        self.port = await self._grpc.start(settings)

    async def stop(self, grace: float) -> None:
        """Stop serving: say so, end what would go on for ever, let calls under way finish within `grace` seconds."""
        now = asyncio.get_running_loop().time
        deadline = now() + grace
        self.health.end()
        self.app.hub.close()
        await self._drain.run(grace)
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
    access_log = AccessLog(lines) if lines else None
    observers = _observers(settings, access_log)
    async with open_app(settings, rotate_session_key=rotate_session_key, clock=clock) as app:
        server = Server(app, settings, observers)
        await server.start(settings)
        async with kept_up(app, settings):
            try:
                yield server
            finally:
                # Watches end before the calls, and the calls before the store that they write to.
                await server.stop(settings.shutdown_grace)
        if access_log:
            access_log.flush()


def _observers(settings: ServerSettings, access_log: AccessLog | None) -> Observers:
    """Let the access log observe the calls that it shall log."""
    logs = (access_log,) if access_log else ()
    return {"all": Observers(all=logs), "errors": Observers(failed=logs), "off": Observers()}[settings.access_log]


def _limits(settings: ServerSettings) -> Limits | None:
    """Return the limits that callers have; raises OperatorError, when a rate is of nothing."""
    limits = Limits(dict(settings.rates), settings.trusted_proxies, refuses=settings.limits == "on")
    return None if settings.limits == "off" else limits


def _show_store(condition: Condition, health: Health) -> None:
    """Let the health of `usermeta.store` say whether writes work, now and whenever that changes."""

    def show(cause: Cause | None) -> None:
        health.set(STORE, serving=cause is None)

    show(condition.cause)
    condition.subscribe(show)
