"""What a document may be: the limits, and the one check that turns a document into its stored bytes."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar, cast

from usermeta_server.core.documents.canonical import MAX_NUMBER, dump, normal_form
from usermeta_server.core.documents.json_pointer import Tokens, format_pointer, shown
from usermeta_server.errors import Reason, UsermetaError, each_of, invalid
from usermeta_server.values import Container, Json, JsonObject

D = TypeVar("D", bound=str)

_NUL_ESCAPE = b"\\u0000"
_MAX_BYTES_PER_CHARACTER = 4


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a document may be.

    Attributes:
        max_bytes: Size of the canonical JSON, in bytes.
        max_depth: Nesting in containers: `{}` is 1 deep, `{"a": []}` is 2.
        max_key_bytes: Length of a key in UTF-8 bytes; the shortest is 1.
    """

    max_bytes: int = 8192
    max_depth: int = 16
    max_key_bytes: int = 256


_BOUNDLESS = Limits(max_bytes=sys.maxsize, max_depth=sys.maxsize)


def seal(document: JsonObject, field: str, limits: Limits) -> bytes:
    """Check a whole document and return its canonical JSON, the form in which it is stored.

    Numbers are written in normal form. The bytes always hold exactly the document: what JSON
    or a client could not give back is refused, never changed.

    Args:
        document: The document as it would be stored; nested as deep as memory allows.
        field: The request field that it stands for, say `public_metadata`.
        limits: What is allowed.

    Returns:
        Compact UTF-8 JSON with sorted keys, at most `limits.max_bytes` long.

    Raises:
        UsermetaError: INVALID_ARGUMENT, one of METADATA_TOO_DEEP, METADATA_KEY_INVALID,
            NUMBER_NOT_REPRESENTABLE, METADATA_STRING_INVALID, METADATA_TOO_LARGE. Metadata:
            `field`, `path` (JSON pointer of the offending place) and, for depth, keys and
            size, `size` (found) and `limit` (allowed).
    """
    if not _inspect(document, field, limits):
        document = {key: normal_form(value) for key, value in document.items()}
    try:
        data = dump(document)
    except TypeError:
        _check_strings(document, field)
        raise
    if _NUL_ESCAPE in data:
        _check_strings(document, field)
    if len(data) > limits.max_bytes:
        raise too_large(field, len(data), limits)
    return data


def seal_all(documents: Mapping[D, JsonObject], prefix: str, limits: Limits) -> dict[str, str]:
    """Check documents as `seal` does, and return their texts; `prefix` is what their fields begin with, say `user.`.

    Raises:
        UsermetaError: as `seal` does, with a violation for each document that is refused.
    """
    texts = each_of(lambda document, value: seal(value, f"{prefix}{document}", limits).decode(), documents)
    return cast("dict[str, str]", texts)  # a dict is invariant in its keys


def check_representable(document: JsonObject, field: str) -> None:
    """Refuse what no document can hold, whatever the limits: raises as `seal` does for keys, numbers and strings."""
    seal(document, field, _BOUNDLESS)


def depth(value: Json) -> int:
    """Return how many containers deep a value is: 0 for a scalar, 1 for `{}`, 2 for `[{}]`."""
    levels = 0
    level: list[Container] = [value] if isinstance(value, dict | list) else []
    while level:
        levels += 1
        level = [child for each in level for child in _values(each) if type(child) is dict or type(child) is list]
    return levels


def too_large(field: str, size: int, limits: Limits) -> UsermetaError:
    """Make the refusal of a document of `size` bytes."""
    text = f"the document would take {size} bytes; at most {limits.max_bytes} are allowed"
    return invalid(field, text, reason=Reason.METADATA_TOO_LARGE, path="", size=size, limit=limits.max_bytes)


def too_deep(field: str, tokens: Tokens, size: int, limits: Limits) -> UsermetaError:
    """Make the refusal of a document nested `size` deep, which passes the limit at `tokens`."""
    path = shown(format_pointer(tokens))
    text = f"the document would nest {size} deep, through '{path}'; at most {limits.max_depth} is allowed"
    return invalid(field, text, reason=Reason.METADATA_TOO_DEEP, path=path, size=size, limit=limits.max_depth)


def _inspect(document: JsonObject, field: str, limits: Limits) -> bool:
    """Check nesting, keys and numbers, a level at a time; tell whether every number is in normal form."""
    level: list[Container] = [document]
    levels = 0
    normal = True
    while level:
        levels += 1
        if levels > limits.max_depth:
            raise too_deep(field, _find(document, level[0]), depth(document), limits)
        below: list[Container] = []
        normal = _check_level(document, level, field, limits, below) and normal
        level = below
    return normal


def _check_level(
    document: JsonObject, level: list[Container], field: str, limits: Limits, below: list[Container]
) -> bool:
    """Check keys and numbers of one level and collect the containers `below` it; strings are left to their bytes."""
    normal = True
    short = limits.max_key_bytes // _MAX_BYTES_PER_CHARACTER
    for container in level:
        if type(container) is dict and container and ("" in container or max(map(len, container)) > short):
            _check_keys(document, container, field, limits)
        for value in container.values() if type(container) is dict else container:
            if type(value) is str:
                continue
            if type(value) is dict or type(value) is list:
                below.append(value)
            elif type(value) is int or type(value) is float:
                if not -MAX_NUMBER <= value <= MAX_NUMBER:
                    raise _bad_number(document, value, field)
                normal = normal and (type(value) is int or not float(value).is_integer())
    return normal


def _check_keys(document: JsonObject, container: JsonObject, field: str, limits: Limits) -> None:
    for key in container:
        size = len(key.encode("utf-8", "surrogatepass"))
        if not 0 < size <= limits.max_key_bytes:
            path = shown(format_pointer((*_find(document, container), key)))
            text = f"the key at '{path}' takes {size} bytes; 1 to {limits.max_key_bytes} are allowed"
            found = {"path": path, "size": size, "limit": limits.max_key_bytes}
            raise invalid(field, text, reason=Reason.METADATA_KEY_INVALID, **found)


def _values(container: Container) -> Iterable[Json]:
    return container.values() if isinstance(container, dict) else container


def _bad_number(document: JsonObject, number: float, field: str) -> UsermetaError:
    path = shown(format_pointer(_find(document, number)))
    text = f"the number at '{path}' is not finite or lies beyond ±(2^53-1)"
    return invalid(field, text, reason=Reason.NUMBER_NOT_REPRESENTABLE, path=path)


def _check_strings(document: JsonObject, field: str) -> None:
    """Find the key or the string that holds U+0000 or a lone surrogate; there may be none."""
    for tokens, value in _places(document):
        if flaw := _flaw(tokens[-1]):
            kind, reason = "key", Reason.METADATA_KEY_INVALID
        elif flaw := _flaw(value):
            kind, reason = "string", Reason.METADATA_STRING_INVALID
        else:
            continue
        path = shown(format_pointer(tokens))
        raise invalid(field, f"the {kind} at '{path}' holds {flaw}", reason=reason, path=path)


def _flaw(value: Json) -> str | None:
    if not isinstance(value, str):
        return None
    if "\0" in value:
        return "U+0000"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "a lone surrogate"
    return None


def _find(document: JsonObject, offender: Json) -> Tokens:
    """Return where an object of the document is, by identity: paths are worth their cost only in a refusal."""
    return next((tokens for tokens, value in _places(document) if value is offender), ())


def _places(document: JsonObject) -> Iterator[tuple[Tokens, Json]]:
    """Yield every member and item of a document with its reference tokens, the shallowest first."""
    level: list[tuple[Tokens, Container]] = [((), document)]
    while level:
        below: list[tuple[Tokens, Container]] = []
        for tokens, container in level:
            names: Iterable[str] = container if isinstance(container, dict) else map(str, range(len(container)))
            for name, value in zip(names, _values(container), strict=True):
                yield (*tokens, name), value
                if isinstance(value, dict | list):
                    below.append(((*tokens, name), value))
        level = below
