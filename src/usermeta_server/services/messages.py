"""What handlers put into responses: messages filled from what the policy lets the caller read."""

from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import cache
from typing import Any, Final, TypeAlias, cast

from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from usermeta_server.core.documents import load
from usermeta_server.model import SECOND
from usermeta_server.policy import View
from usermeta_server.services.structs import fill_struct

Setter = Callable[[Any, str, Any], None]

ReadMask: TypeAlias = frozenset[str] | None
"""The top-level fields that a caller asks for; None is all (AIP-157)."""


def fill(message: Message, view: View, mask: ReadMask = None) -> None:
    """Fill an empty message from a view, field by field of the same name.

    Args:
        message: what to fill.
        view: what the caller may read.
        mask: the fields to fill.

    Raises:
        KeyError: the message has a field that the policy does not let this caller read.
    """
    for name, put in _setters(cast("Hashable", type(message))):
        if mask is None or name in mask:
            put(message, name, view.read(name))


@cache
def _setters(message: Any) -> tuple[tuple[str, Setter], ...]:  # noqa: ANN401  # the stubs deny that it is hashable
    return tuple((field.name, _setter(field)) for field in message.DESCRIPTOR.fields)


def _setter(field: Any) -> Setter:  # noqa: ANN401  # two classes of descriptor, of one shape
    if field.message_type is None:
        return _put_all if field.is_repeated else setattr
    return _SETTERS.get(field.message_type.full_name, _put_texts)


def _put_all(message: Message, name: str, values: Iterable[object]) -> None:
    getattr(message, name).extend(values)


def _put_document(message: Message, name: str, text: str) -> None:
    struct = getattr(message, name)
    struct.SetInParent()
    fill_struct(struct, load(text))


def _put_time(message: Message, name: str, microseconds: int) -> None:
    if microseconds:
        put_time(getattr(message, name), microseconds)


def _put_texts(message: Message, name: str, values: Mapping[str, str]) -> None:
    inner = getattr(message, name)
    for key, value in values.items():
        setattr(inner, key, value)


_SETTERS: Final[Mapping[str, Setter]] = {
    Struct.DESCRIPTOR.full_name: _put_document,
    Timestamp.DESCRIPTOR.full_name: _put_time,
}


def put_time(timestamp: Timestamp, microseconds: int) -> None:
    """Set a Timestamp to a time in microseconds since the epoch; 0 leaves it unset."""
    timestamp.seconds, rest = divmod(microseconds, SECOND)
    timestamp.nanos = rest * 1000
