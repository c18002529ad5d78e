"""Selects for users: a predicate, an order and a place in it become one statement, with the best way to its users.

The ways, from the best:

1. A conjunct that says `=` on an indexed target, in the order of the ids: its rows are in that order.
2. A conjunct that an index serves and that few users fulfil (`FEW`): find them all, sort them.
3. An order that an index has: walk it from the place on, and test each user.
4. A conjunct that many fulfil, in an order that no index has: as 2.
5. Test every user, and sort.

What few are is not known beforehand: `probe` counts up to `FEW + 1`, and hands the counts to `page` and `count`.
Ways 1 and 3 cost a page the same whatever the number of users and of pages before it, as long as a fair share of
those on the way fulfil the rest of the predicate.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import Final, NamedTuple

import orjson

from usermeta_server.model import User
from usermeta_server.store import predicates as q
from usermeta_server.store.index_entries import entries
from usermeta_server.store.sqlite.access_paths import (
    SCAN,
    Access,
    Lookup,
    bound_conditions,
    by_target,
    lookup_of,
)
from usermeta_server.store.sqlite.conditions import Conditions, SqlValue, key_of
from usermeta_server.store.sqlite.tables import USER_COLUMNS
from usermeta_server.values import Rank, SortValue

FEW: Final = 4096
"""How many users may be found and sorted for a page rather than walking an index in the page's order."""


class Select(NamedTuple):
    """A SELECT: SQL and the values that it binds by name. The connection must have the `FOLDS` (`refold.add_folds`)."""

    sql: str
    parameters: Mapping[str, SqlValue]


class Selects:
    """Writes SELECTs that use a set of indexes."""

    def __init__(self, indexes: Mapping[q.DocumentPath, int] | None = None) -> None:
        """Use these indexes: by path the id of each that is complete."""
        self._indexes = indexes or {}

    def probe(self, predicate: q.Predicate) -> Select | None:
        """Return the statement whose one row counts the users of each conjunct that an index serves; `None` if none."""
        conditions = Conditions()
        counts = []
        for found in _counted(self._lookups(predicate), ()):
            way = _through(found)
            where = " AND ".join(way.conditions(conditions))
            some = f"SELECT 1 FROM {way.access.table} WHERE {where} LIMIT {FEW + 1}"
            counts.append(f"(SELECT count(*) FROM ({some}))")
        return Select(f"SELECT {', '.join(counts)}", conditions.parameters) if counts else None

    def is_settled(self, query: q.UserQuery) -> bool:
        """Tell whether a page's way is the same whatever `probe` counts: only one index helps, and it is in order."""
        lookups = self._lookups(query.predicate)
        return not query.order.keys and [each.exact for each in lookups.values()] == [True]

    def page(self, query: q.UserQuery, counts: Sequence[int] = ()) -> Select:
        """Return the statement of a page; its rows are of `USER_COLUMNS`, in order.

        Args:
            query: what to find.
            counts: the row of `probe`, if that was asked.
        """
        return _Page(query, self._way(query, counts)).statement()

    def count(self, predicate: q.Predicate, counts: Sequence[int] = ()) -> Select:
        """Return the statement whose one row is the number of users; see `page` for its arguments."""
        found = _counted(self._lookups(predicate), counts)
        way = _through(min(found)) if found else _Way(SCAN)
        conditions = Conditions()
        rest = _rest(predicate, way)
        table = way.access.with_users if rest else way.access.table
        where = " AND ".join([*way.conditions(conditions), conditions.predicate(q.Conjunction(rest))])
        return Select(f"SELECT count(*) FROM {table} WHERE {where}", conditions.parameters)

    def _lookups(self, predicate: q.Predicate) -> dict[int, Lookup]:
        """Return those conjuncts that an index serves, by their places."""
        found = {place: lookup_of(each, self._indexes) for place, each in enumerate(_conjuncts(predicate))}
        return {place: lookup for place, lookup in found.items() if lookup is not None}

    def _way(self, query: q.UserQuery, counts: Sequence[int]) -> "_Way":
        lookups = self._lookups(query.predicate)
        found = _counted(lookups, counts)
        exact = [each for each in found if each.lookup.exact]
        if exact and not query.order.keys:
            return _through(min(exact))
        if found and min(found).users <= FEW:
            return _through(min(found))
        first = query.order.keys[0].target if query.order.keys else q.Field("id")
        walk = by_target(first, self._indexes)
        if walk is not None and walk.total:
            served = {place: lookup for place, lookup in lookups.items() if lookup.access == walk}
            return _Way(walk, served, sorted_by=first)
        return _through(min(found)) if found else _Way(SCAN)


class _Found(NamedTuple):
    """A lookup, and how many users it finds; ordered by that, then those first that say `=`."""

    users: int
    inexact: bool
    place: int
    lookup: Lookup


def _counted(lookups: Mapping[int, Lookup], counts: Sequence[int]) -> list[_Found]:
    """Return the lookups with their counts; what was not counted are many."""
    known = counts or [FEW + 1] * len(lookups)
    return [
        _Found(count, not lookup.exact, place, lookup)
        for count, (place, lookup) in zip(known, lookups.items(), strict=True)
    ]


class _Way(NamedTuple):
    """The way to the users: a table, the conjuncts that it serves by their places, the target whose order it walks."""

    access: Access
    served: Mapping[int, Lookup] = MappingProxyType({})
    sorted_by: q.Target | None = None

    def conditions(self, into: Conditions, *, unsought: str = "") -> list[str]:
        """Return the conditions that select its rows; see `conditions_of`."""
        into.parameters.update(self.access.parameters)
        bounds = (bound_conditions(lookup, into, unsought=unsought) for lookup in self.served.values())
        return [self.access.fixed, *chain.from_iterable(bounds)]


def _through(found: _Found) -> _Way:
    return _Way(found.lookup.access, {found.place: found.lookup})


def _conjuncts(predicate: q.Predicate) -> tuple[q.Predicate, ...]:
    return predicate.operands if isinstance(predicate, q.Conjunction) else (predicate,)


def _rest(predicate: q.Predicate, way: _Way) -> tuple[q.Predicate, ...]:
    """Return the conjuncts that a way does not serve."""
    return tuple(each for place, each in enumerate(_conjuncts(predicate)) if place not in way.served)


class _Key(NamedTuple):
    """What users are ordered by, and the value of the place after which to go on."""

    expression: str
    descending: bool
    after: str


class _Page:
    """Writes the statement of one page."""

    def __init__(self, query: q.UserQuery, way: _Way) -> None:
        """Write it for a way that was chosen."""
        self._query = query
        self._way = way
        self._conditions = Conditions()

    def statement(self) -> Select:
        """Return the statement: the ids of the page first, then the users, so that no sorting carries documents."""
        keys = self._keys()
        columns = ", ".join(f"{key.expression} AS k{place}" for place, key in enumerate(keys))
        order = ", ".join(f"k{place}{' DESC' if key.descending else ''}" for place, key in enumerate(keys))
        rest = self._conditions.predicate(q.Conjunction(_rest(self._query.predicate, self._way)))
        where = " AND ".join([*self._served(keys), rest, *self._after(keys)])
        limit = self._conditions.bind(self._query.limit)
        ids = f"SELECT {columns} FROM {self._way.access.with_users} WHERE {where} ORDER BY {order} LIMIT {limit}"
        sql = (
            f"SELECT {USER_COLUMNS} FROM ({ids}) AS page"
            f" CROSS JOIN users ON users.id = page.k{len(keys) - 1} ORDER BY {order}"
        )
        return Select(sql, self._conditions.parameters)

    def _keys(self) -> list[_Key]:
        order, after = self._query.order, self._query.after
        keys = []
        for place, key in enumerate(order.keys):
            walked = key.target == self._way.sorted_by
            expression = self._way.access.key if walked else self._conditions.sort_key(key.target)
            value = "" if after is None else self._after_value(after.values[place], walked=walked)
            keys.append(_Key(expression, key.descending, value))
        user_id = "" if after is None else self._conditions.bind(after.user_id)
        return [*keys, _Key(self._way.access.user_id, order.id_descending, user_id)]

    def _after_value(self, value: SortValue, *, walked: bool) -> str:
        if value.rank is Rank.NUMBER and isinstance(value.value, float) and not walked:
            return self._conditions.number(value.value)
        return self._conditions.bind(key_of(value))

    def _served(self, keys: Sequence[_Key]) -> list[str]:
        """Return the conditions of the way; once there is a place to go on from, its end of the range is not sought."""
        walking = self._way.sorted_by is not None and self._query.after is not None
        unsought = ("<" if keys[0].descending else ">") if walking else ""
        return self._way.conditions(self._conditions, unsought=unsought)

    def _after(self, keys: Sequence[_Key]) -> list[str]:
        """Return the condition that a user comes after the place, in a form by which an index can be sought."""
        if self._query.after is None:
            return []
        if len({key.descending for key in keys}) == 1:
            columns, values = ", ".join(key.expression for key in keys), ", ".join(key.after for key in keys)
            return [f"({columns}) {_beyond(keys[0])} ({values})"]
        *before, last = keys
        condition = f"{last.expression} {_beyond(last)} {last.after}"
        for key in reversed(before):
            beyond = f"{key.expression} {_beyond(key)} {key.after}"
            condition = f"({beyond} OR {key.expression} = {key.after} AND {condition})"
        return [f"{keys[0].expression} {_beyond(keys[0])}= {keys[0].after}", condition]


def _beyond(key: _Key) -> str:
    return "<" if key.descending else ">"


def entry_rows(user: User, indexes: Mapping[q.DocumentPath, int]) -> set[tuple[int, int, SqlValue, str]]:
    """Return the rows of `index_entries` that a user has."""
    documents = {document: orjson.loads(user.document(document)) for document in {path.document for path in indexes}}
    return {
        (index, entry.part.value, key_of(entry.value), user.id)
        for path, index in indexes.items()
        for entry in entries(documents[path.document], path.keys)
    }
