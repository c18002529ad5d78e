"""The log, on standard error: JSON, or words on a terminal; written so that who does not read it holds up nobody."""

import logging
import os
import select
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Self

import orjson

_MAX_BYTES: Final = 1 << 20
_CLOSE_SECONDS: Final = 1.0
_WORDS: Final = "%(asctime)s %(levelname)s %(message)s"


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """Return a record as one line of JSON."""
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line).decode()


class LineWriter:
    """Writes lines to a descriptor from a thread of its own, in which the wait for who reads them is.

    What waits is bounded: what finds no room is dropped, and how many lines that were is a line itself, once they are
    read again. Whether the descriptor is a `terminal` says in which form lines are read best.
    """

    def __init__(self, descriptor: int, *, max_bytes: int = _MAX_BYTES) -> None:
        """Write to an open descriptor, keeping so many bytes of what is not written yet."""
        self.terminal = os.isatty(descriptor)
        self.formatter = logging.Formatter(_WORDS) if self.terminal else _JsonFormatter()
        self._descriptor = descriptor
        self._room = max_bytes
        self._waiting: list[tuple[bytes, int]] = []
        self._dropped = 0
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="usermeta-log", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        """Return the writer."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the writer."""
        self.close()

    def write(self, data: bytes, lines: int = 1) -> None:
        """Take some whole lines to write; never wait."""
        with self._changed:
            if len(data) > self._room:
                self._dropped += lines
                return
            self._tell_dropped()
            self._take(data, lines)

    def close(self) -> bool:
        """Wait until all is written, but for a second at the most, and return whether it is."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(_CLOSE_SECONDS)
        return not self._thread.is_alive() and not self._dropped

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                waiting, self._waiting = self._waiting, []
            if not waiting:
                return
            for data, lines in waiting:
                self._write(data, lines)

    def _write(self, data: bytes, lines: int) -> None:
        """Write some lines, or drop them where that fails, say for want of room on a disk."""
        rest, failed = memoryview(data), False
        try:
            while rest:
                rest = rest[self._write_some(rest) :]
        except OSError:
            failed = True
        with self._changed:
            self._room += len(data)
            if failed:
                self._dropped += lines
            elif not self._waiting:
                self._tell_dropped()

    def _write_some(self, data: memoryview) -> int:
        try:
            return os.write(self._descriptor, data)
        except BlockingIOError:  # whoever shares the descriptor made it so
            ready = select.poll()
            ready.register(self._descriptor, select.POLLOUT)
            ready.poll()
            return 0

    def _take(self, data: bytes, lines: int) -> None:
        self._room -= len(data)
        self._waiting.append((data, lines))
        self._changed.notify()

    def _tell_dropped(self) -> None:
        dropped, self._dropped = self._dropped, 0
        if dropped:
            text = "the log was not read, or could not be written: %d lines were dropped"
            record = logging.LogRecord(__name__, logging.WARNING, __file__, 0, text, (dropped,), None)
            self._take(f"{self.formatter.format(record)}\n".encode(), dropped)


class _Handler(logging.Handler):
    """Gives records of the logging module to a writer of lines."""

    def __init__(self, lines: LineWriter) -> None:
        super().__init__()
        self._lines = lines
        self.setFormatter(lines.formatter)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        self._lines.write(f"{self.format(record)}\n".encode(errors="backslashreplace"))


@contextmanager
def logging_to(descriptor: int) -> Iterator[LineWriter]:
    """Send the program's log to a descriptor until the context is left; what else is logged there goes the same way."""
    with LineWriter(descriptor) as lines:
        handler = _Handler(lines)
        logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
        try:
            yield lines
        finally:
            logging.getLogger().removeHandler(handler)
