"""The tree that a filter's text is, before its names and values are checked."""

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Path:
    """A field, or a place in a document, by its segments without quotes."""

    segments: tuple[str, ...]
    position: int


@dataclass(frozen=True, slots=True)
class Literal:
    """A value as it was written: see `Token` for its parts. What is quoted is a string, else its type follows from it.

    Attributes:
        text: Without quotes and escapes.
        stars: Where in `text` a `*` stands that was not escaped, counted from 0.
        quoted: Whether it stood in quotes.
        position: Where in the filter it begins, counted from 1.
    """

    text: str
    stars: tuple[int, ...]
    quoted: bool
    position: int


@dataclass(frozen=True, slots=True)
class Restriction:
    """A path, compared with a value by one of `= != < <= > >=`."""

    path: Path
    operator: str
    value: Literal


@dataclass(frozen=True, slots=True)
class Has:
    """A path that has a value (`:`); the value `*`, not in quotes, asks for any."""

    path: Path
    value: Literal


@dataclass(frozen=True, slots=True)
class Bare:
    """A word on its own."""

    word: Literal


@dataclass(frozen=True, slots=True)
class Not:
    """What must not be so."""

    operand: "Tree"


@dataclass(frozen=True, slots=True)
class And:
    """What must all be so; two or more."""

    operands: "tuple[Tree, ...]"


@dataclass(frozen=True, slots=True)
class Or:
    """Of which one must be so; two or more."""

    operands: "tuple[Tree, ...]"


Tree: TypeAlias = And | Or | Not | Restriction | Has | Bare
