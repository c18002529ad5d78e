"""What finding users costs: pages on a small and a large store, reads beside a scan, the memory of export and import.

    python bench/search.py

Two servers run side by side, each on a store of its own, and the same calls go to the one and to the other in turn.
Needs about 4 GB of disk for a million users; everything is removed at the end.
"""

import argparse
import asyncio
import contextlib
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final, NamedTuple

from generate import fill  # beside this file

from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta_server.cli.client import remote
from usermeta_server.settings import ClientSettings

if TYPE_CHECKING:
    from usermeta.backend.v1.backend_service_pb2_grpc import BackendServiceAsyncStub

COMMAND: Final = (sys.executable, "-m", "usermeta_server")
INDEXED: Final = ("public_metadata.plan", "public_metadata.score")
PAGE: Final = 100
PAGES: Final = 1000
SCAN: Final = "private_metadata.nothing = 1"
"""A filter that no index serves and that finds nobody: all users are looked at."""

PARTS: Final = ("pages", "reads", "memory")
LISTS: Final = {
    "by create_time": ("", "create_time"),
    "by create_time desc": ("", "create_time desc"),
    "by an indexed path": ("", "public_metadata.score"),
    "an indexed condition": ("public_metadata.plan = pro", ""),
    "two, one indexed": ("public_metadata.plan = pro AND unsafe_metadata.theme = dark", ""),
    "two, by create_time": ("public_metadata.plan = pro AND unsafe_metadata.theme = dark", "create_time"),
}


class Served(NamedTuple):
    """A store that a server of its own serves."""

    folder: Path
    settings: ClientSettings

    @property
    def environment(self) -> dict[str, str]:
        """What its commands go by."""
        return environment(self.folder, USERMETA_ADDRESS=self.settings.address, USERMETA_KEY=self.settings.key)


def environment(folder: Path, **changes: str) -> dict[str, str]:
    """Return the environment of a command on the store in a folder."""
    return {**os.environ, "USERMETA_DATABASE_URL": f"sqlite:///{folder}/usermeta.db", **changes}


@contextmanager
def served(folder: Path, count: int) -> Iterator[Served]:
    """Fill a store, and serve it."""
    folder.mkdir(exist_ok=True)
    if count:
        start = time.perf_counter()
        fill(folder / "usermeta.db", count, INDEXED)
        print(f"{count:,} users were made in {time.perf_counter() - start:.0f} s", flush=True)
    given = environment(folder, USERMETA_LISTEN="127.0.0.1:0", USERMETA_ACCESS_LOG="off", USERMETA_SEARCH="1h")
    made = subprocess.run([*COMMAND, "keys", "create", "bench"], env=given, check=True, capture_output=True, text=True)  # noqa: S603  # ours
    process = subprocess.Popen([*COMMAND, "serve"], env=given, stderr=subprocess.PIPE, text=True)  # noqa: S603  # ours
    try:
        assert process.stderr is not None
        found = (re.search(r"usermeta listens on ([\d.:]+)", line) for line in process.stderr)
        address = next(match[1] for match in found if match)
        yield Served(folder, ClientSettings(address=address, key=made.stdout.strip()))
    finally:
        process.terminate()
        process.communicate()


# Pages


class Page(NamedTuple):
    """A page of a list on one of the stores."""

    title: str
    stub: "BackendServiceAsyncStub"
    request: pb.ListUsersRequest


async def page_at(
    stub: "BackendServiceAsyncStub", what: tuple[str, str], wanted: int
) -> tuple[int, pb.ListUsersRequest]:
    """Return the number and the request of a list's page, or of one near its end if it has not so many."""
    request = pb.ListUsersRequest(filter=what[0], order_by=what[1], page_size=PAGE)
    tens, rest = divmod(wanted - 1, 10)
    places = [(1, "")]
    for pages in [10] * tens + [1] * rest:
        number, token = places[-1]
        step = pb.ListUsersRequest(filter=what[0], order_by=what[1], page_size=pages * PAGE, page_token=token)
        answer = await stub.ListUsers(step)
        if not answer.next_page_token:
            places = places[-2:-1] or places
            break
        places.append((number + pages, answer.next_page_token))
    number, request.page_token = places[-1]
    return number, request


async def timed_page(page: Page) -> float:
    """Return how many seconds a page takes."""
    start = time.perf_counter()
    answer = await page.stub.ListUsers(page.request)
    elapsed = time.perf_counter() - start
    assert len(answer.users) == PAGE, page.title
    return elapsed


async def measure_pages(small: "BackendServiceAsyncStub", large: "BackendServiceAsyncStub", rounds: int) -> None:
    """Print what pages take at the beginning and far behind it, on both stores."""
    titles = f"{'small, first':>14}{'large, first':>14}{'ratio':>7}{'large, later':>14}{'ratio':>7}"
    print(f"\n{f'median of {rounds}, ms':<24}{titles}")
    for name, what in LISTS.items():
        number, later = await page_at(large, what, PAGES)
        _, first = await page_at(large, what, 1)
        calls = [Page("small", small, first), Page("first", large, first), Page("later", large, later)]
        took: dict[str, list[float]] = {call.title: [] for call in calls}
        for turn in range(rounds + 3):
            for call in calls[turn % 3 :] + calls[: turn % 3]:
                took[call.title].append(await timed_page(call))
        base, first_took, later_took = (median(took[call.title][3:]) * 1e3 for call in calls)
        ratios = first_took / base, later_took / base
        print(
            f"{name:<24}{base:>14.2f}{first_took:>14.2f}{ratios[0]:>7.2f}{later_took:>14.2f}{ratios[1]:>7.2f}"
            f"  page {number:,}",
            flush=True,
        )


# Reads beside a scan


@contextlib.asynccontextmanager
async def scanning(stub: "BackendServiceAsyncStub", scans: int) -> AsyncIterator[list[float]]:
    """Let so many scans run, one after the other without end; the list gets how long each took that came to its end."""
    took: list[float] = []

    async def scan() -> None:
        while True:
            start = time.perf_counter()
            await stub.ListUsers(pb.ListUsersRequest(filter=SCAN))
            took.append(time.perf_counter() - start)

    tasks = [asyncio.create_task(scan()) for _ in range(scans)]
    try:
        yield took
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def read_at_a_rate(
    stub: "BackendServiceAsyncStub", ids: Sequence[str], rate: float, seconds: float
) -> list[float]:
    """Get users, so many a second, whether or not the ones before were answered; return how long each call took."""
    took: list[float] = []

    async def get(due: float) -> None:
        await stub.GetUser(pb.GetUserRequest(user_id=random.choice(ids)))  # noqa: S311  # any will do
        took.append(time.perf_counter() - due)

    start = time.perf_counter()
    async with asyncio.TaskGroup() as calls:
        for number in range(round(rate * seconds)):
            due = start + number / rate
            await asyncio.sleep(max(0, due - time.perf_counter()))
            calls.create_task(get(time.perf_counter()))
    return took


async def measure_reads(stub: "BackendServiceAsyncStub", options: argparse.Namespace) -> None:
    """Print what GetUser takes on the idle server and beside scans, in turn: of each window the p50 and the p99.

    Of those the medians are compared, so that whatever else the machine does for a moment counts for one window.
    """
    found = [await stub.ListUsers((await page_at(stub, ("", ""), number))[1]) for number in (1, PAGES // 2, PAGES)]
    ids = [user.id for page in found for user in page.users]
    idle: list[tuple[float, float]] = []
    busy: list[tuple[float, float]] = []
    scans: list[float] = []
    await read_at_a_rate(stub, ids, options.rate, 1)
    for _ in range(options.windows):
        idle.append(percentiles(await read_at_a_rate(stub, ids, options.rate, options.seconds)))
        async with scanning(stub, options.scans) as took:
            busy.append(percentiles(await read_at_a_rate(stub, ids, options.rate, options.seconds)))
        scans += took
    windows = f"{options.windows} windows of {options.seconds:g} s"
    print(f"\nGetUser, {options.rate:g} calls/s, {windows}, {options.scans} scans: medians of the windows")
    for name, values in (("idle", idle), ("scanning", busy)):
        lower, upper = (median(each) * 1e3 for each in zip(*values, strict=True))
        every = " ".join(f"{p99 * 1e3:.1f}" for _, p99 in values)
        print(f"{name:<10}p50 {lower:.2f} ms   p99 {upper:.2f} ms   ({every})")
    ratio = median(p99 for _, p99 in busy) / median(p99 for _, p99 in idle)
    print(f"p99 ratio {ratio:.2f}; {len(scans)} whole scans, median {median(scans or [0]):.1f} s", flush=True)


def percentiles(values: Sequence[float]) -> tuple[float, float]:
    """Return the median and the 99th percentile."""
    cuts = quantiles(values, n=100)
    return cuts[49], cuts[98]


# Memory


_MEASURED: Final = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stderr=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
"""Runs a command, and prints its memory in KiB: a small process of its own, whose memory a new process begins with."""


def command_memory(server: Served, *arguments: str) -> tuple[float, float]:
    """Run a command, and return the MB of memory that it had at the most, and its seconds."""
    start = time.perf_counter()
    command = [sys.executable, "-S", "-c", _MEASURED, *COMMAND, *arguments]
    ended = subprocess.run(command, env=server.environment, check=True, capture_output=True)  # noqa: S603  # ours
    return int(ended.stdout) * 1024 / 1e6, time.perf_counter() - start


def measure_memory(folder: Path, large: Served, imported: int) -> None:
    """Print the memory of exporting everybody, and of importing many."""
    file, part = folder / "export.jsonl", folder / "part.jsonl"
    memory, seconds = command_memory(large, "users", "export", str(file))
    with file.open("rb") as lines, part.open("wb") as out:
        out.writelines(islice(lines, imported))
    print(f"\nexport: {memory:.0f} MB at the most, {seconds:.0f} s, a file of {file.stat().st_size / 1e6:,.0f} MB")
    file.unlink()
    with served(folder / "empty", 0) as empty:
        memory, seconds = command_memory(empty, "users", "import", str(part))
    print(f"import: {memory:.0f} MB at the most, {imported / seconds:,.0f} users/s, {imported:,} users")


async def measure(small: Served, large: Served, options: argparse.Namespace) -> None:
    """Measure what goes through stubs."""
    async with remote(small.settings) as few, remote(large.settings) as many:
        if "pages" in options.parts:
            await measure_pages(few, many, options.rounds)
        if "reads" in options.parts:
            await measure_reads(many, options)


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", type=int, default=10_000, help="users of the small store (10000)")
    parser.add_argument("--large", type=int, default=1_000_000, help="users of the large store (1000000)")
    parser.add_argument("--rounds", type=int, default=60, help="how often each page is timed (60)")
    parser.add_argument("--rate", type=float, default=200, help="reads a second beside a scan (200)")
    parser.add_argument("--seconds", type=float, default=4, help="seconds of a window of reads (4)")
    parser.add_argument("--windows", type=int, default=9, help="windows of reads, with and without scans (9)")
    parser.add_argument("--scans", type=int, default=1, help="scans side by side (1)")
    parser.add_argument("--imported", type=int, default=100_000, help="users to import (100000)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure (all)")
    parser.add_argument("--folder", type=Path, help="where there is space; a temporary folder in it is used")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(dir=options.folder)))
        small = stack.enter_context(served(folder / "small", options.small))
        large = stack.enter_context(served(folder / "large", options.large))
        asyncio.run(measure(small, large, options))
        if "memory" in options.parts:
            measure_memory(folder, large, options.imported)


if __name__ == "__main__":
    main()
