"""The ways to users that cost by what they find and not by how many users there are: tables ordered by a target."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

from usermeta_server.model import IdentifierKind
from usermeta_server.store import predicates as q
from usermeta_server.store.sqlite.conditions import Conditions, SqlValue, key_of
from usermeta_server.values import Rank, SortValue, sort_value


class Access(NamedTuple):
    """A table that holds users in the order of a target's values, and of their ids where the values are equal.

    Attributes:
        table: Its name and alias.
        fixed: The condition that selects its rows of this target.
        key: The column of the values.
        user_id: The column of the ids.
        total: Whether it has every user.
        parameters: What `fixed` binds, by name.
    """

    table: str
    fixed: str
    key: str
    user_id: str
    total: bool = True
    parameters: Mapping[str, SqlValue] = MappingProxyType({})

    @property
    def with_users(self) -> str:
        """The table and the users `u`, in this order: SQLite keeps that of a CROSS JOIN."""
        if self.table == _USERS:
            return self.table
        return f"{self.table} CROSS JOIN users AS u ON u.id = {self.user_id}"


_USERS: Final = "users AS u"

SCAN: Final = Access(_USERS, "1", "u.id", "u.id")
"""All users, in no order."""

_FIELDS: Final[Mapping[str, Access]] = {
    "id": Access(_USERS, "1", "u.id", "u.id"),
    "create_time": Access(_USERS, "1", "u.create_time", "u.id"),
    **{
        kind.value: Access("identifiers AS e", f"e.kind = '{kind.value}'", "e.key", "e.user_id", total=False)
        for kind in IdentifierKind
    },
}


class Bound(NamedTuple):
    """One end of a range of keys: `>` and `>=` are lower ends, `<` and `<=` upper ones; `=` is both."""

    operator: str
    key: SqlValue


class Lookup(NamedTuple):
    """How the users that fulfil one conjunct are found: where, and by which bounds of the key, or members."""

    access: Access
    bounds: Sequence[Bound]
    members: bool = False

    @property
    def exact(self) -> bool:
        """Whether all its keys are equal, so that its users come in the order of their ids."""
        return not self.members and self.bounds[0].operator == "="


def by_target(target: q.Target, indexes: Mapping[q.DocumentPath, int]) -> Access | None:
    """Return the table that is ordered by a target, if there is one."""
    if isinstance(target, q.Field):
        return _FIELDS.get(target.name)
    return _by_path(indexes[target], "= 0") if target in indexes else None


def _by_path(index: int, parts: str) -> Access:
    """Return the entries of an index that are of these parts; see `values.Part`."""
    name = f"index{index}"
    fixed = f"e.index_id = :{name} AND e.part {parts}"
    return Access("index_entries AS e", fixed, "e.key", "e.user_id", parameters={name: index})


def lookup_of(predicate: q.Predicate, indexes: Mapping[q.DocumentPath, int]) -> Lookup | None:
    """Return how the users of exactly this predicate are found, if it is a leaf that a table serves."""
    match predicate:
        case q.Comparison(target, operator, value):
            access = by_target(target, indexes)
            bounds = _bounds(operator, value)
            if access is None or bounds is None or not (access.total or _beyond_empty(bounds)):
                return None
            return Lookup(access, bounds)
        case q.Contains(path, value) if path in indexes and not isinstance(value, q.Pattern):
            return Lookup(_by_path(indexes[path], "IN (0, 1)"), [Bound("=", key_of(sort_value(value)))], members=True)
        case _:
            return None


def _beyond_empty(bounds: Sequence[Bound]) -> bool:
    """Tell whether bounds leave out the empty string: an identifier that is unset has no row."""
    return bounds[0].key != "" or bounds[0].operator == ">"


_FLOORS: Final[Mapping[Rank, Bound]] = {
    Rank.NUMBER: Bound(">", key_of(SortValue(Rank.TRUE, 0))),
    Rank.STRING: Bound(">=", ""),
}
_CEILINGS: Final[Mapping[Rank, Bound]] = {Rank.NUMBER: Bound("<", ""), Rank.STRING: Bound("<", b"")}


def _bounds(operator: q.Operator, value: q.Scalar | q.Pattern) -> Sequence[Bound] | None:
    """Return the range of keys of the values that compare so; a lower end is first. `None` if they are no range."""
    if isinstance(value, q.Pattern):
        return None if value.open_start else _prefixed(value.text)
    found = sort_value(value)
    bound = Bound(operator.value, key_of(found))
    match operator:
        case q.Operator.EQUAL:
            return [bound]
        case q.Operator.LESS | q.Operator.LESS_EQUAL:
            return [_FLOORS[found.rank], bound]
        case q.Operator.GREATER | q.Operator.GREATER_EQUAL:
            return [bound, _CEILINGS[found.rank]]


_LAST_CODE_POINT: Final = "\U0010ffff"
_BEFORE_SURROGATES: Final = 0xD7FF
_AFTER_SURROGATES: Final = 0xE000


def _prefixed(text: str) -> Sequence[Bound]:
    """Return the range of the strings that begin with a text."""
    begun = text.rstrip(_LAST_CODE_POINT)
    if not begun:
        return [Bound(">=", text), _CEILINGS[Rank.STRING]]
    last = ord(begun[-1])
    following = chr(_AFTER_SURROGATES if last == _BEFORE_SURROGATES else last + 1)
    return [Bound(">=", text), Bound("<", begun[:-1] + following)]


def bound_conditions(lookup: Lookup, into: Conditions, *, unsought: str = "") -> list[str]:
    """Return the conditions that are a lookup's bounds.

    Args:
        lookup: what is looked up.
        into: what gathers the parameters.
        unsought: the first character of those operators that SQLite shall not seek by, because it has a better place.
    """
    return [
        f"{'+' if bound.operator[0] == unsought else ''}{lookup.access.key} {bound.operator} {into.bind(bound.key)}"
        for bound in lookup.bounds
    ]
