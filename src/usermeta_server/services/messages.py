"""What handlers put into responses: messages filled from what the policy lets the caller read."""

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from functools import cache
from itertools import accumulate, zip_longest
from typing import Any, Final, NamedTuple, cast

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from usermeta_server.core.documents import load
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


class _Place(NamedTuple):
    """A document's text, and where among the encoded bytes its field stands."""

    text: str
    start: int
    end: int


class Encoded(NamedTuple):
    """A field that holds a message, encoded, and where in it the documents are."""

    data: bytes
    documents: Sequence[_Place]


class Encoder:
    """Encodes what views show. Documents are most of it, and most writes change one and leave the others."""

    def __init__(self, response: type[Message], field: str) -> None:
        """Encode as this field of a response, which holds a message."""
        descriptor: Any = response.DESCRIPTOR.fields_by_name[field]
        message = GetMessageClass(descriptor.message_type)
        setters = _setters(cast("Hashable", message))
        self._tag = _tag(descriptor)
        self._message: Callable[..., Message] = message
        self._plain = [name for name, put in setters if put is setattr]
        self._messages = [(name, _ARGUMENTS[put]) for name, put in setters if put not in (setattr, _put_document)]
        self._documents = [
            (name, _tag(message.DESCRIPTOR.fields_by_name[name])) for name, put in setters if put is _put_document
        ]

    def encode(self, view: View, before: Encoded | None) -> Encoded:
        """Return the field that shows all of a view: the scalars, then each document.

        Args:
            view: what to show.
            before: what an earlier view of the same user was encoded as: documents that are as they were are taken
                over from it.
        """
        fields = dict(zip(self._plain, view.read_all(self._plain), strict=True))
        for name, argument in self._messages:
            fields[name] = argument(view.read(name))
        scalars = self._message(**fields).SerializeToString()
        texts = [view.read(name) for name, _ in self._documents]
        data, known = before or _NOTHING
        documents = [
            data[place.start : place.end] if place and place.text == text else tag + _document(text)
            for (_, tag), text, place in zip_longest(self._documents, texts, known)
        ]
        head = self._tag + _varint(len(scalars) + sum(map(len, documents))) + scalars
        ends = list(accumulate(map(len, documents), initial=len(head)))
        return Encoded(b"".join((head, *documents)), list(map(_Place, texts, ends, ends[1:])))


_NOTHING: Final = Encoded(b"", ())


def _document(text: str) -> bytes:
    """Return a document as a Struct, with its length before it."""
    struct = Struct()
    fill_struct(struct, load(text))
    return delimited(struct.SerializeToString())


_LENGTH_DELIMITED: Final = 2


def _tag(field: Any) -> bytes:  # noqa: ANN401  # two classes of descriptor, of one shape
    """Return what is before the length of a field that holds a message."""
    return _varint(field.number << 3 | _LENGTH_DELIMITED)


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
