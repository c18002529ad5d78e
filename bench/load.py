"""The load: calls from an endless list, so many in flight, or so many a second; every one's gRPC status is looked at.

A generator of our own, because neither of the usual ones can make this load. h2load sends one body and one credential
for a whole run, so it cannot be a thousand users, and a merge that it repeats writes nothing; and it does not see
gRPC's status. ghz can and does, at more CPU for a call than the server takes. This one costs little more than h2load:
the benchmark measures both, and shows it.
"""

import gc
import select
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from random import Random
from typing import Final, NamedTuple

from http2 import Call, Connection

CONNECTIONS: Final = 8
"""Over how many connections the calls in flight are spread at the most."""
_WARM_UP: Final = 0.1
_OK: Final = "0"
_BACKLOG: Final = 20_000


class Load(NamedTuple):
    """What a load came to.

    Attributes:
        seconds: How long was counted.
        counted: How many calls succeeded within it.
        succeeded: How many did in all, those of the warm-up and the last ones too.
        failures: How many ended otherwise, by gRPC status.
        latencies: Seconds of each counted call.
        data: Bytes of messages received, with gRPC's five before each.
        cpu: CPU seconds that the generator took.
    """

    seconds: float
    counted: int
    succeeded: int
    failures: Mapping[str, int]
    latencies: list[float]
    data: int
    cpu: float

    @property
    def rate(self) -> float:
        """Calls that succeeded a second."""
        return self.counted / self.seconds


class _Run:
    """One load under way."""

    def __init__(self, port: int, calls: Iterator[Call], connections: int) -> None:
        self.calls = calls
        self.connections = [Connection(port) for _ in range(connections)]
        self.starts: dict[tuple[Connection, int], float] = {}
        self.latencies: list[float] = []
        self.failures: Counter[str] = Counter()
        self.succeeded = 0
        self.counted_from = 0.0
        self.counted_until = 0.0

    def send(self, connection: Connection, call: Call, start: float) -> None:
        """Put a call into a connection; it counts from `start`."""
        self.starts[connection, connection.put(call)] = start

    def receive(self, timeout: float) -> Iterator[Connection]:
        """Wait for what comes, and return for each call that ended its connection."""
        ready, _, _ = select.select(self.connections, (), (), timeout)
        for connection in ready:
            for stream, status in connection.receive():
                self._end(connection, stream, status)
                yield connection
            connection.flush()

    def _end(self, connection: Connection, stream: int, status: str) -> None:
        start = self.starts.pop((connection, stream))
        if status != _OK:
            self.failures[status] += 1
            return
        self.succeeded += 1
        now = time.perf_counter()
        if self.counted_from <= now < self.counted_until:
            self.latencies.append(now - start)

    def result(self, cpu: float) -> Load:
        """Return what it came to."""
        seconds = self.counted_until - self.counted_from
        data = sum(connection.data for connection in self.connections)
        counted = len(self.latencies)
        return Load(seconds, counted, self.succeeded, self.failures, self.latencies, data, time.process_time() - cpu)


@contextmanager
def _running(port: int, calls: Iterator[Call], connections: int, seconds: float) -> Iterator[_Run]:
    run = _Run(port, calls, connections)
    gc.disable()
    run.counted_from = time.perf_counter() + _WARM_UP
    run.counted_until = run.counted_from + seconds
    try:
        yield run
        while run.starts:
            for _ in run.receive(10):
                pass
    finally:
        gc.enable()
        for connection in run.connections:
            connection.close()


def closed_load(port: int, calls: Iterator[Call], in_flight: int, seconds: float) -> Load:
    """Keep so many calls in flight for so many seconds, after a short warm-up."""
    connections = min(in_flight, CONNECTIONS)
    cpu = time.process_time()
    with _running(port, calls, connections, seconds) as run:
        for index in range(in_flight):
            connection = run.connections[index % connections]
            run.send(connection, next(calls), time.perf_counter())
            connection.flush()
        while (now := time.perf_counter()) < run.counted_until:
            for connection in run.receive(run.counted_until - now):
                run.send(connection, next(calls), time.perf_counter())
    return run.result(cpu)


def counted_load(port: int, calls: Iterator[Call], in_flight: int, count: int) -> Load:
    """Make so many calls, so many in flight at once."""
    connections = min(in_flight, count, CONNECTIONS)
    cpu = time.process_time()
    with _running(port, calls, connections, 1e9) as run:
        left = count
        for index in range(min(in_flight, count)):
            connection = run.connections[index % connections]
            run.send(connection, next(calls), time.perf_counter())
            connection.flush()
            left -= 1
        while run.starts:
            for connection in run.receive(10):
                if left:
                    run.send(connection, next(calls), time.perf_counter())
                    left -= 1
    return run.result(cpu)


def open_load(port: int, calls: Iterator[Call], rate: float, seconds: float) -> Load:
    """Begin so many calls a second at random times (a Poisson process), whether or not earlier ones have ended.

    A call's latency counts from when it was due: one that has to wait because others are slow is slow too.
    """
    cpu = time.process_time()
    gaps = Random(0)  # noqa: S311  # arrival times, not secrets
    with _running(port, calls, CONNECTIONS, seconds) as run:
        due = run.counted_from - _WARM_UP
        number = 0
        while (now := time.perf_counter()) < run.counted_until:
            while due <= now:
                connection = run.connections[number % CONNECTIONS]
                run.send(connection, next(calls), due)
                number += 1
                due += gaps.expovariate(rate)
            for connection in run.connections:
                connection.flush()
            assert len(run.starts) < _BACKLOG, f"{rate:.0f} calls a second are more than the server takes"
            for _ in run.receive(max(0.0, due - time.perf_counter())):
                pass
    return run.result(cpu)
