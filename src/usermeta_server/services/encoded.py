"""Responses as bytes, which know what they are: made once, and sent to many."""

from collections.abc import Iterable
from typing import Any, Generic, NamedTuple, TypeVar

from google.protobuf.message import Message

M = TypeVar("M", bound=Message)


class Encoded(NamedTuple, Generic[M]):
    """A response of the type `M`, encoded. A handler may return it in place of the message."""

    data: bytes


def encoded(message: M) -> Encoded[M]:
    """Return a response as its bytes."""
    return Encoded(message.SerializeToString())


def joined(parts: Iterable[Encoded[M]]) -> Encoded[M]:
    """Return one response that has what all of them have: encoded messages, put together, are one that is merged."""
    return Encoded(b"".join(part.data for part in parts))


def serialize(response: Message | Encoded[Any]) -> bytes:
    """Return the bytes of what a handler returned."""
    return response.data if isinstance(response, Encoded) else response.SerializeToString()
