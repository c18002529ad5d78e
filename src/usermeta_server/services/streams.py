"""Sending on a stream, to a client that may not read."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeAlias, TypeVar

from google.protobuf.message import Message

from usermeta_server.core.watch.hub import Watch
from usermeta_server.services.encoded import Encoded

M = TypeVar("M", bound=Message)

Send: TypeAlias = Callable[[Encoded[M]], Awaitable[None]]
"""Sends one response of the type `M`; returns when the client has room for it."""


class Responses(Protocol):
    """Where the responses of a call that streams go."""

    async def begin(self) -> None:
        """Tell the client, before the first response, that the call is accepted."""
        ...

    async def send(self, response: bytes) -> None:
        """Send one response; return when the client has room for it."""
        ...


async def send_or_end(watch: Watch, send: Send[M], response: Encoded[M]) -> None:
    """Send a response, unless the watch is ended first.

    Raises:
        UsermetaError: what ended the watch.
    """
    sending: asyncio.Future[Any] = asyncio.ensure_future(send(response))
    ended: asyncio.Future[Any] = watch.ended
    try:
        await asyncio.wait({sending, ended}, return_when=asyncio.FIRST_COMPLETED)
        if not sending.done():
            raise watch.ended.result()
        await sending
    finally:
        sending.cancel()
