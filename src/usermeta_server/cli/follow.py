"""Following WatchUsers: over restarts of the server, from a token that is kept in a file."""

import asyncio
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import grpc
from google.protobuf import json_format
from google.protobuf.message import Message

from usermeta.backend.v1.backend_service_pb2 import WatchUsersRequest, WatchUsersResponse
from usermeta_server.cli.rpc_errors import retry_delay_of, text_of
from usermeta_server.core.documents import normal_form
from usermeta_server.errors import OperatorError

if TYPE_CHECKING:
    from usermeta.backend.v1.backend_service_pb2_grpc import BackendServiceAsyncStub  # only in the stubs
    from usermeta_server.values import Json

_PASSING: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED})
"""What may be over the next time: the server restarts, or it cut off a watcher that was too slow."""
_MAX_DELAY: Final = 30.0
"""Seconds between two attempts to connect, at the most."""


class TokenFile:
    """A resume token in a file, that at any time holds one token or the next; None keeps it nowhere."""

    def __init__(self, path: Path | None) -> None:
        """Keep it at a path."""
        self._path = path

    def read(self) -> str:
        """Return the token, empty if there is none yet.

        Raises:
            OperatorError: the file cannot be read.
        """
        try:
            return self._path.read_text("ascii").strip() if self._path else ""
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeDecodeError) as error:
            raise OperatorError(f"cannot read {self._path}: {error}") from error

    def write(self, token: str) -> None:
        """Keep a token in place of the one before; it is durable when this returns.

        Raises:
            OperatorError: the file cannot be written.
        """
        if self._path is None:
            return
        new = self._path.with_name(f"{self._path.name}.new")
        try:
            with new.open("w", encoding="ascii") as file:
                file.write(f"{token}\n")
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._path)
            _sync(self._path.parent)
        except OSError as error:
            raise OperatorError(f"cannot write {self._path}: {error.strerror}") from error


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


async def follow(stub: "BackendServiceAsyncStub", request: WatchUsersRequest) -> AsyncIterator[WatchUsersResponse]:
    """Yield the responses of WatchUsers for ever: when the stream breaks, it goes on after the response yielded last.

    Raises:
        AioRpcError: the first attempt to connect fails, or the server refuses for good.
    """
    attempt, begun = 0, False
    while True:
        delay = None
        try:
            async for response in stub.WatchUsers(request):
                yield response
                request.resume_token, request.include_snapshot = response.resume_token, False
                attempt, begun = 0, True
        except grpc.aio.AioRpcError as error:
            delay = retry_delay_of(error)
            if not begun or error.code() not in _PASSING:
                raise
            if attempt == 0:
                click.echo(f"usermeta: {text_of(error)}: trying again", err=True)
        await asyncio.sleep(max(delay or 0.0, backoff(attempt, _MAX_DELAY)))
        attempt += 1


def backoff(attempt: int, most: float) -> float:
    """Return how many seconds to wait after an attempt (from 0): twice as long each time, and by chance up to half."""
    delay = min(most, 0.5 * 2.0 ** min(attempt, 30))
    return delay * random.uniform(0.5, 1)  # noqa: S311  # jitter, not a secret


def as_json(message: Message) -> "dict[str, Any]":
    """Return a message in ProtoJSON with the protos' field names; numbers that are whole are written so."""
    value: Json = json_format.MessageToDict(message, preserving_proto_field_name=True)
    normal = normal_form(value)
    if not isinstance(normal, dict):
        raise TypeError(type(message))
    return normal
