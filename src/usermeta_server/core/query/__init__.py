"""The language in which users are found: filters (AIP-160) and orders (AIP-132), read and checked.

Nothing here does input or output. The checked forms are `store.predicates`'.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Final, NamedTuple, TypeVar

from usermeta_server.core.query.checker import check
from usermeta_server.core.query.fields import order_target_of
from usermeta_server.core.query.lexer import Flaw, Kind, Token, tokenize
from usermeta_server.core.query.order import from_cursor, parse_keys, to_cursor
from usermeta_server.core.query.parser import Parser, parse, path_of
from usermeta_server.errors import Reason, invalid
from usermeta_server.store.predicates import DocumentPath, Order, Predicate

__all__ = [
    "MAX_LENGTH",
    "Filter",
    "OrderBy",
    "format_path",
    "from_cursor",
    "parse_filter",
    "parse_index_path",
    "parse_order",
    "parse_path",
    "to_cursor",
]

T = TypeVar("T")

MAX_LENGTH: Final = 4096
"""How many characters a filter, an order or a path may have."""
_REMEMBERED: Final = 256
"""How many filters, and how many orders, are read only once: most callers ask the same for every page."""


class Filter(NamedTuple):
    """A filter: what it means, and its text in one form whatever the white space, to bind page tokens to."""

    predicate: Predicate
    canonical: str


class OrderBy(NamedTuple):
    """An order: what it means, and its text in one form whatever the white space, to bind page tokens to."""

    order: Order
    canonical: str


@lru_cache(_REMEMBERED)
def parse_filter(text: str, field: str = "filter") -> Filter:
    """Read a filter; an empty one means everyone.

    Raises:
        UsermetaError: FILTER_INVALID; metadata: `position`, of the first wrong character, counted from 1.
    """
    return Filter(*_read(text, field, Reason.FILTER_INVALID, lambda tokens: check(parse(tokens))))


@lru_cache(_REMEMBERED)
def parse_order(text: str, field: str = "order_by") -> OrderBy:
    """Read an order; an empty one is by id.

    Raises:
        UsermetaError: ORDER_INVALID; metadata: `position`, of the first wrong character, counted from 1.
    """
    return OrderBy(*_read(text, field, Reason.ORDER_INVALID, parse_keys))


def parse_index_path(text: str, field: str = "path") -> DocumentPath:
    """Read the path of an index, as it would stand in a filter.

    Raises:
        UsermetaError: FIELD_INVALID; metadata: `position`, of the first wrong character, counted from 1.
    """
    path, _ = _read(text, field, Reason.FIELD_INVALID, _parse_index_path)
    return path


def parse_path(text: str) -> tuple[str, ...]:
    """Return the segments of a path, as it would stand in a filter: a field or a document, then keys.

    Raises:
        ValueError: it is no path; the text says why, and where.
    """
    try:
        parser = Parser(tokenize(text, MAX_LENGTH))
        return path_of(_whole(parser)).segments
    except Flaw as flaw:
        raise ValueError(f"'{text}' is no path: {flaw.description} (at position {flaw.position})") from flaw


def format_path(path: DocumentPath) -> str:
    """Return a path as it would stand in a filter; the inverse of `parse_index_path`."""
    return ".".join([path.document, *map(_segment, path.keys)])


def _segment(key: str) -> str:
    if _PLAIN.fullmatch(key):
        return key
    escaped = key.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _parse_index_path(tokens: Sequence[Token]) -> DocumentPath:
    target = order_target_of(path_of(_whole(Parser(tokens))))
    if not isinstance(target, DocumentPath):
        raise Flaw(1, "expected a path in a document")
    return target


def _whole(parser: Parser) -> Sequence[Token]:
    """Return the segments of a path, behind which nothing comes."""
    segments = parser.segments("a path")
    if parser.peek().kind is not Kind.END:
        raise parser.unexpected("the end")
    return segments


def _read(text: str, field: str, reason: Reason, meaning: Callable[[Sequence[Token]], T]) -> tuple[T, str]:
    try:
        tokens = tokenize(text, MAX_LENGTH)
        return meaning(tokens), _canonical(tokens)
    except Flaw as flaw:
        raise invalid(
            field, f"{flaw.description} (at position {flaw.position})", reason=reason, position=flaw.position
        ) from flaw


def _canonical(tokens: Sequence[Token]) -> str:
    """Return the text of tokens with one space between them, but none where none may stand."""
    glued = (
        token.raw + ("" if token.is_symbol(".", "-") or following.is_symbol(".") else " ")
        for token, following in pairwise(tokens)
    )
    return "".join(glued).rstrip(" ")
