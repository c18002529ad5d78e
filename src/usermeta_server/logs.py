"""The server's own log, on standard error: JSON, or words on a terminal."""

import logging
import sys
import time
from typing import Final

import orjson


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


_WORDS: Final = "%(asctime)s %(levelname)s %(message)s"


def configure_logs() -> None:
    """Send the log to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(_WORDS) if sys.stderr.isatty() else _JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
