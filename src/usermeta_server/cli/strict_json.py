"""JSON that says exactly one thing: what other readers drop, round or guess is refused (RFC 8259, sections 4 and 6)."""

import json
import math
import re
from collections.abc import Sequence
from typing import Final, NoReturn

from usermeta_server.core.documents import dump
from usermeta_server.core.documents.canonical import MAX_NUMBER
from usermeta_server.core.documents.limits import depth
from usermeta_server.values import Json, JsonObject

BOM: Final = b"\xef\xbb\xbf"
"""U+FEFF in UTF-8, with which some programs begin a file."""

_MAX_DEPTH: Final = 32
"""How deep a text may nest: deeper than any document may, and not so deep that no message of protobuf can hold it."""
_TOO_DEEP: Final = f"nests deeper than {_MAX_DEPTH} levels"
_MAX_DIGITS: Final = 16
"""Digits of the largest number; int() of very long texts is refused by Python itself, in its own words."""
_SHOWN_CHARACTERS: Final = 40
_NOT_ZERO: Final = re.compile(r"-?0*\.?0*[1-9]")


def read_json(data: bytes) -> Json:
    """Return the value of a JSON text in UTF-8; a byte order mark before it is skipped.

    Raises:
        ValueError: it is not JSON; a key is there twice in one object, at any depth; a number cannot be kept as a
            double (beyond ±(2^53-1), or so small that it would be 0); a string holds a lone surrogate; it nests
            deeper than 32 levels. The text says which.
    """
    try:
        value: Json = json.loads(
            data.removeprefix(BOM).decode(),
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_fraction,
            parse_constant=_constant,
        )
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8: byte {error.start + 1} is {data[error.start]:#04x}") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON: {error.msg}, at character {error.pos + 1}") from error
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    if depth(value) > _MAX_DEPTH:
        raise ValueError(_TOO_DEEP)
    try:
        dump(value)
    except TypeError as error:
        raise ValueError("holds a lone surrogate") from error
    return value


def _object(pairs: Sequence[tuple[str, Json]]) -> JsonObject:
    members: JsonObject = {}
    for key, value in pairs:
        if key in members:
            raise ValueError(f"the key {_shown(key)!r} is there twice in one object")
        members[key] = value
    return members


def _integer(text: str) -> int:
    if len(text.lstrip("-")) > _MAX_DIGITS or abs(int(text)) > MAX_NUMBER:
        raise _beyond(text)
    return int(text)


def _fraction(text: str) -> float:
    value = float(text)
    if not math.isfinite(value) or abs(value) > MAX_NUMBER:
        raise _beyond(text)
    if value == 0 and _NOT_ZERO.match(text):
        raise ValueError(f"the number {_shown(text)} is too small to be kept: it would be 0")
    return value


def _constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")


def _beyond(text: str) -> ValueError:
    return ValueError(f"the number {_shown(text)} lies beyond ±(2^53-1), and cannot be kept exactly")


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 1]}…"
