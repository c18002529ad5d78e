"""google.protobuf.Struct to JSON values and back, by hand: half the cost of json_format, and integers stay integers."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import count, islice
from typing import Final

from google.protobuf.struct_pb2 import NULL_VALUE, ListValue, Struct, Value

from usermeta_server.core.documents import normal_number
from usermeta_server.core.documents.json_pointer import Tokens, format_pointer, shown
from usermeta_server.errors import UsermetaError, invalid, together
from usermeta_server.values import Json, JsonObject

_MAX_NAMED: Final = 100
"""How many Values without a kind are looked for in a document: a request has room for a million."""


class _NoKindError(Exception):
    """A Value has no kind. Where it stands is looked for only then: paths are worth their cost only in a refusal."""


def to_object(struct: Struct, field: str) -> JsonObject:
    """Return a Struct, which the request has in `field`, as a JSON object.

    Raises:
        UsermetaError: FIELD_INVALID, for a Value without a kind: read as null it would delete a key.
    """
    try:
        return _object(struct)
    except _NoKindError:
        raise _no_kind(field, Value(struct_value=struct)) from None


def to_json(value: Value, field: str) -> Json:
    """Return a Value, which the request has in `field`, as JSON; raises as `to_object` does."""
    try:
        return _json(value)
    except _NoKindError:
        raise _no_kind(field, value) from None


def _object(struct: Struct) -> JsonObject:
    return {key: _json(value) for key, value in struct.fields.items()}


def _json(value: Value) -> Json:
    match value.WhichOneof("kind"):
        case "string_value":
            return value.string_value
        case "number_value":
            return normal_number(value.number_value)
        case "bool_value":
            return value.bool_value
        case "struct_value":
            return _object(value.struct_value)
        case "list_value":
            return [_json(item) for item in value.list_value.values]
        case "null_value":
            return None
        case _:
            raise _NoKindError


def _kindless(value: Value) -> Iterator[Tokens]:
    """Yield where below a Value those without a kind are."""
    members: Iterable[tuple[str, Value]] = ()
    match value.WhichOneof("kind"):
        case None:
            yield ()
        case "struct_value":
            members = value.struct_value.fields.items()
        case "list_value":
            members = zip(map(str, count()), value.list_value.values, strict=False)
        case _:
            pass
    for name, member in members:
        yield from ((name, *tokens) for tokens in _kindless(member))


def _no_kind(field: str, value: Value) -> UsermetaError:
    paths = (shown(format_pointer(tokens)) for tokens in islice(_kindless(value), _MAX_NAMED))
    return together([invalid(field, f"the value at '{path}' has no kind", path=path) for path in paths])


def fill_struct(struct: Struct, value: Mapping[str, Json]) -> None:
    """Write a JSON object into an empty Struct."""
    fields = struct.fields
    for key, member in value.items():
        if type(member) is str:  # most are: a call each is what this costs
            fields[key].string_value = member
        else:
            _fill_value(fields[key], member)


def _fill_list(target: ListValue, items: list[Json]) -> None:
    add = target.values.add
    for item in items:
        _fill_value(add(), item)


def _fill_value(target: Value, value: Json) -> None:
    kind = type(value)
    if kind is str:
        target.string_value = value  # type: ignore[assignment]  # the type was just tested
    elif kind is bool:
        target.bool_value = value  # type: ignore[assignment]  # as above
    elif kind is int or kind is float:
        target.number_value = value  # type: ignore[assignment]  # as above
    elif isinstance(value, dict):
        target.struct_value.SetInParent()
        fill_struct(target.struct_value, value)
    elif isinstance(value, list):
        target.list_value.SetInParent()
        _fill_list(target.list_value, value)
    else:
        target.null_value = NULL_VALUE
