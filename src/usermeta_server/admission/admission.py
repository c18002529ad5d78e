"""Who may call: asked before a byte of the body is read, and once more when it has come; and how calls end."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol, TypeAlias, TypeVar

from usermeta_server import policy
from usermeta_server.admission.drain import Drain
from usermeta_server.admission.observers import EndedCall, Observers
from usermeta_server.admission.settle import is_cancelled_by_caller, settle
from usermeta_server.call import Call
from usermeta_server.caller import Audience, Caller, Principal, PrincipalKind
from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.lru import LruMap
from usermeta_server.policy import MethodRule

T = TypeVar("T")

Headers: TypeAlias = Sequence[tuple[str, str | bytes]]
"""A call's headers: lower-case names, with their values."""

_REMEMBERED: Final = 20_000
"""How many callers are remembered, by method and credential: what a credential means is found out once."""


class Credentials(Protocol):
    """Tells whose credential a call came with."""

    async def authenticate(self, audience: Audience, headers: Sequence[str | bytes]) -> Principal:
        """Return the principal of these `authorization` headers; raises UNAUTHENTICATED reasons."""
        ...

    def check(self, principal: Principal) -> None:
        """Check that a credential that was good still is; raises UNAUTHENTICATED reasons."""
        ...


class Admission:
    """Decides from a call's method and headers whether it may go on, and as whom; and accompanies it to its end."""

    def __init__(
        self,
        rules: Mapping[str, MethodRule],
        credentials: Credentials,
        drain: Drain,
        observers: Observers,
    ) -> None:
        """Judge by these rules; what has no rule is refused, and everything once a drain has begun."""
        self._rules = rules
        self._credentials = credentials
        self._drain = drain
        self._observers = observers
        self._callers: LruMap[tuple[str, tuple[str | bytes, ...]], Caller] = LruMap(_REMEMBERED)

    async def admit(self, method: str, headers: Headers, start: int) -> Call:
        """Return a call (of a method, by its full path) that may go on, by all that can be known before its body.

        Raises:
            UsermetaError: SHUTTING_DOWN, and what authenticating and authorizing raise.
        """
        if self._drain.begun:
            raise UsermetaError(Reason.SHUTTING_DOWN)
        authorization = tuple([value for name, value in headers if name == "authorization"])
        caller = self._callers.get((method, authorization))
        if caller is None:
            caller = await self._authenticate(method, authorization)
        else:
            self._credentials.check(caller.principal)
        return Call(caller, start)

    async def _authenticate(self, method: str, authorization: tuple[str | bytes, ...]) -> Caller:
        rule = self._rules.get(method)
        if rule is None:
            raise UsermetaError(Reason.ACCESS_DENIED)
        principal = await self._credentials.authenticate(rule.audience, authorization)
        policy.authorize(rule, principal)
        caller = Caller(rule.audience, method, principal)
        if principal.kind is not PrincipalKind.IDENTITY:  # which user an outside identity stands for may change
            self._callers.put((method, authorization), caller, 1)
        return caller

    async def turn_away(self, method: str, start: int, error: Exception) -> UsermetaError:
        """Return what the caller is told of a call that was not admitted, when it is time to say so."""
        told = settle(error, method)
        elapsed = time.perf_counter_ns() - start
        self._observers.tell(EndedCall(None, method, told.reason.status, told.reason, elapsed))
        if told.reason is Reason.SHUTTING_DOWN:
            await self._drain.hold()
        return told

    async def carry_out(
        self, call: Call, body: bytes, handle: Callable[[bytes, Call], Awaitable[T]]
    ) -> T | UsermetaError:
        """Return what `handle` makes of the body of a call, now that it has come, or the error that the caller is told.

        Raises:
            CancelledError: the caller has left.
        """
        drain = self._drain
        drain.under_way += 1
        try:
            if drain.begun:
                raise UsermetaError(Reason.SHUTTING_DOWN)  # noqa: TRY301  # told as every other error is
            self._credentials.check(call.caller.principal)
            response = await handle(body, call)
        except (Exception, asyncio.CancelledError) as error:
            if is_cancelled_by_caller(error):
                self._end(call, "CANCELLED", None)
                raise
            told = settle(error, call.caller.method)
            self._end(call, told.reason.status, told.reason)
            return told
        finally:
            drain.under_way -= 1
        if self._observers.all:
            self._end(call, "OK", None)
        return response

    def _end(self, call: Call, status: str, reason: Reason | None) -> None:
        caller = call.caller
        elapsed = time.perf_counter_ns() - call.start
        self._observers.tell(EndedCall(caller, caller.method, status, reason, elapsed, call.request_id))
