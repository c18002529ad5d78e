"""The one interceptor: it tags each call with its audience and its principal, or refuses it.

All in one, for each further interceptor would cost a tenth of the calls. It reads metadata only: a caller that
may not call is refused before a byte of the body is read.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

import grpc

from usermeta_server import policy
from usermeta_server.audience import Caller, PrincipalKind, current_caller, set_caller
from usermeta_server.auth.authenticator import Authenticator
from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.interceptors.access_log import AccessLog, EndedCall
from usermeta_server.interceptors.drain import Drain
from usermeta_server.interceptors.handlers import Guard, Handler, last_refusal, refusal, to_domain_error
from usermeta_server.lru import LruMap
from usermeta_server.policy import MethodRule

Headers: TypeAlias = tuple[str | bytes, ...]
Continuation: TypeAlias = "Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]"

OPEN_SERVICES: Final = frozenset(
    {
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    }
)
"""Services that need no credential: they are about the server, never about a user."""


_REMEMBERED: Final = 20_000
"""How many callers are remembered, by method and credential: what a credential means is found out once."""


class AudienceInterceptor(grpc.aio.ServerInterceptor):
    """Decides from a call's method and metadata whether it may go on, and as whom."""

    def __init__(
        self, rules: Mapping[str, MethodRule], authenticator: Authenticator, access_log: AccessLog, drain: Drain
    ) -> None:
        """Judge by these rules; what has no rule is refused, and everything once a drain has begun."""
        self._rules = rules
        self._authenticator = authenticator
        self._log = access_log
        self._drain = drain
        self._guard = Guard(access_log, drain, current_caller, authenticator.check)
        self._guarded: dict[str, Handler] = {}
        self._callers: LruMap[tuple[str, Headers], Caller] = LruMap(_REMEMBERED)

    async def intercept_service(self, continuation: Continuation, details: grpc.HandlerCallDetails) -> "Handler | None":
        """Return the method's handler with the call tagged, or one that refuses; None for an unknown method."""
        method = details.method
        guarded = self._guarded.get(method)
        if guarded is None:
            handler = await continuation(details)
            if handler is None or method.split("/")[1] in OPEN_SERVICES:
                return handler
            guarded = self._guarded[method] = self._guard.wrap(method, handler)
        start = time.perf_counter_ns()
        headers = tuple([value for key, value in details.invocation_metadata or () if key == "authorization"])
        caller = self._callers.get((method, headers))
        try:
            if self._drain.begun:
                self._record(method, Reason.SHUTTING_DOWN, start)
                return last_refusal(self._drain)
            if caller is None:
                caller = await self._authenticate(method, headers)
            else:
                self._authenticator.check(caller.principal)
        except Exception as error:  # noqa: BLE001  # the outermost layer
            told = to_domain_error(error, method)
            self._record(method, told.reason, start)
            return refusal(told)
        set_caller(caller)
        return guarded

    def _record(self, method: str, reason: Reason, start: int) -> None:
        self._log.record(EndedCall(None, method, reason.status, reason, time.perf_counter_ns() - start))

    async def _authenticate(self, method: str, headers: Headers) -> Caller:
        rule = self._rules.get(method)
        if rule is None:
            raise UsermetaError(Reason.ACCESS_DENIED)
        principal = await self._authenticator.authenticate(rule.audience, headers)
        policy.authorize(rule, principal)
        caller = Caller(rule.audience, method, principal)
        if principal.kind is not PrincipalKind.IDENTITY:  # which user an outside identity stands for may change
            self._callers.put((method, headers), caller, 1)
        return caller
