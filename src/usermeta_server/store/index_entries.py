"""What an index on a path keeps of a user, the same in every engine."""

from collections.abc import Sequence
from enum import IntEnum, unique
from typing import NamedTuple

from usermeta_server.values import MISSING, Json, SortValue, members, reach, resolve, sort_value


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
