"""What the benchmark finds out: plain records, which are kept as JSON and shown by `report.py`."""

from collections.abc import Sequence
from statistics import median
from typing import Final, NamedTuple

LEVELS: Final = (1, 8, 64, 256)
"""Calls in flight."""
MIDDLE: Final = 64
"""The level at which the aims are judged, and variants compared."""


AS_IS: Final = "usermeta as it is"
ALONE: Final = "one transaction per write"
BY_STATEMENTS: Final = "the same, a statement at a time"
OFF: Final = "synchronous = OFF"
"""What the variants of the write path are called that aims are about."""


class Pair(NamedTuple):
    """The same load on the echo server and on usermeta.

    Attributes:
        scenario: Its name.
        in_flight: How many calls at once.
        echo: Medians of the echo server's calls a second.
        usermeta: Of usermeta's.
        ratio: The median of the rounds' ratios.
        echo_cpu: CPU microseconds a call, of all threads.
        usermeta_cpu: Of usermeta.
        echo_loop: CPU microseconds a call, of the event loop's thread alone.
        usermeta_loop: Of usermeta.
    """

    scenario: str
    in_flight: int
    echo: float
    usermeta: float
    ratio: float
    echo_cpu: float
    usermeta_cpu: float
    echo_loop: float
    usermeta_loop: float


class Latency(NamedTuple):
    """Milliseconds at half of the highest load that each server took: p50, p99, p99.9, medians of the rounds."""

    scenario: str
    echo_rate: float
    usermeta_rate: float
    echo: Sequence[float]
    usermeta: Sequence[float]
    ratio: float


class Scale(NamedTuple):
    """The same load on a store of few users and on one of many: calls a second, and the median ratio of the rounds."""

    scenario: str
    few: float
    many: float
    ratio: float


class Variant(NamedTuple):
    """usermeta changed in one way, beside usermeta as it is: `ratio` is the variant's rate to ours."""

    scenario: str
    variant: str
    rate: float
    ratio: float
    cpu: float


class Memory(NamedTuple):
    """Bytes: of a server at rest, and how many more for 10,000 users read, and for 10,000 connections."""

    server: str
    rest: float
    users: float
    connections: float


class Generator(NamedTuple):
    """What a generator measures on one load, and CPU microseconds that a call costs itself."""

    load: str
    generator: str
    rate: float
    cpu: float


class Results(NamedTuple):
    """All of one run."""

    machine: dict[str, str]
    users: int
    many: int
    pairs: Sequence[Pair]
    latencies: Sequence[Latency]
    scales: Sequence[Scale]
    variants: Sequence[Variant]
    memory: Sequence[Memory]
    generators: Sequence[Generator]
    writes: int


def median_ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """Return the median of the ratios of what was measured side by side."""
    return median(a / b for a, b in zip(above, below, strict=True))
