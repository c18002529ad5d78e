"""JSON values: their types, how a path of keys finds them, how they are ordered across types."""

from collections.abc import Iterator, Sequence
from enum import Enum, IntEnum, unique
from typing import Final, NamedTuple, TypeAlias

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
JsonObject: TypeAlias = dict[str, Json]
Container: TypeAlias = dict[str, Json] | list[Json]


class Missing(Enum):
    """The type of `MISSING`."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING
"""Stands for a value that is not there: null is one."""

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
