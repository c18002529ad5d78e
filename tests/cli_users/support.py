"""What tests of the commands about users share: a server as a process, and its key."""

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from tests.cli.processes import COMMAND, Ended, environment, run, served
from tests.support import DEADLINE
from usermeta_server.cli import main

Json = dict[str, Any]


class Shell(NamedTuple):
    """Runs commands in a folder, through a running server."""

    folder: Path
    address: str
    key: str

    def __call__(self, *arguments: str) -> Ended:
        """Run a command in this process until it ends."""
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
        code = 0
        with (
            patch.dict(os.environ, environment(self.folder, self.settings), clear=True),
            patch.object(sys, "argv", ["usermeta", *arguments]),
            contextlib.chdir(self.folder),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            try:
                main()
            except SystemExit as ended:
                code = int(ended.code or 0)
        return Ended(code, *(_text(stream) for stream in (out, err)))

    @property
    def settings(self) -> dict[str, str]:
        """What the commands go by."""
        return {"USERMETA_ADDRESS": self.address, "USERMETA_KEY": self.key}

    def piped(self, given: str, *arguments: str) -> Ended:
        """Run a command, as a process of its own, that reads its standard input."""
        ended = subprocess.run(  # noqa: S603  # no shell
            [*COMMAND, *arguments],
            cwd=self.folder,
            env=environment(self.folder, self.settings),
            input=given,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    def begin(self, *arguments: str, stdin: int | None = None) -> "subprocess.Popen[bytes]":
        """Begin a command as a process of its own, and do not wait for it; `stdin` is as subprocess has it."""
        return subprocess.Popen(  # noqa: S603  # no shell
            [*COMMAND, *arguments],
            cwd=self.folder,
            env=environment(self.folder, self.settings),
            stdin=stdin,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def write(self, name: str, *users: Json | str) -> Path:
        """Write a file of users, a line each; text is a line as it is."""
        path = self.folder / name
        path.write_text("".join(f"{each if isinstance(each, str) else json.dumps(each)}\n" for each in users))
        return path

    def good(self, *arguments: str) -> str:
        """Run a command that must succeed, and return what it printed."""
        ended = self(*arguments)
        assert ended.code == 0, ended
        return ended.out

    def listed(self, *arguments: str) -> list[Json]:
        """Return the users that `users list` finds."""
        return records(self.good("users", "list", "--json", *arguments))


def _text(stream: io.TextIOWrapper) -> str:
    stream.seek(0)
    return stream.read()


def records(text: str) -> list[Json]:
    """Read lines of JSON."""
    return [json.loads(line) for line in text.splitlines()]


@contextlib.contextmanager
def shell_on(folder: Path) -> Iterator[Shell]:
    """Run a server on an empty store in a folder, and return what runs commands through it."""
    key = run(folder, "keys", "create", "admin").out.strip()
    with served(folder, USERMETA_ACCESS_LOG="off") as server:
        yield Shell(folder, server.address, key)
