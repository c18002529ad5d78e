"""Values in documents: how a path finds them, how they are ordered across types, what an index keeps of them."""

from collections.abc import Iterator, Sequence
from enum import Enum, IntEnum, unique
from typing import Final, NamedTuple, TypeAlias

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


class Missing(Enum):
    """The type of `MISSING`."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING
"""Stands for what a path does not find: null is a value."""

Value: TypeAlias = "Json | Missing"
"""What a path finds."""


@unique
class Rank(IntEnum):
    """The order across types; lists and objects are ordered by nothing else."""

    MISSING = 0
    NULL = 1
    FALSE = 2
    TRUE = 3
    NUMBER = 4
    STRING = 5
    LIST = 6
    OBJECT = 7


class SortValue(NamedTuple):
    """A value as it is ordered: by rank, then numbers by value and strings by code point; others have the value 0."""

    rank: Rank
    value: int | float | str


def sort_value(value: Value) -> SortValue:
    """Return what a value is ordered by."""
    if isinstance(value, str):
        return SortValue(Rank.STRING, value)
    if isinstance(value, bool):
        return SortValue(Rank.TRUE if value else Rank.FALSE, 0)
    if isinstance(value, int | float):
        return SortValue(Rank.NUMBER, value)
    if isinstance(value, list):
        return SortValue(Rank.LIST, 0)
    if isinstance(value, dict):
        return SortValue(Rank.OBJECT, 0)
    return SortValue(Rank.NULL if value is None else Rank.MISSING, 0)


def resolve(value: Json, keys: Sequence[str]) -> Value:
    """Return the value that keys lead to, through objects only."""
    for key in keys:
        if not isinstance(value, dict) or key not in value:
            return MISSING
        value = value[key]
    return value


def reach(value: Json, keys: Sequence[str]) -> list[Json]:
    """Return every value that keys lead to, through objects and through the elements of lists (AIP-160, `:`)."""
    found = [value]
    for key in keys:
        steps = (step for each in found for step in (each if isinstance(each, list) else (each,)))
        found = [step[key] for step in steps if isinstance(step, dict) and key in step]
    return found


def members(value: Json) -> Iterator[Json]:
    """Yield what a value contains: the elements of a list, the keys of an object, a scalar itself."""
    if isinstance(value, list | dict):
        yield from value
    else:
        yield value


@unique
class Part(IntEnum):
    """Which of an index's entries: a user has one `VALUE` and any number of `MEMBER`s."""

    VALUE = 0
    MEMBER = 1


class Entry(NamedTuple):
    """What an index keeps of a user's value at its path."""

    part: Part
    value: SortValue


def entries(document: Json, keys: Sequence[str]) -> set[Entry]:
    """Return what an index of a path keeps of a user: its value, missing too, and the scalars that `:` finds there.

    A scalar value is not repeated among the members.
    """
    value = resolve(document, keys)
    kept = {Entry(Part.VALUE, sort_value(value))}
    if value is MISSING or isinstance(value, list | dict):
        contained = (member for each in reach(document, keys) for member in members(each))
        kept |= {Entry(Part.MEMBER, sort_value(each)) for each in contained if not isinstance(each, list | dict)}
    return kept
