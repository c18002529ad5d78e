"""Predicates and orders in plain Python: compiled to closures once, then asked of one user after the other."""

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import orjson

from usermeta_server.model import Document, User
from usermeta_server.store import predicates as q
from usermeta_server.values import Json, Rank, SortValue, Value, members, reach, resolve, sort_value

Documents: TypeAlias = dict[Document, Json]
Test: TypeAlias = Callable[[User, Documents], bool]
ValueTest: TypeAlias = Callable[[Value], bool]


def matcher(predicate: q.Predicate) -> Callable[[User], bool]:
    """Return a function that tells whether a user fulfils a predicate.

    Only the documents that the predicate looks at are read.
    """
    test = _compile(predicate)
    documents = tuple(sorted(set(_documents(predicate))))

    def matches(user: User) -> bool:
        return test(user, {document: orjson.loads(user.document(document)) for document in documents})

    return matches


def _documents(predicate: q.Predicate) -> Iterator[Document]:
    """Yield the documents that a predicate looks at."""
    match predicate:
        case q.Conjunction(operands) | q.Disjunction(operands):
            for each in operands:
                yield from _documents(each)
        case q.Negation(operand):
            yield from _documents(operand)
        case q.Contains(path) | q.Present(path):
            yield path.document
        case q.Comparison(target):
            if isinstance(target, q.DocumentPath):
                yield target.document


def _compile(predicate: q.Predicate) -> Test:
    match predicate:
        case q.Conjunction(operands):
            every = [_compile(each) for each in operands]
            return lambda user, documents: all(test(user, documents) for test in every)
        case q.Disjunction(operands):
            some = [_compile(each) for each in operands]
            return lambda user, documents: any(test(user, documents) for test in some)
        case q.Negation(operand):
            test = _compile(operand)
            return lambda user, documents: not test(user, documents)
        case q.Comparison(target, compared, value):
            return _target_test(target, _value_test(compared, value))
        case q.Contains(path, value):
            return _contains_test(path, _value_test(q.Operator.EQUAL, value))
        case q.Present(path):
            return _present_test(path)


def _target_test(target: q.Target, test: ValueTest) -> Test:
    if isinstance(target, q.DocumentPath):
        document, keys = target.document, target.keys
        return lambda _, documents: test(resolve(documents[document], keys))
    value = operator.attrgetter(target.name)
    fold = target.fold
    if fold is not None:
        return lambda user, _: test(fold(value(user)))
    return lambda user, _: test(value(user))


def _contains_test(path: q.DocumentPath, test: ValueTest) -> Test:
    document, keys = path.document, path.keys
    return lambda _, documents: any(test(each) for value in reach(documents[document], keys) for each in members(value))


def _present_test(path: q.DocumentPath) -> Test:
    document, keys = path.document, path.keys
    if not keys:
        return lambda _, documents: documents[document] != {}
    return lambda _, documents: bool(reach(documents[document], keys))


_ORDERINGS: Final[dict[q.Operator, Callable[[Any, Any], bool]]] = {
    q.Operator.EQUAL: operator.eq,
    q.Operator.LESS: operator.lt,
    q.Operator.LESS_EQUAL: operator.le,
    q.Operator.GREATER: operator.gt,
    q.Operator.GREATER_EQUAL: operator.ge,
}


def _value_test(compared: q.Operator, value: q.Scalar | q.Pattern) -> ValueTest:
    """Return the test of a found value, which first must be of the literal's type."""
    compare = _ORDERINGS[compared]
    match value:
        case q.Pattern():
            return _pattern_test(value)
        case None | bool():
            return lambda found: found is value
        case str():
            return lambda found: isinstance(found, str) and compare(found, value)
        case int() | float():
            return lambda found: (
                isinstance(found, int | float) and not isinstance(found, bool) and compare(found, value)
            )


def _pattern_test(pattern: q.Pattern) -> ValueTest:
    text = pattern.text
    if pattern.open_start and pattern.open_end:
        return lambda found: isinstance(found, str) and text in found
    if pattern.open_start:
        return lambda found: isinstance(found, str) and found.endswith(text)
    return lambda found: isinstance(found, str) and found.startswith(text)


def place_of(order: q.Order) -> Callable[[User], q.Place]:
    """Return a function that says where in an order a user is."""
    values = [_value_of(key.target) for key in order.keys]
    return lambda user: q.Place(tuple(value(user) for value in values), user.id)


def _value_of(target: q.Target) -> Callable[[User], SortValue]:
    if isinstance(target, q.DocumentPath):
        document, keys = target.document, target.keys
        return lambda user: sort_value(resolve(orjson.loads(user.document(document)), keys))
    name, fold = target.name, target.fold
    return lambda user: _field_value(getattr(user, name), fold)


def _field_value(value: str | int, fold: q.Fold | None) -> SortValue:
    """Return what a field's value is ordered by; one that is true or false is kept, and ordered, as 1 or 0."""
    if isinstance(value, str):
        return SortValue(Rank.STRING, fold(value) if fold else value)
    return SortValue(Rank.NUMBER, int(value))


@dataclass(frozen=True, slots=True)
class _Reversed:
    """A value that sorts in reverse; `sorted` asks for nothing but `<` and `==`."""

    value: SortValue | str

    def __lt__(self, other: "_Reversed") -> bool:
        return other.value < self.value  # type: ignore[operator]  # both are sort values, or both ids


def place_key(order: q.Order) -> Callable[[q.Place], Any]:
    """Return a function by which `sorted` puts places in an order."""
    descending = [*(key.descending for key in order.keys), order.id_descending]

    def key(place: q.Place) -> tuple[object, ...]:
        parts: list[SortValue | str] = [*place.values, place.user_id]
        return tuple(_Reversed(part) if reverse else part for part, reverse in zip(parts, descending, strict=True))

    return key


def sort_key(order: q.Order) -> Callable[[User], Any]:
    """Return a function by which `sorted` puts users in an order."""
    place, key = place_of(order), place_key(order)
    return lambda user: key(place(user))
