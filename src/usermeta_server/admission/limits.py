"""How much of a server each principal may have: calls in flight, calls a second, and turns while others call, too.

Limits are of one node. A principal has a lane for each kind of traffic. Calls begin as they come, unless one principal
makes most of them while others call, too: then its calls wait in its lanes, and a few at a time begin whenever nobody
else is about to be let in. A call that waits costs nothing, so the others find the event loop nearly free. What a lane
has no room for is refused, and refusals are sent at a bounded pace: a caller that does not heed them would keep the
server busy with nothing else.
"""

import asyncio
import contextlib
import logging
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

from usermeta_server.admission.addresses import Network, source_of
from usermeta_server.caller import PrincipalKind
from usermeta_server.errors import OperatorError, Reason, UsermetaError
from usermeta_server.policy import Traffic

log = logging.getLogger(__name__)

_SECOND: Final = 1_000_000_000
_SHARED_FOR: Final = _SECOND
"""How long after the call of another the server counts as shared (nanoseconds)."""
_MAX_LANES: Final = 20_000
"""How many lanes are remembered of principals who have no call in flight; one takes about 400 bytes."""
_MAX_SKIPPED: Final = 8
_PACE: Final = _SECOND // 1000
"""Nanoseconds between two refusals."""
_MAX_HELD: Final = 1000
"""How many refusals are held back at the most."""
_BATCH: Final = 8
"""How many calls begin before those who have called meanwhile are let in."""
_LULL: Final = 0.001
"""For how long nobody has to have called, for nobody to be about to be let in (seconds)."""
_LULLS: Final = 8
"""How many times such a moment is waited for."""
_MUCH: Final = 64
"""By how many calls a principal has to lead for the others to come first."""
_IN_FLIGHT_RETRY: Final = 1.0
"""After how many seconds one may try again who has too many calls in flight."""
_LOG_SECONDS: Final = 60.0


class Allowance(NamedTuple):
    """What a principal may have of one kind of traffic.

    Attributes:
        in_flight: Calls in flight, those that wait for their turn included.
        at_once: How many of them are worked on at once while others call, too, and the principal makes most calls.
        rate: Calls a second, 0 for any number.
        burst: Calls that may come at once after a rest.
    """

    in_flight: int
    at_once: int
    rate: float = 0
    burst: float = 0


_PERSON: Final = {
    Traffic.READS: Allowance(100, 4, rate=100, burst=500),
    Traffic.WRITES: Allowance(100, 2, rate=20, burst=100),
    Traffic.STREAMS: Allowance(20, 20, rate=5, burst=50),
}

ALLOWANCES: Final[Mapping[PrincipalKind, Mapping[Traffic, Allowance]]] = {
    PrincipalKind.SECRET_KEY: {
        Traffic.READS: Allowance(2000, 16),
        Traffic.WRITES: Allowance(2000, 128),
        Traffic.STREAMS: Allowance(1000, 1000),
    },
    PrincipalKind.USER: _PERSON,
    PrincipalKind.IDENTITY: _PERSON,
    PrincipalKind.SIGN_UP: {
        Traffic.READS: Allowance(20, 2, rate=20, burst=100),
        Traffic.WRITES: Allowance(20, 2, rate=10, burst=50),
        Traffic.STREAMS: Allowance(0, 0),
    },
    PrincipalKind.ANONYMOUS: {
        Traffic.READS: Allowance(200, 4, rate=200, burst=1000),
        Traffic.WRITES: Allowance(50, 2, rate=5, burst=200),
        Traffic.STREAMS: Allowance(0, 0),
    },
}
"""What each kind of principal may have; anonymous callers are one principal for each address that they come from."""

COSTS: Final[Mapping[Reason, float]] = {
    Reason.CREDENTIAL_INVALID: 10,
    Reason.IDENTIFIER_TAKEN: 10,
    Reason.USER_NOT_FOUND: 5,
}
"""How many calls more a refusal counts as that tells something to who tries one thing after the other."""


class Lane:
    """The calls of one principal, of one kind of traffic."""

    __slots__ = ("at_once", "burst", "in_flight", "kind", "rate", "running", "time", "tokens", "waiting", "who")

    def __init__(self, who: str, kind: str, allowance: Allowance, now: int) -> None:
        """Make a lane without calls, at a time (nanoseconds); `kind` is what logs call it."""
        self.who = who
        self.kind = kind
        self.in_flight, self.at_once, self.rate, self.burst = allowance
        self.tokens = allowance.burst
        self.time = now
        self.running = 0
        self.waiting: deque[asyncio.Future[None]] = deque()

    @property
    def is_full(self) -> bool:
        """Whether it has as many calls as it may have."""
        return self.running + len(self.waiting) >= self.in_flight

    def refill(self, now: int) -> None:
        """Take in the tokens that came since the last time."""
        self.tokens = min(self.burst, self.tokens + (now - self.time) / _SECOND * self.rate)
        self.time = now


class Limits:
    """Lets calls in by the lanes that they are in."""

    def __init__(
        self,
        rates: Mapping[str, float] = MappingProxyType({}),
        proxies: Iterable[Network] = (),
        *,
        refuses: bool = True,
        max_lanes: int = _MAX_LANES,
    ) -> None:
        """Go by `ALLOWANCES`, with other rates (calls a second, 0 for any) of what `rates` names, say `user.reads`.

        `proxies` are trusted to say whom they call for. Unless it `refuses`, what is beyond the limits is only counted,
        and logged now and then.

        Raises:
            OperatorError: a rate is of nothing that has one.
        """
        self._refuses = refuses
        self._proxies = tuple(proxies)
        self._max_lanes = max_lanes
        self._allowances = {
            (kind, traffic): _with_rate(allowance, rates.get(f"{kind}.{traffic}"))
            for kind, allowances in ALLOWANCES.items()
            for traffic, allowance in allowances.items()
        }
        names = {f"{kind}.{traffic}" for kind, traffic in self._allowances}
        if unknown := sorted(rates.keys() - names):
            raise OperatorError(f"rates: there is no {', '.join(unknown)}, but {', '.join(sorted(names))}")
        self._lanes: OrderedDict[tuple[str, Traffic], Lane] = OrderedDict()
        # Who makes most calls (the majority vote of Boyer and Moore), and by how many more than all others of late.
        self._most = ""
        self._lead = 0
        self._shared_until = 0
        self._refused: Counter[str] = Counter()
        self._log_time = 0.0
        self._queue: OrderedDict[Lane, None] = OrderedDict()
        self._held: deque[asyncio.Future[None]] = deque()
        self._next_refusal = 0
        self._arrived = 0
        self._changed = asyncio.Event()
        self._dispatching: asyncio.Task[None] | None = None

    @property
    def remembered(self) -> int:
        """How many lanes there are."""
        return len(self._lanes)

    def enter(self, who: str, kind: PrincipalKind, traffic: Traffic, now: int) -> Lane:
        """Let a call come in, at a time (nanoseconds), and return the lane that it is to be in.

        Raises:
            UsermetaError: RATE_LIMITED.
        """
        lane = self.lane(who, kind, traffic, now)
        if lane.rate or lane.running + len(lane.waiting) >= lane.in_flight:
            self.admit(lane, now)
        return lane

    def lane(self, who: str, kind: PrincipalKind, traffic: Traffic, now: int) -> Lane:
        """Return the lane of a principal; `who` is its name, or where an anonymous caller comes from."""
        self._arrived += 1
        if self._lead < 2 * _MUCH or who != self._most:
            self._count(who, now)
        key = (who, traffic)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane(who, f"{kind}.{traffic}", self._allowances[kind, traffic], now)
            self._drop_oldest()
        else:
            self._lanes.move_to_end(key)
        return lane

    def _count(self, who: str, now: int) -> None:
        """Count a call into who makes most of them."""
        if who == self._most:
            self._lead += 1
            return
        if self._most:
            self._shared_until = now + _SHARED_FOR
        self._lead -= 1
        if self._lead <= 0:
            self._most, self._lead = who, 1

    def lane_from(self, peer: str, forwarded: Sequence[str | bytes], traffic: Traffic, now: int) -> Lane:
        """Return the lane of callers of whom nothing is known but where they come from; see `source_of`."""
        who = f"{PrincipalKind.ANONYMOUS}:{source_of(peer, forwarded, self._proxies)}"
        return self.lane(who, PrincipalKind.ANONYMOUS, traffic, now)

    def _drop_oldest(self) -> None:
        """Forget who has not called for longest, and has no calls in flight."""
        for _ in range(_MAX_SKIPPED):
            if len(self._lanes) <= self._max_lanes:
                return
            key, lane = self._lanes.popitem(last=False)
            if lane.running or lane.waiting:
                self._lanes[key] = lane

    def admit(self, lane: Lane, now: int) -> None:
        """Let a call come in that is to be in a lane, at a time (nanoseconds).

        Raises:
            UsermetaError: RATE_LIMITED.
        """
        if lane.is_full:
            self._refuse(lane, _IN_FLIGHT_RETRY)
        if not lane.rate:
            return
        lane.refill(now)
        if lane.tokens < 1:
            self._refuse(lane, (1 - lane.tokens) / lane.rate)
        else:
            lane.tokens -= 1

    def charge(self, lane: Lane, reason: Reason) -> None:
        """Count a refusal into the rate of a lane as what it costs; what is lacking has to be waited for."""
        cost = COSTS.get(reason)
        if cost and lane.rate:
            lane.tokens = max(lane.tokens - cost, -lane.burst)

    def begin(self, lane: Lane, now: int) -> bool:
        """Begin a call, unless it has to `wait` for its turn."""
        if self._refuses and (
            lane.running >= lane.in_flight
            or (now < self._shared_until and self._lead >= _MUCH and lane.who == self._most)
        ):
            return False
        lane.running += 1
        return True

    async def wait(self, lane: Lane) -> None:
        """Begin a call when it is its turn; raises as `admit` does."""
        if lane.is_full:
            self._refuse(lane, _IN_FLIGHT_RETRY)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        lane.waiting.append(turn)
        self._queue[lane] = None
        self._wake()
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self.end(lane)
            elif turn in lane.waiting:
                lane.waiting.remove(turn)
            raise

    def end(self, lane: Lane) -> None:
        """End a call that had begun."""
        lane.running -= 1
        if lane.waiting:
            self._wake()

    async def hold(self) -> None:
        """Return when it is time to say a refusal."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._held.append(turn)
        self._wake()
        await turn

    def _wake(self) -> None:
        self._changed.set()
        if self._dispatching is None or self._dispatching.done():
            self._dispatching = asyncio.get_running_loop().create_task(self._dispatch(), name="usermeta-turns")

    async def _dispatch(self) -> None:
        """Let those who wait go on, in turns by lane, a few at a time: who has just called comes in before the next."""
        while self._queue or self._held:
            self._changed.clear()
            await self._lull()
            now = time.perf_counter_ns()
            begun = sum(self._begin_next(now) for _ in range(_BATCH))
            if self._held and (now >= self._next_refusal or len(self._held) > _MAX_HELD):
                self._next_refusal = now + _PACE
                _go_on(self._held.popleft())
            elif not begun:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), _PACE / _SECOND if self._held else None)

    def _begin_next(self, now: int) -> bool:
        """Let one call begin, of the lane whose turn it is; return whether there was one."""
        for lane in list(self._queue):
            self._queue.move_to_end(lane)
            at_once = lane.at_once if now < self._shared_until else lane.in_flight
            while lane.waiting and lane.running < at_once:
                if _go_on(lane.waiting.popleft()):
                    lane.running += 1
                    return True
            if not lane.waiting:
                del self._queue[lane]
        return False

    async def _lull(self) -> None:
        """Return when nobody has called for a moment, or many have: a transport hands over one call after the other."""
        for _ in range(_LULLS):
            arrived = self._arrived
            await asyncio.sleep(_LULL)
            if arrived == self._arrived:
                return

    def _refuse(self, lane: Lane, seconds: float) -> None:
        """Refuse a call of a lane, if calls are refused; count it in any case."""
        self._refused[lane.kind] += 1
        self._log_refused()
        if self._refuses:
            raise UsermetaError(Reason.RATE_LIMITED, retry_after=seconds)

    def _log_refused(self) -> None:
        now = time.monotonic()
        if now - self._log_time < _LOG_SECONDS and self._log_time:
            return
        self._log_time = now
        said = "refused" if self._refuses else "would have refused"
        counts = ", ".join(f"{count} {kind}" for kind, count in self._refused.most_common())
        log.warning("limits %s calls since they last said so: %s", said, counts)
        self._refused.clear()


def _go_on(turn: "asyncio.Future[None]") -> bool:
    """Let who waits go on; return whether it is still there."""
    if turn.done():
        return False
    turn.set_result(None)
    return True


def _with_rate(allowance: Allowance, rate: float | None) -> Allowance:
    """Return an allowance of another rate; as many calls may come at once as in five seconds."""
    return allowance if rate is None else allowance._replace(rate=rate, burst=5 * rate)
