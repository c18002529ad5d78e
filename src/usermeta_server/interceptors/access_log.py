"""One line for each call: JSON, or words on a terminal. Never a credential or a document.

Written by hand, for a general logging library costs a third of all calls: lines are gathered, and go out in one
piece a few times a second.
"""

import asyncio
import os
import time
from enum import StrEnum, unique
from typing import Final, NamedTuple

import orjson

from usermeta_server.audience import Caller
from usermeta_server.errors import Reason

_FLUSH_SECONDS: Final = 0.1
_FLUSH_LINES: Final = 1000


@unique
class AccessLogMode(StrEnum):
    """Which calls are logged."""

    ALL = "all"
    ERRORS = "errors"
    OFF = "off"


class EndedCall(NamedTuple):
    """A call that ended: who called (None if that was refused), how it ended, and how long it took."""

    caller: Caller | None
    method: str
    status: str
    reason: Reason | None
    nanoseconds: int
    request_id: str = ""


class AccessLog:
    """Writes access lines to a file descriptor."""

    def __init__(self, mode: AccessLogMode, descriptor: int, *, json: bool) -> None:
        """Log to an open descriptor."""
        self._mode = mode
        self._descriptor = descriptor
        self._write_line = self._json if json else self._words
        self._lines: list[bytes] = []
        self._second = 0
        self._date = ""

    def wants(self, reason: Reason | None) -> bool:
        """Tell whether a call that ended for this reason (None: well) is logged."""
        return self._mode is AccessLogMode.ALL or (self._mode is AccessLogMode.ERRORS and reason is not None)

    def record(self, call: EndedCall) -> None:
        """Log a call, if calls of its kind are logged."""
        if not self.wants(call.reason):
            return
        line: dict[str, object] = {
            "time": self._time(),
            "method": call.method,
            "audience": call.caller.audience if call.caller else "",
            "principal": str(call.caller.principal) if call.caller else "",
            "status": call.status,
            "reason": call.reason.name if call.reason else "",
            "milliseconds": call.nanoseconds / 1_000_000,
            "request_id": call.request_id,
        }
        self._write_line(line)
        if len(self._lines) == 1:
            asyncio.get_running_loop().call_later(_FLUSH_SECONDS, self.flush)
        elif len(self._lines) >= _FLUSH_LINES:
            self.flush()

    def flush(self) -> None:
        """Write out what was gathered."""
        data, self._lines = b"".join(self._lines), []
        while data:
            data = data[os.write(self._descriptor, data) :]

    def _json(self, line: dict[str, object]) -> None:
        self._lines.append(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))

    def _words(self, line: dict[str, object]) -> None:
        words = " ".join(_printable(str(value)) for value in line.values() if value != "")
        self._lines.append(f"{words}\n".encode())

    def _time(self) -> str:
        nanoseconds = time.time_ns()
        second, rest = divmod(nanoseconds, 1_000_000_000)
        if second != self._second:
            self._second = second
            self._date = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._date}.{rest // 1_000_000:03d}Z"


def _printable(text: str) -> str:
    return text if text.isprintable() else ascii(text)
