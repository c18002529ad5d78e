"""JSON Pointer (RFC 6901): reading, writing and following the paths of a JSON Patch."""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import TypeAlias

from usermeta_server.values import Container, Json, JsonObject

Tokens: TypeAlias = tuple[str, ...]

_BAD_ESCAPE = re.compile(r"~(?![01])")
# Nine digits are more than any list has items, and int() stays cheap.
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")
# Refusals travel in HTTP/2 headers, of which most clients accept 8 KiB.
_SHOWN_CHARACTERS = 256


class PointerError(ValueError):
    """A text is no pointer; `text` says how."""

    def __init__(self, text: str) -> None:
        """Say what is wrong."""
        super().__init__(text)
        self.text = text


class PathError(LookupError):
    """A pointer leads nowhere in a document; `tokens` is the whole pointer."""

    def __init__(self, tokens: Tokens) -> None:
        """Keep the pointer that could not be followed."""
        super().__init__(tokens)
        self.tokens = tokens


class PathMissingError(PathError):
    """A member or an item on the way does not exist."""


class PathScalarError(PathError):
    """A step goes into a string, a number, a boolean or null, which have nothing inside."""


def parse(pointer: str) -> Tokens:
    """Split a pointer into its unescaped reference tokens (RFC 6901, sections 3 and 4).

    Args:
        pointer: The pointer's text: `""` for the whole document, otherwise starting with `/`.

    Raises:
        PointerError: The pointer is malformed.
    """
    return _parse_short(pointer) if len(pointer) <= _SHORT else _parse(pointer)


def _parse(pointer: str) -> Tokens:
    if not pointer:
        return ()
    if not pointer.startswith("/"):
        raise PointerError("a JSON pointer is empty or starts with '/'")
    if "~" not in pointer:
        return tuple(pointer[1:].split("/"))
    if _BAD_ESCAPE.search(pointer):
        raise PointerError("in a JSON pointer '~' is followed by '0' or '1'")
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in pointer[1:].split("/"))


_SHORT = 128
_parse_short = lru_cache(maxsize=4096)(_parse)


def format_pointer(tokens: Iterable[str]) -> str:
    """Write reference tokens as a pointer, the inverse of `parse` (RFC 6901, section 3)."""
    return "".join("/" + token.replace("~", "~0").replace("/", "~1") for token in tokens)


def shown(pointer: str) -> str:
    """Return a pointer fit for an error: at most 256 characters, the rest as `…`, always valid UTF-8."""
    if len(pointer) > _SHOWN_CHARACTERS:
        pointer = pointer[: _SHOWN_CHARACTERS - 1] + "…"
    return pointer.encode("utf-8", "backslashreplace").decode()


def position(token: str, length: int) -> int | None:
    """Return the index that a token names in a list of `length` items, or None.

    None also where the token is no index at all: `-`, `-1`, `01`, `x` (RFC 6901, section 4).
    """
    if not _INDEX.fullmatch(token):
        return None
    index = int(token)
    return index if index < length else None


def resolve(document: JsonObject, tokens: Tokens) -> Json:
    """Return the value that a pointer names (RFC 6901, section 4).

    Raises:
        PathMissingError: Something on the way does not exist.
        PathScalarError: A step goes into a scalar.
    """
    place: Json = document
    for token in tokens:
        place = _child(place, token, tokens)
    return place


def parents(document: JsonObject, tokens: Tokens) -> list[Container]:
    """Return the containers above a place, the document first, its parent last.

    The place itself need not exist. Raises as `resolve` does where its parent does not.
    """
    containers: list[Container] = [document]
    for token in tokens[:-1]:
        place = _child(containers[-1], token, tokens)
        if not isinstance(place, dict | list):
            raise PathScalarError(tokens)
        containers.append(place)
    return containers


def _child(place: Json, token: str, tokens: Tokens) -> Json:
    if isinstance(place, dict):
        if token in place:
            return place[token]
    elif isinstance(place, list):
        index = position(token, len(place))
        if index is not None:
            return place[index]
    else:
        raise PathScalarError(tokens)
    raise PathMissingError(tokens)
