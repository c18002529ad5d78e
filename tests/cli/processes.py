"""The command line, as a process of its own or in this one."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.support import DEADLINE
from usermeta_server.cli import main

COMMAND: Final = [sys.executable, "-m", "usermeta_server"]
USING: Final = "usermeta: using the "
"""How the line begins in which a command says where it works."""


class Ended(NamedTuple):
    """A command that ended: its exit code and what it printed."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """What it said on standard error besides where it worked."""
        return "".join(line for line in self.err.splitlines(keepends=True) if not line.startswith(USING))

    @property
    def used(self) -> str:
        """The server or database that it said it used."""
        (line,) = [line for line in self.err.splitlines() if line.startswith(USING)]
        return line.removeprefix(USING)


def environment(folder: Path, changes: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment without settings of its own, with the store in a folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("USERMETA_", "GRPC_"))}
    return {**kept, "USERMETA_DATABASE_URL": f"sqlite:///{folder}/usermeta.db", **changes}


def run(folder: Path, *arguments: str, **changes: str) -> Ended:
    """Run a command in a folder until it ends; `changes` are environment variables."""
    ended = subprocess.run(  # noqa: S603  # no shell
        [*COMMAND, *arguments],
        cwd=folder,
        env=environment(folder, changes),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)


class Shell:
    """Runs commands in this process and in a folder, with the store in it: quicker than `run`."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        """Keep the store in a folder."""
        self.folder = folder
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *arguments: str, **changes: str) -> Ended:
        """Run a command, and return how it ended; `changes` are environment variables."""
        code = 0
        with self._monkeypatch.context() as patch:
            patch.chdir(self.folder)
            patch.setattr("sys.argv", ["usermeta", *arguments])
            for name in [name for name in os.environ if name.startswith("USERMETA_")]:
                patch.delenv(name)
            for name, value in {"USERMETA_DATABASE_URL": f"sqlite:///{self.folder}/usermeta.db", **changes}.items():
                patch.setenv(name, value)
            try:
                main()
            except SystemExit as ended:
                code = int(ended.code or 0)
        return Ended(code, *self._capsys.readouterr())


def wait_until(true: Callable[[], bool]) -> None:
    """Wait until a condition holds that a command looks at."""
    deadline = time.monotonic() + DEADLINE
    while not true():
        assert time.monotonic() < deadline, "it never came about"


class Running:
    """`usermeta serve` as a process, that listens on `address`."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        """Wait until a process says that it listens."""
        self.process = process
        self.errors: list[str] = []
        self.address = self._listening()

    def _listening(self) -> str:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.errors.append(line)
            match = re.search(r'"usermeta listens on ([^"\s]+)"', line)
            if match:
                return match[1]
        raise AssertionError(f"exit code {self.process.wait(DEADLINE)}: {''.join(self.errors)}")

    def end(self, number: signal.Signals) -> Ended:
        """Send a signal, and return how the process ended."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=DEADLINE)
        return Ended(self.process.returncode, out, "".join(self.errors) + err)


@contextmanager
def served(folder: Path, *arguments: str, **changes: str) -> Iterator[Running]:
    """Run the server as a process until the context is left."""
    process = subprocess.Popen(  # noqa: S603  # no shell
        [*COMMAND, "serve", *arguments],
        cwd=folder,
        env=environment(folder, {"USERMETA_LISTEN": "127.0.0.1:0", **changes}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield Running(process)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=DEADLINE)
