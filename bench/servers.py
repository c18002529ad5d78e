"""The servers that are measured: started, looked at from outside, stopped."""

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

HERE: Final = Path(__file__).parent
USERMETA: Final = (sys.executable, str(HERE / "variant.py"))
_PATIENCE: Final = 60.0
_LISTENS: Final = "usermeta listens on 127.0.0.1:"


class Cpu(NamedTuple):
    """CPU seconds: of all of a server's threads, and of its event loop's."""

    all: float
    loop: float

    def since(self, earlier: "Cpu", calls: int) -> "Cpu":
        """Return what was taken since then, for each of so many calls."""
        return Cpu((self.all - earlier.all) / calls, (self.loop - earlier.loop) / calls)


class Server(NamedTuple):
    """A server that runs: its process and port, its database and log if it is usermeta."""

    process: "subprocess.Popen[str]"
    port: int
    database: Path | None = None
    log: Path | None = None

    def cpu(self) -> "Cpu":
        """Return the CPU time that it has taken: of all its threads, and of the event loop's, its main one."""
        tasks = Path(f"/proc/{self.process.pid}/task")
        taken = {task.name: int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()}
        return Cpu(sum(taken.values()) / 1e9, taken[str(self.process.pid)] / 1e9)

    def memory(self) -> int:
        """Return the bytes of memory that it has."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))

    def last_change(self) -> int:
        """Return the id of the last change that is in the database."""
        return self._ask("SELECT coalesce(max(id), 0) FROM changes", ())

    def changes_since(self, change_id: int) -> int:
        """Return how many changes were committed after one."""
        return self._ask("SELECT count(*) FROM changes WHERE id > ?", (change_id,))

    def _ask(self, sql: str, parameters: Sequence[int]) -> int:
        assert self.database is not None
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as connection:
            connection.execute("PRAGMA wal_autocheckpoint = 0")
            return int(connection.execute(sql, parameters).fetchone()[0])

    def refusals(self) -> Sequence[str]:
        """Return the lines of its access log: it logs only calls that failed."""
        assert self.log is not None
        return [line for line in self.log.read_text(encoding="utf-8").splitlines() if '"status":' in line]


@contextmanager
def _ended(process: "subprocess.Popen[str]") -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        process.wait(_PATIENCE)


@contextmanager
def echo_server(
    replies: Mapping[str, bytes],
    folder: Path,
    python: str = sys.executable,
    environment: Mapping[str, str] | None = None,
    under: Sequence[str] = (),
) -> Iterator[Server]:
    """Run the echo server: it answers each of these methods with its reply. `folder` is made for the replies.

    `under` is the command that runs it, say a profiler's.
    """
    folder.mkdir(parents=True)
    for method, reply in replies.items():
        (folder / method).write_bytes(reply)
    command = [*under, python, str(HERE / "echo.py"), str(folder)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)  # noqa: S603  # ours
    with _ended(process):
        assert process.stdout is not None
        yield Server(process, int(process.stdout.readline()))


def make_key(database: Path) -> str:
    """Return a new secret key of a database that no server has open; make the database if need be."""
    command = [*USERMETA, "keys", "create", "bench", "--scope", "admin", "--database-url", f"sqlite:///{database}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603  # ours


@contextmanager
def usermeta_server(
    database: Path,
    *,
    access_log: str = "errors",
    variant: Mapping[str, str] | None = None,
    under: Sequence[str] = (),
) -> Iterator[Server]:
    """Run usermeta, or a variant of it, on a database; `under` is as for the echo server.

    Nobody is limited unless the environment says so: a load is of few callers, all at one address.
    """
    log = database.with_suffix(".log")
    command = [*under, *USERMETA, "serve", "--database-url", f"sqlite:///{database}", "--listen", "127.0.0.1:0"]
    with log.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(  # noqa: S603  # ours
            [*command, "--access-log", access_log],
            env={"USERMETA_LIMITS": "off", **os.environ, **(variant or {})},
            stdout=subprocess.DEVNULL,
            stderr=errors,
            text=True,
        )
    with _ended(process):
        yield Server(process, _port(process, log), database, log)


def _port(process: "subprocess.Popen[str]", log: Path) -> int:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        _, found, rest = log.read_text(encoding="utf-8").partition(_LISTENS)
        if found and '"' in rest:
            return int(rest.partition('"')[0])
        time.sleep(0.02)
    raise RuntimeError(f"usermeta did not start:\n{log.read_text(encoding='utf-8')}")
