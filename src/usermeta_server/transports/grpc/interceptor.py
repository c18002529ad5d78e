"""The interceptor: it tags each call with its audience and its principal, or refuses it.

One for all that has to be decided, for each further interceptor would cost a tenth of the calls. gRPC tells it a call's
method and metadata, and no more.
"""

import time
from functools import partial
from typing import TYPE_CHECKING, Final

import grpc

from usermeta_server.admission.admission import Admission
from usermeta_server.admission.call import set_call
from usermeta_server.transports.grpc.handlers import Handler, refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]

OPEN_SERVICES: Final = frozenset(
    {
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    }
)
"""Services that need no credential: they are about the server, never about a user."""


class AudienceInterceptor(grpc.aio.ServerInterceptor):
    """Asks admission whether a call may go on, and as whom."""

    def __init__(self, admission: Admission) -> None:
        """Ask this admission."""
        self._admission = admission
        self._handlers: dict[str, Handler] = {}

    async def intercept_service(
        self, continuation: "Continuation", details: grpc.HandlerCallDetails
    ) -> "Handler | None":
        """Return the method's handler with the call tagged, or one that refuses; None for an unknown method."""
        method = details.method
        handler = self._handlers.get(method)
        if handler is None:
            handler = await continuation(details)
            if handler is None or method.split("/")[1] in OPEN_SERVICES:
                return handler
            self._handlers[method] = handler
        start, headers = time.perf_counter_ns(), details.invocation_metadata or ()
        try:
            call = await self._admission.admit(method, headers, start)
        except Exception as error:  # noqa: BLE001  # the outermost layer
            return refusal(partial(self._admission.turn_away, method, start, headers, error))
        set_call(call)
        return handler
