"""Paths into a user's documents, as filters and settings write them: `unsafe_metadata.address."zip code"`."""

import re
from collections.abc import Sequence
from typing import Final

from usermeta_server.core.documents import Json

_SEGMENT: Final = re.compile(r'"((?:[^"\\]|\\.)+)"|([^."\s]+)')


def parse_path(text: str) -> tuple[str, ...]:
    """Return the segments of a path: its document or field, then keys.

    A segment that is not plain stands in double quotes, within which a backslash takes the next character as it is.

    Raises:
        ValueError: it is no path; the text says why.
    """
    segments: list[str] = []
    position = 0
    while True:
        match = _SEGMENT.match(text, position)
        if match is None:
            raise ValueError(f"'{text}' is no path: expected a name or a quoted name at character {position + 1}")
        segments.append(re.sub(r"\\(.)", r"\1", match[1]) if match[1] is not None else match[2])
        position = match.end()
        if position == len(text):
            return tuple(segments)
        if text[position] != ".":
            raise ValueError(f"'{text}' is no path: expected '.' at character {position + 1}")
        position += 1


def member(document: Json, keys: Sequence[str]) -> tuple[bool, Json]:
    """Return whether a document has something at a path of keys, and what."""
    value = document
    for key in keys:
        if not isinstance(value, dict) or key not in value:
            return False, None
        value = value[key]
    return True, value
