"""What handlers put into responses: messages filled from what the policy lets the caller read."""

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from functools import cache
from typing import Any, Final, cast

from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from usermeta_server.core.documents import load
from usermeta_server.lru import LruMap
from usermeta_server.model import SECOND
from usermeta_server.policy import View
from usermeta_server.services.structs import fill_struct

Setter = Callable[[Any, str, Any], None]


def fill(message: Message, view: View, fields: Collection[str] | None = None) -> None:
    """Fill an empty message from a view, field by field of the same name.

    Args:
        message: what to fill.
        view: what the caller may read.
        fields: those to fill; None for all that the message has.

    Raises:
        KeyError: the message has a field that the policy does not let this caller read.
    """
    for name, put in _setters(cast("Hashable", type(message))):
        if fields is None or name in fields:
            put(message, name, view.read(name))


class Encoder:
    """Encodes what views show, and keeps the bytes of documents: most writes change one, and leave the others."""

    def __init__(self, message: type[Message], limit: int) -> None:
        """Encode as this message, keeping up to `limit` bytes (about) of documents."""
        self._message: Callable[..., Message] = message
        setters = _setters(cast("Hashable", message))
        self._plain = [name for name, put in setters if put is setattr]
        self._messages = [(name, _ARGUMENTS[put]) for name, put in setters if put not in (setattr, _put_document)]
        self._documents = [
            (name, _varint(message.DESCRIPTOR.fields_by_name[name].number << 3 | _LENGTH_DELIMITED))
            for name, put in setters
            if put is _put_document
        ]
        self._kept: LruMap[str, bytes] = LruMap(limit)

    def encode(self, view: View) -> bytes:
        """Return the message that shows all of a view, as bytes: the scalars, then each document."""
        fields = dict(zip(self._plain, view.read_all(self._plain), strict=True))
        for name, argument in self._messages:
            fields[name] = argument(view.read(name))
        parts = [self._message(**fields).SerializeToString()]
        for name, tag in self._documents:
            parts += (tag, self._document(view.read(name)))
        return b"".join(parts)

    def _document(self, text: str) -> bytes:
        """Return a document as a Struct, with its length before it."""
        kept = self._kept.get(text)
        if kept is None:
            struct = Struct()
            fill_struct(struct, load(text))
            kept = delimited(struct.SerializeToString())
            self._kept.put(text, kept, len(text) + len(kept))
        return kept


_LENGTH_DELIMITED: Final = 2


def delimited(data: bytes) -> bytes:
    """Return bytes with their length before them, as protobuf encodes what a field of a message or of bytes holds."""
    return _varint(len(data)) + data


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:  # noqa: PLR2004  # seven bits to a byte
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


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


_ARGUMENTS: Final[Mapping[Setter, Callable[[Any], object]]] = {
    _put_time: lambda microseconds: (
        {"seconds": microseconds // SECOND, "nanos": microseconds % SECOND * 1000} if microseconds else None
    ),
    _put_texts: dict,
}
"""What some setters set, as an argument of the message's class: many fields at once are cheaper so."""


def put_time(timestamp: Timestamp, microseconds: int) -> None:
    """Set a Timestamp to a time in microseconds since the epoch; 0 leaves it unset."""
    timestamp.seconds, rest = divmod(microseconds, SECOND)
    timestamp.nanos = rest * 1000
