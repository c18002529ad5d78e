"""Files of users: who can read them, what goes wrong with them, and how far a command has come with one."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from usermeta_server.errors import OperatorError


def private(path: str, flags: int) -> int:
    """Open a file that only its owner can read: private documents go into it."""
    return os.open(path, flags, 0o600)


@contextmanager
def file_errors(name: str) -> Iterator[None]:
    """Let what goes wrong with a file be one line; a reader that went away is click's business."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OperatorError(f"{error.filename or name}: {error.strerror}") from error


def progress(length: int, label: str, *, shown: bool) -> Any:  # noqa: ANN401  # a context manager that click makes
    """Return a bar on standard error; one that is not shown says nothing."""
    return click.progressbar(length=length, label=label, file=sys.stderr, hidden=not shown)
