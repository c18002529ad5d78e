"""What a store is asked when users are looked for: a predicate, an order, a place in it.

This is the checked form: every name in it is known and every value has its type, so that an engine only has to
translate. `core.query` makes it of the text that a client sends, and evaluates it in plain Python.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Final, NamedTuple, TypeAlias

from usermeta_server.model import Document, IdentifierKind
from usermeta_server.unicode import fold, fold_email_address
from usermeta_server.values import SortValue

Scalar: TypeAlias = bool | int | float | str | None
"""A value to compare with: numbers in normal form and within ±2**53, times in integer microseconds since the epoch."""


Fold: TypeAlias = Callable[[str], str]
"""What returns the form in which texts are compared. SQL knows it by the function's own name."""

FOLDS: Final[Mapping[IdentifierKind, Fold]] = {
    IdentifierKind.USERNAME: fold,
    IdentifierKind.EMAIL_ADDRESS: fold_email_address,
}
"""The identifiers that are compared, looked up and unique in a folded form; the others are as they are."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A string to match: `text`, with anything before or after it where an end is open; one at least is."""

    text: str
    open_start: bool
    open_end: bool


@dataclass(frozen=True, slots=True)
class Field:
    """A scalar field of the user, by its attribute's name; one that has a fold is compared and ordered by that."""

    name: str
    fold: Fold | None = None


@dataclass(frozen=True, slots=True)
class DocumentPath:
    """A place in one of a user's documents, by the keys that lead there; without keys the document itself."""

    document: Document
    keys: tuple[str, ...]


Target: TypeAlias = Field | DocumentPath


@unique
class Operator(StrEnum):
    """How a value is compared. `!=` is not among them: it is exactly the negation of `=`."""

    EQUAL = "="
    LESS = "<"
    LESS_EQUAL = "<="
    GREATER = ">"
    GREATER_EQUAL = ">="


@dataclass(frozen=True, slots=True)
class Comparison:
    """Whether the value at a target compares so; false where it is missing or of another type.

    A pattern is only ever compared for equality; null and booleans too.
    """

    target: Target
    operator: Operator
    value: Scalar | Pattern


@dataclass(frozen=True, slots=True)
class Contains:
    """Whether a value that a path reaches (`values.reach`) is a list with this element, an object with this key, or it.

    Elements and keys are compared as values are: by type, and with a pattern as strings.
    """

    path: DocumentPath
    value: Scalar | Pattern


@dataclass(frozen=True, slots=True)
class Present:
    """Whether a path reaches anything, be it null. A document itself is present when it is not empty."""

    path: DocumentPath


Leaf: TypeAlias = Comparison | Contains | Present


@dataclass(frozen=True, slots=True)
class Negation:
    """Whether a leaf is not so."""

    operand: Leaf


@dataclass(frozen=True, slots=True)
class Conjunction:
    """Whether all operands are so; without any, always. No operand is a conjunction itself."""

    operands: "tuple[Predicate, ...]"


@dataclass(frozen=True, slots=True)
class Disjunction:
    """Whether any operand is so; without any, never. No operand is a disjunction itself."""

    operands: "tuple[Predicate, ...]"


Predicate: TypeAlias = Leaf | Negation | Conjunction | Disjunction
"""What a user is or is not: two-valued. Negations stand on leaves only, so that an engine can use the conjuncts."""

EVERYONE: Final = Conjunction(())
"""The predicate that every user fulfils."""
NO_ONE: Final = Disjunction(())
"""The predicate that no user fulfils."""


@dataclass(frozen=True, slots=True)
class OrderKey:
    """One key of an order: by the value at a target, in the order of `values.sort_value`, or its reverse."""

    target: Target
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Order:
    """An order of users: by the keys, then by id, so that no two users are equal.

    `id_descending` is the direction of the id, which is ascending unless the order names it.
    """

    keys: tuple[OrderKey, ...] = ()
    id_descending: bool = False


class Place(NamedTuple):
    """A place in an order: right after the user with these values of the keys and this id."""

    values: tuple[SortValue, ...]
    user_id: str


class UserQuery(NamedTuple):
    """A page of users: who, in which order, after which place (`None` is the beginning), how many at the most."""

    predicate: Predicate
    order: Order
    after: Place | None
    limit: int
