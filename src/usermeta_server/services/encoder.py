"""Users on the wire, encoded by hand where protobuf would make everything anew.

Most writes change one document, and documents are most of a user: those that are as they were are copied from what was
encoded last. For a merge into one of three documents of 170 bytes that takes 31 µs in place of the 68 µs of filling and
serialising the whole message; 51 µs when nothing is known yet.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, zip_longest
from typing import Any, Final, NamedTuple

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from usermeta_server.core.documents import load
from usermeta_server.model import SECOND
from usermeta_server.policy import View
from usermeta_server.services.structs import fill_struct


class _Place(NamedTuple):
    """A document's text, and where among the encoded bytes its field stands."""

    text: str
    start: int
    end: int


class EncodedField(NamedTuple):
    """A field that holds a message, encoded, and where in it the documents are."""

    data: bytes
    documents: Sequence[_Place]


class Encoder:
    """Encodes what views show."""

    def __init__(self, response: type[Message], field: str) -> None:
        """Encode as this field of a response, which holds a message."""
        descriptor: Any = response.DESCRIPTOR.fields_by_name[field]
        message = GetMessageClass(descriptor.message_type)
        self._tag = _tag(descriptor)
        self._message: Callable[..., Message] = message
        self._plain: list[str] = []
        self._messages: list[tuple[str, Callable[[Any], object]]] = []
        self._documents: list[tuple[str, bytes]] = []
        for each in message.DESCRIPTOR.fields:
            if each.message_type is None:
                self._plain.append(each.name)
            elif each.message_type.full_name == Struct.DESCRIPTOR.full_name:
                self._documents.append((each.name, _tag(each)))
            else:
                self._messages.append((each.name, _ARGUMENTS.get(each.message_type.full_name, dict)))

    def encode(self, view: View, before: EncodedField | None) -> EncodedField:
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
        return EncodedField(b"".join((head, *documents)), list(map(_Place, texts, ends, ends[1:])))


_NOTHING: Final = EncodedField(b"", ())

_ARGUMENTS: Final[Mapping[str, Callable[[Any], object]]] = {
    Timestamp.DESCRIPTOR.full_name: lambda microseconds: (
        {"seconds": microseconds // SECOND, "nanos": microseconds % SECOND * 1000} if microseconds else None
    )
}
"""For a field that holds a message, by its type, what its class takes for what a view reads; else it is a mapping."""

_LENGTH_DELIMITED: Final = 2


def _document(text: str) -> bytes:
    """Return a document as a Struct, with its length before it."""
    struct = Struct()
    fill_struct(struct, load(text))
    data = struct.SerializeToString()
    return _varint(len(data)) + data


def _tag(field: Any) -> bytes:  # noqa: ANN401  # two classes of descriptor, of one shape
    """Return what is before the length of a field that holds a message."""
    return _varint(field.number << 3 | _LENGTH_DELIMITED)


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:  # noqa: PLR2004  # seven bits to a byte
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
