"""What handlers put into responses: messages filled from what the policy lets the caller read."""

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from functools import cache
from itertools import zip_longest
from typing import Any, Final, NamedTuple, cast

from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from usermeta_server.core.documents import JsonObject, OpenedDocuments, load, unshared
from usermeta_server.model import SECOND
from usermeta_server.policy import View
from usermeta_server.services.structs import encode_member, fill_struct
from usermeta_server.services.wire import delimited, tag_of

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


class _Fields(NamedTuple):
    """Fields that are no documents: their values, and the bytes that these are encoded as."""

    values: Sequence[object]
    data: bytes


class _Document(NamedTuple):
    """A document: its text and value, its members' bytes by their keys, and the bytes of the field that holds it."""

    text: str
    value: JsonObject
    members: Mapping[str, bytes]
    data: bytes


class Parts(NamedTuple):
    """An encoded message in parts, of which the next one of the same user needs most again."""

    fields: Sequence[_Fields]
    documents: Sequence[_Document]

    def join(self) -> bytes:
        """Return the message's bytes."""
        return b"".join([*(each.data for each in self.fields), *(each.data for each in self.documents)])


_MOVING: Final = frozenset({"metadata_etags", "update_time"})
"""What every write of a document moves, apart from the document."""


class _Group:
    """Fields that are encoded together: by name, how each is put into a message."""

    def __init__(self, setters: Iterable[tuple[str, Setter]]) -> None:
        self.setters = tuple(setters)
        self.names = tuple(name for name, _ in self.setters)


class Encoder:
    """Encodes what views show: at once, or in parts, of which only those are encoded again that a write changed."""

    def __init__(self, message: type[Message], documents: OpenedDocuments) -> None:
        """Encode as this message."""
        self._message = message
        self._opened = documents
        setters = _setters(cast("Hashable", message))
        fields = [each for each in setters if each[1] is not _put_document]
        self._groups = (
            _Group(each for each in fields if each[0] not in _MOVING),
            _Group(each for each in fields if each[0] in _MOVING),
        )
        self._documents = [
            (name, tag_of(message.DESCRIPTOR.fields_by_name[name].number))
            for name, put in setters
            if put is _put_document
        ]

    def encode(self, view: View) -> bytes:
        """Return the message that shows all of a view, as bytes."""
        message = self._message()
        fill(message, view)
        return message.SerializeToString()

    def encode_parts(self, view: View, before: Parts | None) -> Parts:
        """Return the same in parts; `before` is what an earlier view of this viewer and user was encoded as."""
        fields, documents = before or _NOTHING
        return Parts(
            [self._fields(view, group, known) for group, known in zip_longest(self._groups, fields)],
            [self._document(view, each, known) for each, known in zip_longest(self._documents, documents)],
        )

    def _fields(self, view: View, group: _Group, known: _Fields | None) -> _Fields:
        values = view.read_all(group.names)
        if known is not None and known.values == values:
            return known
        message = self._message()
        for (name, put), value in zip(group.setters, values, strict=True):
            put(message, name, value)
        return _Fields(values, message.SerializeToString())

    def _document(self, view: View, field: tuple[str, bytes], known: _Document | None) -> _Document:
        name, tag = field
        text = view.read(name)
        if known is None:
            known = _NO_DOCUMENT
        elif known.text == text:
            return known
        value = self._opened.open(text)
        new = {key: encode_member(key, member) for key, member in unshared(value, known.value).items()}
        members = {**known.members, **new}
        if len(members) > len(value):
            members = {key: members[key] for key in value}
        return _Document(text, value, members, tag + delimited(b"".join(members.values())))


_NOTHING: Final = Parts((), ())
_NO_DOCUMENT: Final = _Document("", {}, {}, b"")


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
