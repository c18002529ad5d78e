"""On what the benchmark runs."""

import os
import platform
import sqlite3
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

_TICKS: Final = os.sysconf("SC_CLK_TCK")


def describe(folder: Path) -> dict[str, str]:
    """Return what figures depend on; the disk's speed is that of the folder's."""
    return {
        "processor": f"{os.cpu_count()} cores, {_processor()}",
        "system": f"{platform.system()} {platform.machine()}",
        "fsync of 4 KiB": f"{1e6 * _fsync_seconds(folder):.0f} µs",
        "Python": platform.python_version(),
        "grpcio": version("grpcio"),
        "uvloop": version("uvloop"),
        "SQLite": sqlite3.sqlite_version,
        "others' load at the start": f"{os.getloadavg()[0]:.1f}",
    }


class Use(NamedTuple):
    """CPU seconds since the machine began: of all its cores, of those what was work, of that what was ours.

    Ours are this process and the children that it has waited for.
    """

    cores: float
    busy: float
    ours: float

    @classmethod
    def now(cls) -> "Use":
        """Return what there is now."""
        line = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0]
        user, nice, system, idle, waiting, *rest = (int(each) / _TICKS for each in line.split()[1:9])
        busy = user + nice + system + sum(rest)
        return cls(busy + idle + waiting, busy, sum(os.times()[:4]))

    def others_since(self, earlier: "Use") -> float:
        """Return the share of the cores that others have taken since then."""
        return (self.busy - earlier.busy - (self.ours - earlier.ours)) / (self.cores - earlier.cores)


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _fsync_seconds(folder: Path) -> float:
    """Return the median of how long appending a page to a file durably takes."""
    path = folder / "fsync"
    taken = []
    with path.open("wb", buffering=0) as file:
        for _ in range(100):
            start = time.perf_counter()
            file.write(bytes(4096))
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - start)
    path.unlink()
    return median(taken)
