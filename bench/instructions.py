"""How many instructions a call takes, counted by valgrind: what neighbours on the machine cannot blur.

    python bench/instructions.py

It says nothing of caches and of waiting, so it is no throughput; but it tells a change of two per cent from none. Needs
valgrind (on Debian and Ubuntu: apt install valgrind), and some minutes, for it is fifty times slower.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import report
from http2 import Call
from load import counted_load
from scenarios import GET_OWN, GET_PROFILE, GET_USER, INCREMENT, MERGE, Feed, Scenario, World, echoed, fill, first_reply
from servers import Server, echo_server, make_key, usermeta_server

MEASURED: Final = (GET_USER, GET_OWN, GET_PROFILE, MERGE, INCREMENT)
USERS: Final = 100
IN_FLIGHT: Final = 16
_WARM_UP: Final = 3 * USERS


class Count(NamedTuple):
    """Instructions a call: of all threads, and of the event loop's."""

    all: float
    loop: float


class Counter:
    """Valgrind, and where it writes what it counted: a file a thread, the main one's first."""

    def __init__(self, folder: Path) -> None:
        """Count into an empty folder."""
        self._folder = folder
        folder.mkdir()
        output = f"--callgrind-out-file={folder}/count"
        self.command = ("valgrind", "-q", "--tool=callgrind", "--separate-threads=yes", "--instr-atstart=no", output)

    @contextmanager
    def counting(self, server: Server) -> Iterator[None]:
        """Count what a server does within the context."""
        self._switch(server, "on")
        yield
        self._switch(server, "off")

    def _switch(self, server: Server, state: str) -> None:
        command = ["callgrind_control", "-i", state, str(server.process.pid)]
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603  # ours

    def result(self, calls: int) -> Count:
        """Return what was counted, once the server has ended."""
        threads = [self._total(path) / calls for path in sorted(self._folder.glob("count-*"))]
        return Count(sum(threads), threads[0])

    def _total(self, path: Path) -> int:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("totals:"))


def load(server: Server, calls: Sequence[Call], count: int, counter: Counter) -> None:
    """Make calls, of which the last so many are counted."""
    feed = Feed(calls, 0)
    counted_load(server.port, feed, IN_FLIGHT, _WARM_UP)
    with counter.counting(server):
        made = counted_load(server.port, feed, IN_FLIGHT, count)
    assert made.succeeded == count, made.failures


def measure(scenario: Scenario, database: Path, world: World, folder: Path, count: int) -> tuple[Count, Count]:
    """Return what a call costs the echo server, and what it costs usermeta."""
    folder.mkdir()
    calls = scenario.calls(world)
    ours, theirs = Counter(folder / "usermeta"), Counter(folder / "echo")
    with usermeta_server(database, under=ours.command) as server:
        load(server, calls, count, ours)
        reply = first_reply(server, calls[-1])
    with echo_server({scenario.method: reply}, folder / "replies", under=theirs.command) as server:
        load(server, echoed(scenario, calls), count, theirs)
    return theirs.result(count), ours.result(count)


def main() -> None:
    """Read the options, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=2000, help="calls that are counted (2000)")
    parser.add_argument("--publish", action="store_true", help="write the table into docs/")
    given = parser.parse_args()
    rows = []
    with TemporaryDirectory() as name:
        database = Path(name) / "usermeta.db"
        key = make_key(database)
        with usermeta_server(database) as server:
            world = fill(server, key, USERS, tokens=USERS)
        for place, scenario in enumerate(MEASURED):
            echo, ours = measure(scenario, database, world, Path(name) / str(place), given.calls)
            counts = [f"{each / 1000:,.0f}" for each in (echo.loop, ours.loop, echo.all, ours.all)]
            rows.append(report.progress((scenario.name, *counts, f"{echo.loop / ours.loop:.2f}")))
    heads = (
        "1,000 instructions a call",
        "echo, event loop",
        "usermeta, event loop",
        "echo",
        "usermeta",
        "ratio of the loops",
    )
    shown = report.table(heads, rows)
    sys.stdout.write(shown)
    if given.publish:
        report.put({"instructions": shown})


if __name__ == "__main__":
    main()
