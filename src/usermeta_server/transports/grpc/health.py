"""Health (grpc.health.v1): whether the server, its services and its parts serve."""

import asyncio
from collections.abc import Iterable
from functools import partial
from typing import Final

import grpc
from grpc_health.v1.health_pb2 import DESCRIPTOR, HealthCheckRequest, HealthCheckResponse

from usermeta_server.errors import invalid
from usermeta_server.services.rpc import parsed
from usermeta_server.transports.grpc.handlers import Context, abort, open_handler
from usermeta_server.transports.grpc.open_streams import OpenStreams

SERVICE: Final = DESCRIPTOR.services_by_name["Health"].full_name

_MAX_NAME: Final = 256
"""The longest name that may be asked about: a watch keeps it."""
_STATUSES: Final = {
    True: HealthCheckResponse.SERVING,
    False: HealthCheckResponse.NOT_SERVING,
    None: HealthCheckResponse.SERVICE_UNKNOWN,
}


class Health:
    """What serves, by name; the empty name is the server as a whole."""

    def __init__(self, names: Iterable[str], streams: OpenStreams) -> None:
        """Begin with these names serving; watches are some of `streams`."""
        self._serving = dict.fromkeys(names, True)
        self._streams = streams
        self._changed = asyncio.Event()
        self._ending = False

    def set(self, name: str, *, serving: bool) -> None:
        """Say whether something serves, to all who ask and watch; a new name is known from now on."""
        if not self._ending:
            self._serving[name] = serving
            self._wake()

    def end(self) -> None:
        """Say that nothing serves any more, for good."""
        self._ending = True
        self._serving = dict.fromkeys(self._serving, False)
        self._wake()

    def handler(self) -> grpc.GenericRpcHandler:
        """Return the handlers of the service."""
        unary, stream = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
        parse = partial(parsed, HealthCheckRequest.FromString)
        handlers = {
            "Check": open_handler(f"/{SERVICE}/Check", unary, self._check, parse),
            "Watch": open_handler(f"/{SERVICE}/Watch", stream, self._watch, parse),
        }
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _reply(self, name: str) -> HealthCheckResponse:
        return HealthCheckResponse(status=_STATUSES[self._serving.get(name)])

    async def _check(self, request: HealthCheckRequest, context: Context) -> HealthCheckResponse:
        if request.service not in self._serving:
            await abort(context, grpc.StatusCode.NOT_FOUND, "health knows nothing of that name")
        return self._reply(request.service)

    async def _watch(self, request: HealthCheckRequest, context: Context) -> None:
        if len(request.service.encode()) > _MAX_NAME:
            raise invalid("service", f"is longer than {_MAX_NAME} bytes")
        with self._streams.taken():
            # On their own: a stream that is ended while its first response is on the way would send them again.
            await context.send_initial_metadata(())
            told = None
            while True:
                changed = self._changed
                reply = self._reply(request.service)
                if reply != told:
                    await context.write(reply)
                    told = reply
                await changed.wait()
