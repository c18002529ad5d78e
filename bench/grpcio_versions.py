"""Releases of grpcio compared by the echo server: `make bench-grpcio`.

    python bench/grpcio_versions.py 1.76.0 1.83.0

Each release is installed into an environment of its own, made for this run and thrown away. From 1.80 on each runs
twice: as it is, and with its event engine switched off, which later releases may not know any more. All run at once and
are measured in turns; the ratio is to the first one given.
"""

import argparse
import os
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import repeat
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

import report
from http2 import make_call
from load import closed_load
from results import MIDDLE, median_ratio
from servers import Server, echo_server

DEFAULT: Final = ("1.76.0", "1.78.0", "1.80.0", "1.83.0", "1.85.1")
_SWITCHES: Final = "-event_engine_listener,-event_engine_client,-event_engine_dns"
_SWITCHED_SINCE: Final = (1, 80)
_METHOD: Final = "GetUser"
_REPLY: Final = bytes(1300)


def install(release: str, folder: Path) -> str:
    """Make an environment with a release of grpcio; return its Python."""
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]
    subprocess.run([*pip, f"grpcio=={release}", "uvloop"], check=True)  # noqa: S603  # ours
    return python


def switches_of(release: str) -> Mapping[str, Mapping[str, str]]:
    """Return what a release is run with: its label and environment."""
    switched = {f"{release}, event engine off": {"GRPC_EXPERIMENTS": _SWITCHES}}
    major, minor = release.split(".")[:2]
    return {release: {}} | (switched if (int(major), int(minor)) >= _SWITCHED_SINCE else {})


def start(releases: Sequence[str], folder: Path, stack: ExitStack) -> Mapping[str, Server]:
    """Install and start all of them."""
    servers: dict[str, Server] = {}
    for release in releases:
        python = install(release, folder / release)
        for label, environment in switches_of(release).items():
            replies = folder / f"replies-{len(servers)}"
            server = echo_server({_METHOD: _REPLY}, replies, python, {**os.environ, **environment})
            servers[label] = stack.enter_context(server)
    return servers


def measure(servers: Mapping[str, Server], rounds: int, seconds: float) -> str:
    """Measure them in turns, and return a table."""
    call = make_call(f"/echo.Echo/{_METHOD}", bytes(38), token="sk_" + "x" * 40)
    rates: dict[str, list[float]] = {label: [] for label in servers}
    cpu: dict[str, list[float]] = {label: [] for label in servers}
    for number in range(rounds):
        for label in servers if number % 2 == 0 else reversed(list(servers)):
            before = servers[label].cpu()
            load = closed_load(servers[label].port, repeat(call), MIDDLE, seconds)
            assert not load.failures, load.failures
            rates[label].append(load.rate)
            cpu[label].append(servers[label].cpu().since(before, load.succeeded).all)
    first = next(iter(rates.values()))
    rows = [
        (
            label,
            f"{median(rates[label]):,.0f}",
            f"{median_ratio(rates[label], first):.2f}",
            f"{1e3 * median(cpu[label]):.3f}",
        )
        for label in servers
    ]
    return report.table(("grpcio", "calls/s", "ratio", "CPU s per 1,000 calls"), rows)


def main() -> None:
    """Read the options, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("releases", nargs="*", default=DEFAULT, help=f"releases ({' '.join(DEFAULT)})")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each (7)")
    parser.add_argument("--seconds", type=float, default=0.5, help="seconds of each turn (0.5)")
    parser.add_argument("--publish", action="store_true", help="write the table into docs/")
    given = parser.parse_args()
    with TemporaryDirectory() as name, ExitStack() as stack:
        shown = measure(start(given.releases, Path(name), stack), given.rounds, given.seconds)
    sys.stdout.write(shown)
    if given.publish:
        report.put({"grpcio": shown})


if __name__ == "__main__":
    main()
