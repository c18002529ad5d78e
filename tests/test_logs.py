"""Lines are written whole and in order, whoever reads them, and by nobody who has to wait for that."""

import itertools
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from usermeta_server.logs import LineWriter

LINE: Final = b"x" * 99 + b"\n"
LAST: Final = b"y" * 99 + b"\n"
ROOM: Final = 10 * len(LINE)


class Pipe(NamedTuple):
    """The two ends of a pipe."""

    out: int
    into: int

    def read_lines(self) -> Iterator[bytes]:
        """Yield lines as they come."""
        with os.fdopen(os.dup(self.out), "rb") as file:
            yield from file


@contextmanager
def unread() -> Iterator[Pipe]:
    """Make a pipe that nobody reads yet."""
    pipe = Pipe(*os.pipe())
    try:
        yield pipe
    finally:
        os.close(pipe.out)
        os.close(pipe.into)


def fill(pipe: Pipe) -> int:
    """Fill a pipe with lines, and return with how many."""
    os.set_blocking(pipe.into, False)
    for number in itertools.count():
        try:
            os.write(pipe.into, LINE)
        except BlockingIOError:
            return number
    raise AssertionError


def dropped(line: bytes) -> int:
    """Return how many lines a line says that were dropped."""
    told = json.loads(line)
    assert told["level"] == "warning"
    (number,) = (int(word) for word in told["message"].split() if word.isdigit())
    return number


@pytest.mark.parametrize("blocking", [True, False])
def test_what_found_no_room_is_counted_and_said_once_lines_are_read_again(*, blocking: bool) -> None:
    with unread() as pipe:
        made = fill(pipe) + 500
        os.set_blocking(pipe.into, blocking)
        with LineWriter(pipe.into, max_bytes=ROOM) as lines:
            for _ in range(500):
                lines.write(LINE)
            seen = 0
            reading = pipe.read_lines()
            for line in reading:
                if line != LINE:
                    break
                seen += 1
            assert seen + dropped(line) == made
            lines.write(b"later\n")
            assert next(reading) == b"later\n"


def test_a_writer_can_be_closed_though_nobody_reads_and_writes_what_it_has_once_somebody_does() -> None:
    with unread() as pipe:
        fill(pipe)
        os.set_blocking(pipe.into, True)
        lines = LineWriter(pipe.into)
        lines.write(LAST)
        assert not lines.close()
        assert LAST in pipe.read_lines()
        lines._thread.join()


def test_what_could_not_be_written_is_counted_and_said_once_it_can(tmp_path: Path) -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    try:
        lines = LineWriter(descriptor)
        lines.write(LINE * 3, 3)
        while not lines._dropped:
            pass
        with (tmp_path / "log").open("wb") as file:
            os.dup2(file.fileno(), descriptor)
        lines.write(LINE)
        assert lines.close()
    finally:
        os.close(descriptor)
    notice, line = (tmp_path / "log").read_bytes().splitlines(keepends=True)
    assert line == LINE
    assert dropped(notice) == 3


def test_all_that_was_taken_is_written_before_the_end(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file, LineWriter(file.fileno()) as lines:
        for number in range(1000):
            lines.write(b"%d\n" % number)
    assert (tmp_path / "log").read_bytes() == b"".join(b"%d\n" % number for number in range(1000))
