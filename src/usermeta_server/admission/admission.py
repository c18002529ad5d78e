"""Who may call: asked before a byte of the body is read, and once more when it has come; and how calls end."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol, TypeAlias, TypeVar

from usermeta_server import policy
from usermeta_server.admission.call import Call, Forwarded
from usermeta_server.admission.drain import Drain
from usermeta_server.admission.limits import Lane, Limits
from usermeta_server.admission.observers import EndedCall, Observers
from usermeta_server.admission.settle import has_left, settle
from usermeta_server.caller import Audience, Caller, Principal, PrincipalKind
from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.lru import LruMap
from usermeta_server.policy import MethodRule, Traffic

T = TypeVar("T")

Headers: TypeAlias = Sequence[tuple[str, str | bytes]]
"""A call's headers: lower-case names, with their values."""

_REMEMBERED: Final = 20_000
"""How many callers are remembered, by method and credential: what a credential means is found out once."""


Peer: TypeAlias = Callable[[], str]
"""Tells the address at the other end of a call's connection, which is empty where there is none."""

_NOT_COUNTED: Final = (Reason.RATE_LIMITED, Reason.SHUTTING_DOWN)
"""Why calls are turned away that do not count into what their address may do: they were counted, or nothing was."""


class Credentials(Protocol):
    """Tells whose credential a call came with."""

    async def authenticate(self, audience: Audience, headers: Sequence[str | bytes]) -> Principal:
        """Return the principal of these `authorization` headers; raises UNAUTHENTICATED reasons."""
        ...

    def check(self, principal: Principal) -> None:
        """Check that a credential that was good still is; raises UNAUTHENTICATED reasons."""
        ...


class _Known(NamedTuple):
    """What was found out about a method and a credential: who calls, and into what its calls count."""

    caller: Caller
    who: str
    traffic: Traffic


class Admission:
    """Decides from a call's method and headers whether it may go on, and as whom; and accompanies it to its end."""

    def __init__(
        self,
        rules: Mapping[str, MethodRule],
        credentials: Credentials,
        drain: Drain,
        observers: Observers,
        limits: Limits | None = None,
    ) -> None:
        """Judge by these rules; what has no rule is refused, and everything once a drain has begun.

        Without limits nobody is limited.
        """
        self._limits = limits
        self._rules = rules
        self._credentials = credentials
        self._drain = drain
        self._observers = observers
        self._callers: LruMap[tuple[str, tuple[str | bytes, ...]], _Known] = LruMap(_REMEMBERED)

    async def admit(self, method: str, headers: Headers, start: int) -> Call:
        """Return a call (of a method, by its full path) that may go on, by all that can be known before its body.

        Raises:
            UsermetaError: SHUTTING_DOWN, and what authenticating and authorizing raise.
        """
        if self._drain.begun:
            raise UsermetaError(Reason.SHUTTING_DOWN)
        authorization = tuple([value for name, value in headers if name == "authorization"])
        known = self._callers.get((method, authorization))
        if known is None:
            known = await self._authenticate(method, authorization)
        else:
            self._credentials.check(known.caller.principal)
        caller, who, traffic = known
        limits = self._limits
        if limits is None:
            return Call(caller, start, traffic)
        if not who:
            return Call(caller, start, traffic, forwarded=_forwarded(headers))
        return Call(caller, start, traffic, limits.enter(who, caller.principal.kind, traffic, start))

    async def _authenticate(self, method: str, authorization: tuple[str | bytes, ...]) -> _Known:
        rule = self._rules.get(method)
        if rule is None:
            raise UsermetaError(Reason.ACCESS_DENIED)
        principal = await self._credentials.authenticate(rule.audience, authorization)
        policy.authorize(rule, principal)
        who = "" if principal.kind is PrincipalKind.ANONYMOUS else str(principal)
        known = _Known(Caller(rule.audience, method, principal), who, rule.traffic)
        if principal.kind is not PrincipalKind.IDENTITY:  # which user an outside identity stands for may change
            self._callers.put((method, authorization), known, 1)
        return known

    async def turn_away(self, method: str, start: int, headers: Headers, error: Exception, peer: Peer) -> UsermetaError:
        """Return what the caller is told of a call that was not admitted, when it is time to say so.

        Nobody knows who it is, so it counts into what may come from its address.
        """
        told = settle(error, method)
        if self._limits is not None and told.reason not in _NOT_COUNTED:
            lane = self._limits.lane_from(peer(), _forwarded(headers), Traffic.READS, start)
            try:
                self._limits.admit(lane, start)
                self._limits.charge(lane, told.reason)
            except UsermetaError as limited:
                told = settle(limited, method)
        elapsed = time.perf_counter_ns() - start
        self._observers.tell(EndedCall(None, method, told.reason.status, told.reason, elapsed))
        if told.reason is Reason.SHUTTING_DOWN:
            await self._drain.hold()
        return await self._paced(told)

    async def carry_out(
        self, call: Call, peer: Peer, body: bytes, handle: Callable[[bytes, Call], Awaitable[T]]
    ) -> T | UsermetaError:
        """Return what `handle` makes of the body of a call, now that it has come, or the error that the caller is told.

        Raises:
            CancelledError: the caller has left.
        """
        limits, drain, lane = self._limits, self._drain, None
        drain.under_way += 1
        try:
            if limits is not None:
                wanted = call.lane or self._lane_of(limits, call, peer)
                if not limits.begin(wanted, call.start):
                    await limits.wait(wanted)
                lane = wanted
            if drain.begun:
                raise UsermetaError(Reason.SHUTTING_DOWN)  # noqa: TRY301  # told as every other error is
            self._credentials.check(call.caller.principal)
            response = await handle(body, call)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # the outermost layer
            if has_left(error):
                self._end(call, "CANCELLED", None)
                raise asyncio.CancelledError from None
            told = settle(error, call.caller.method)
            self._end(call, told.reason.status, told.reason)
            if limits is not None and lane is not None:
                limits.charge(lane, told.reason)
        else:
            if self._observers.all:
                self._end(call, "OK", None)
            return response
        finally:
            drain.under_way -= 1
            if limits is not None and lane is not None:
                limits.end(lane)
        return await self._paced(told)

    def _lane_of(self, limits: Limits, call: Call, peer: Peer) -> Lane:
        """Return the lane of a call whose caller is known by nothing but its address; raises as `Limits.admit` does."""
        lane = limits.lane_from(peer(), call.forwarded, call.traffic, call.start)
        limits.admit(lane, call.start)
        return lane

    async def _paced(self, told: UsermetaError) -> UsermetaError:
        """Return an error when it is time to say it."""
        if self._limits is not None and told.reason is Reason.RATE_LIMITED:
            await self._limits.hold()
        return told

    def _end(self, call: Call, status: str, reason: Reason | None) -> None:
        caller = call.caller
        elapsed = time.perf_counter_ns() - call.start
        self._observers.tell(EndedCall(caller, caller.method, status, reason, elapsed, call.request_id))


def _forwarded(headers: Headers) -> Forwarded:
    return [value for name, value in headers if name == "x-forwarded-for"]
