"""Whether the generator is the bottleneck: the same loads by h2load, in turns with ours."""

import re
import resource
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from itertools import repeat
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

import report
from http2 import Call
from load import CONNECTIONS, closed_load
from results import MIDDLE, Generator
from scenarios import GET_USER, INCREMENT, World, echoed
from servers import Server

_RATE: Final = re.compile(r"finished in [^,]+, ([\d.]+) req/s")
_DONE: Final = re.compile(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout")


class FixedLoad(NamedTuple):
    """A load of one call, made again and again: all that h2load can do."""

    name: str
    server: Server
    call: Call


def fixed_loads(ours: Server, echo: Server, world: World) -> Sequence[FixedLoad]:
    """Return the loads on which generators are compared."""
    read, increment = GET_USER.calls(world)[0], INCREMENT.calls(world)[0]
    return (
        FixedLoad("echo", echo, echoed(GET_USER, [read])[0]),
        FixedLoad(GET_USER.name, ours, read),
        FixedLoad(INCREMENT.name, ours, increment),
    )


def compare_generators(loads: Sequence[FixedLoad], rounds: int, seconds: float, body: Path) -> Sequence[Generator]:
    """Measure loads with both generators, nothing where there is no h2load; `body` is a file to write to."""
    if not shutil.which("h2load"):
        return ()
    return [report.progress(row) for load in loads for row in _compare(load, rounds, seconds, body)]


def _compare(load: FixedLoad, rounds: int, seconds: float, body: Path) -> Iterator[Generator]:
    body.write_bytes(load.call.body)
    taken: dict[str, list[tuple[float, float]]] = {"h2load": [], "ours": []}
    for _ in range(rounds):
        taken["h2load"].append(_by_h2load(load, seconds, body))
        taken["ours"].append(_by_ours(load, seconds))
    for name, turns in taken.items():
        yield Generator(load.name, name, median(rate for rate, _ in turns), median(cpu for _, cpu in turns))


def _by_ours(load: FixedLoad, seconds: float) -> tuple[float, float]:
    found = closed_load(load.server.port, repeat(load.call), MIDDLE, seconds)
    assert not found.failures, found.failures
    return found.rate, 1e6 * found.cpu / found.succeeded


def _by_h2load(load: FixedLoad, seconds: float, body: Path) -> tuple[float, float]:
    streams = MIDDLE // CONNECTIONS
    credential = load.call.credential
    token = credential[credential.index(b"Bearer ") :].decode()
    command = ["h2load", "-t", "1", "-c", f"{CONNECTIONS}", "-m", f"{streams}", "-D", f"{1000 * seconds:.0f}ms"]
    command += ["--warm-up-time", "100ms", "-d", str(body), "-H", "content-type: application/grpc"]
    command += ["-H", "te: trailers", "-H", f"authorization: {token}"]
    command += [f"http://127.0.0.1:{load.server.port}{load.call.path}"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603  # ours
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    rate, done = _RATE.search(output), _DONE.search(output)
    assert rate, output
    assert done, output
    assert not any(map(int, done.groups()[1:])), output
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return float(rate[1]), 1e6 * cpu / max(1, int(done[1]))
