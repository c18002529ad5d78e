"""From the tree of a filter to the predicate that a store understands: names become targets, literals get types."""

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

from usermeta_server.core.documents import MAX_NUMBER, normal_number
from usermeta_server.core.query import foreign
from usermeta_server.core.query.fields import DOCUMENTS, WORD_FIELDS, FieldType, ScalarField, target_of
from usermeta_server.core.query.lexer import NUMBER, Flaw
from usermeta_server.core.query.tree import And, Bare, Has, Literal, Not, Or, Path, Restriction, Tree
from usermeta_server.store import predicates as q
from usermeta_server.unicode import fold

_TYPED: Final = {"true": True, "false": False, "null": None}
_TIME: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[Tt]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]+))?"
    r"(?:[Zz]|([+-])([0-9]{2}):([0-5][0-9])))?"
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FRACTION_DIGITS: Final = 9
_PER_MICROSECOND: Final = 1000
_JUST_BEFORE: Final = {
    q.Operator.GREATER: q.Operator.GREATER,
    q.Operator.GREATER_EQUAL: q.Operator.GREATER,
    q.Operator.LESS: q.Operator.LESS_EQUAL,
    q.Operator.LESS_EQUAL: q.Operator.LESS_EQUAL,
}
"""How to compare with the microsecond just before a time, in order to compare with the time."""


def check(tree: Tree | None) -> q.Predicate:  # noqa: PLR0911  # one for each kind of node
    """Return the predicate that a filter's tree means; an empty filter means everyone.

    Raises:
        Flaw: a path names nothing, or a value is not of the type that it is compared with.
    """
    match tree:
        case None:
            return q.EVERYONE
        case And(operands):
            return _conjunction([check(each) for each in operands])
        case Or(operands):
            return _disjunction([check(each) for each in operands])
        case Not(operand):
            return negate(check(operand))
        case Bare(word):
            return _check_word(word)
        case Has(path, value):
            return _check_has(path, value)
        case Restriction(path, "!=", value):
            return negate(_check_comparison(path, q.Operator.EQUAL, value))
        case Restriction(path, operator, value):
            return _check_comparison(path, q.Operator(operator), value)


def negate(predicate: q.Predicate) -> q.Predicate:
    """Return the opposite, with negations on leaves only (De Morgan)."""
    match predicate:
        case q.Conjunction(operands):
            return _disjunction([negate(each) for each in operands])
        case q.Disjunction(operands):
            return _conjunction([negate(each) for each in operands])
        case q.Negation(operand):
            return operand
        case leaf:
            return q.Negation(leaf)


def _conjunction(operands: list[q.Predicate]) -> q.Predicate:
    flat = tuple(part for each in operands for part in (each.operands if isinstance(each, q.Conjunction) else (each,)))
    return flat[0] if len(flat) == 1 else q.Conjunction(flat)


def _disjunction(operands: list[q.Predicate]) -> q.Predicate:
    flat = tuple(part for each in operands for part in (each.operands if isinstance(each, q.Disjunction) else (each,)))
    return flat[0] if len(flat) == 1 else q.Disjunction(flat)


def _check_word(word: Literal) -> q.Predicate:
    """Return that a name or an address begins with a word; where a star opens it, that it ends so or holds it."""
    name = word.text.partition(".")[0]
    if not word.quoted and (name in DOCUMENTS or word.text in _CONDITION_LIKE):
        raise Flaw(word.position, f"'{word.text}' is a field: compare it, or quote it to find the word")
    found = _text(word)
    pattern = found if isinstance(found, q.Pattern) else q.Pattern(found, open_start=False, open_end=True)
    folded = q.Pattern(fold(pattern.text), pattern.open_start, open_end=True)
    return q.Disjunction(tuple(q.Comparison(field, q.Operator.EQUAL, folded) for field in WORD_FIELDS))


_CONDITION_LIKE: Final = ("banned", "email_address_verified")


def _check_has(path: Path, literal: Literal) -> q.Predicate:
    target = target_of(path)
    anything = literal.text == "*" and not literal.quoted
    if isinstance(target, ScalarField):
        return _present(target) if anything else _compare_field(target, q.Operator.EQUAL, literal)
    if anything:
        return q.Present(target)
    value = _value(literal)
    if not target.keys and not isinstance(value, str | q.Pattern):
        raise Flaw(literal.position, f"expected a key of '{target.document}', which is a string")
    return q.Contains(target, value)


def _present(field: ScalarField) -> q.Predicate:
    """Return that a field has a value which is not its type's empty one (AIP-160 on messages)."""
    match field.type:
        case FieldType.TEXT:
            return q.Negation(q.Comparison(field.field, q.Operator.EQUAL, ""))
        case FieldType.BOOLEAN:
            return q.Comparison(field.field, q.Operator.EQUAL, value=True)
        case FieldType.TIME:
            return q.EVERYONE


def _check_comparison(path: Path, operator: q.Operator, literal: Literal) -> q.Predicate:
    target = target_of(path)
    if isinstance(target, ScalarField):
        return _compare_field(target, operator, literal)
    if not target.keys:
        raise Flaw(path.position, f"expected a path in the document '{target.document}', not the document itself")
    value = _value(literal)
    _check_operator(operator, value, literal)
    return q.Comparison(target, operator, value)


def _check_operator(operator: q.Operator, value: q.Scalar | q.Pattern, literal: Literal) -> None:
    if operator is q.Operator.EQUAL:
        return
    if isinstance(value, q.Pattern):
        raise Flaw(literal.position, f"a '*' matches only by '=', '!=' and ':'; write '\\*' to compare by '{operator}'")
    if value is None or isinstance(value, bool):
        raise Flaw(literal.position, f"expected a number or a string to compare by '{operator}'")


def _compare_field(field: ScalarField, operator: q.Operator, literal: Literal) -> q.Predicate:
    if field.type is FieldType.TIME:
        return _compare_time(field, operator, _read_time(literal))
    value = _READERS[field.type](literal)
    _check_operator(operator, value, literal)
    if field.field.fold:
        value = _folded(value, field.field.fold)
    return q.Comparison(field.field, operator, value)


def _compare_time(field: ScalarField, operator: q.Operator, nanoseconds: int) -> q.Predicate:
    """Return the comparison with a time in nanoseconds, exactly, though users' times have microseconds."""
    microseconds, rest = divmod(nanoseconds, _PER_MICROSECOND)
    if not rest:
        return q.Comparison(field.field, operator, microseconds)
    if operator is q.Operator.EQUAL:
        return q.NO_ONE
    return q.Comparison(field.field, _JUST_BEFORE[operator], microseconds)


def _folded(value: q.Scalar | q.Pattern, by: q.Fold) -> q.Scalar | q.Pattern:
    """Return a value as its field's are; what may go on is not taken for the whole domain of an address."""
    if isinstance(value, q.Pattern):
        return q.Pattern((fold if value.open_end else by)(value.text), value.open_start, value.open_end)
    return by(value) if isinstance(value, str) else value


def _value(literal: Literal) -> q.Scalar | q.Pattern:
    """Return what a literal means where any type may stand."""
    if not literal.quoted and literal.text in _TYPED:
        return _TYPED[literal.text]
    if not literal.quoted and NUMBER.fullmatch(literal.text):
        return _number(literal)
    if not literal.quoted and literal.text == "*":
        raise Flaw(literal.position, "expected a value (presence is asked by ':*')")
    if not literal.quoted:
        _refuse_foreign(literal)
    return _text(literal)


def _refuse_foreign(literal: Literal) -> None:
    """Refuse what is no string to whoever wrote it without quotes."""
    if literal.text in foreign.VALUES:
        advice = foreign.VALUES[literal.text]
        raise Flaw(literal.position, f"'{literal.text}' is not of this language: {advice} (in quotes it is text)")
    if literal.text.partition(".")[0] in DOCUMENTS:
        raise Flaw(
            literal.position, f"'{literal.text}' is a field, and compares with values only: quote it if it is text"
        )


def _number(literal: Literal) -> int | float:
    """Return a number in normal form; one that no document can hold counts as the next that none can."""
    number = float(literal.text)
    return normal_number(number) if abs(number) <= MAX_NUMBER else int(math.copysign(MAX_NUMBER + 1, number))


def _text(literal: Literal) -> str | q.Pattern:
    """Return a string, or a pattern where a star stands at its start or its end."""
    if not literal.stars:
        return literal.text
    last = len(literal.text) - 1
    if any(0 < star < last for star in literal.stars):
        raise Flaw(literal.position, "a '*' matches only at the start or the end of a string; write '\\*' for a star")
    open_start, open_end = 0 in literal.stars, last in literal.stars
    return q.Pattern(literal.text[open_start : last + 1 - open_end], open_start, open_end)


def _read_text(literal: Literal) -> str | q.Pattern:
    value = _value(literal)
    if not isinstance(value, str | q.Pattern):
        raise Flaw(literal.position, f"expected {FieldType.TEXT.value}: quote it")
    return value


def _read_boolean(literal: Literal) -> bool:
    value = _value(literal)
    if not isinstance(value, bool):
        raise Flaw(literal.position, f"expected {FieldType.BOOLEAN.value}")
    return value


def _read_time(literal: Literal) -> int:
    """Return nanoseconds since the epoch; a date without a time is its midnight, UTC."""
    found = _TIME.fullmatch(literal.text)
    if not found or not literal.quoted:
        raise Flaw(literal.position, f"expected {FieldType.TIME.value}, say '2026-01-31T12:00:00Z' or '2026-01-31'")
    date, time, fraction, sign, hours, minutes = found.groups("")
    if len(fraction) > _FRACTION_DIGITS:
        raise Flaw(literal.position, f"a fraction of a second has at most {_FRACTION_DIGITS} digits")
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0)) * (-1 if sign == "-" else 1)
    try:
        moment = datetime.fromisoformat(f"{date}T{time or '00:00:00'}").replace(tzinfo=timezone(offset))
    except ValueError as error:
        raise Flaw(literal.position, f"there is no time '{literal.text}'") from error
    seconds = (moment - _EPOCH) // timedelta(seconds=1)
    return seconds * 10**_FRACTION_DIGITS + int(fraction.ljust(_FRACTION_DIGITS, "0"))


_READERS: Final[dict[FieldType, Callable[[Literal], q.Scalar | q.Pattern]]] = {
    FieldType.TEXT: _read_text,
    FieldType.BOOLEAN: _read_boolean,
}
