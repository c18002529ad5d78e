"""Orders of users (AIP-132, `order_by`), read from text, and places in them as cursors."""

from collections.abc import Sequence
from typing import Final

from usermeta_server.core.query.fields import order_target_of
from usermeta_server.core.query.lexer import Flaw, Kind, Token
from usermeta_server.core.query.parser import Parser, path_of
from usermeta_server.store.predicates import Field, Order, OrderKey, Place, Target
from usermeta_server.values import Json, Rank, SortValue

MAX_ORDER_KEYS: Final = 5
"""How many keys an order may have."""

_ID: Final = Field("id")


def parse_keys(tokens: Sequence[Token]) -> Order:
    """Return the order that tokens say: `path [ "asc" | "desc" ] { "," … }`; without any, by id.

    Users that are equal by all keys are ordered by id, ascending whatever the keys' directions.

    Raises:
        Flaw: the tokens are no order, name something unknown or the same twice, or are too many.
    """
    parser = Parser(tokens)
    keys: dict[Target, bool] = {}
    while parser.peek().kind is not Kind.END:
        if keys:
            parser.expect(",")
        start = parser.peek().start
        target, descending = _parse_key(parser)
        if target in keys:
            raise Flaw(start, "is named twice")
        if len(keys) == MAX_ORDER_KEYS:
            raise Flaw(start, f"has more than the {MAX_ORDER_KEYS} keys that are allowed")
        keys[target] = descending
    return _order([OrderKey(target, descending) for target, descending in keys.items()])


def _parse_key(parser: Parser) -> tuple[Target, bool]:
    target = order_target_of(path_of(parser.segments("a field")))
    if parser.peek().is_word("asc", "desc"):
        return target, parser.take().raw == "desc"
    if parser.peek().kind is not Kind.END and not parser.peek().is_symbol(","):
        raise parser.unexpected("'asc', 'desc' or ','")
    return target, False


def _order(keys: list[OrderKey]) -> Order:
    """Return the order by keys; behind the id nothing orders any more, and as the last key it is implied."""
    targets = [key.target for key in keys]
    if _ID in targets:
        place = targets.index(_ID)
        return Order(tuple(keys[:place]), keys[place].descending)
    return Order(tuple(keys))


def to_cursor(place: Place) -> Json:
    """Return a place as JSON, for a page token."""
    return [[[int(value.rank), value.value] for value in place.values], place.user_id]


def from_cursor(cursor: Json) -> Place:
    """Return the place that `to_cursor` wrote; a page token vouches that it did.

    Raises:
        ValueError: it did not.
    """
    match cursor:
        case [[*values], str(user_id)]:
            return Place(tuple(map(_sort_value, values)), user_id)
        case _:
            raise ValueError("not a place in an order")


def _sort_value(cursor: Json) -> SortValue:
    match cursor:
        case [int(rank), int(value) | float(value) | str(value)]:
            return SortValue(Rank(rank), value)
        case _:
            raise ValueError("not a sort value")
