"""A predicate as a condition of SQL over a row `u` of `users`.

Nothing of a predicate becomes text of the SQL but the names of columns, which come from a fixed list: keys and
values are bound. A path is walked by `json_each`, one step a key, because the paths of SQLite's JSON functions
cannot name every key; and its `type` tells `true` from 1 and null from missing. Before it walks, a condition looks
for the key, and where it can for the value, in the document's text, which being canonical must hold them so.
"""

from collections.abc import Mapping
from typing import Final, TypeAlias

import orjson

from usermeta_server.model import Document, User
from usermeta_server.store import predicates as q
from usermeta_server.values import Rank, SortValue

SqlValue: TypeAlias = int | float | str | bytes

_COLUMNS: Final[Mapping[str, str]] = {name: f"u.{name}" for name in User._fields}
_DOCUMENTS: Final[Mapping[Document, str]] = {document: f"u.{document.value}" for document in Document}

_LOWEST: Final = -(2**60)
_CONSTANTS: Final[Mapping[Rank, SqlValue]] = {
    **{rank: _LOWEST + rank for rank in (Rank.MISSING, Rank.NULL, Rank.FALSE, Rank.TRUE)},
    Rank.LIST: b"\0",
    Rank.OBJECT: b"\1",
}


def key_of(value: SortValue) -> SqlValue:
    """Return the one value by which SQLite orders as `SortValue` does: numbers before text before blobs.

    What stands before the numbers is a number lower than any that a document may hold.
    """
    return _CONSTANTS.get(value.rank, value.value)


_KEY_OF_STEP: Final = f"""CASE {{step}}.type WHEN 'null' THEN {_LOWEST + Rank.NULL}
    WHEN 'false' THEN {_LOWEST + Rank.FALSE} WHEN 'true' THEN {_LOWEST + Rank.TRUE}
    WHEN 'array' THEN x'00' WHEN 'object' THEN x'01' ELSE {{step}}.value END"""


_ELEMENTS: Final = "CASE {step}.type WHEN 'array' THEN {step}.value WHEN 'object' THEN '[' || {step}.value || ']' END"
"""A list's elements are themselves, an object is its own only one."""


class Conditions:
    """Writes conditions, and gathers the parameters that they bind."""

    def __init__(self) -> None:
        """Begin without parameters."""
        self.parameters: dict[str, SqlValue] = {}

    def bind(self, value: SqlValue) -> str:
        """Return the name of a parameter that has this value."""
        name = f"p{len(self.parameters)}"
        self.parameters[name] = value
        return f":{name}"

    def number(self, value: float) -> str:
        """Return a number to compare with one of a document.

        A fraction is read from JSON, as those of documents are: some builds of SQLite do not round as Python does.
        """
        text = orjson.dumps(value).decode()
        return self.bind(value) if isinstance(value, int) else f"json_extract({self.bind(text)}, '$')"

    def predicate(self, predicate: q.Predicate) -> str:
        """Return a predicate as a condition; its parenthesis, if it needs one, is its own."""
        match predicate:
            case q.Conjunction(operands):
                return self._joined(operands, " AND ", "1")
            case q.Disjunction(operands):
                return self._joined(operands, " OR ", "0")
            case q.Negation(operand):
                return f"NOT {self.predicate(operand)}"
            case q.Comparison(target, operator, value):
                return self._comparison(target, operator, value)
            case q.Contains(path, value):
                return self._contains(path, value)
            case q.Present(path):
                return self._present(path)

    def _joined(self, operands: tuple[q.Predicate, ...], word: str, empty: str) -> str:
        """Join operands, the deepest first: parentheses that open at once cost SQLite's parser, of 100 steps, least."""
        deepest_first = sorted(operands, key=_depth, reverse=True)
        return f"({word.join(self.predicate(each) for each in deepest_first) or empty})"

    def _comparison(self, target: q.Target, operator: q.Operator, value: q.Scalar | q.Pattern) -> str:
        if isinstance(target, q.Field):
            return f"({self._compared(field_value(target), operator, value)}{_held(target)})"
        return self._at(target, self._typed(_last_step(target), operator, value), _text_of(value, operator))

    def _compared(self, found: str, operator: q.Operator, value: q.Scalar | q.Pattern) -> str:
        """Return how a value of the same type compares."""
        if isinstance(value, q.Pattern):
            return self._matched(found, value)
        if isinstance(value, float):
            return f"{found} {operator.value} {self.number(value)}"
        assert value is not None, "null has no value to compare, only a type"  # noqa: S101  # holds for the type checker
        return f"{found} {operator.value} {self.bind(value)}"

    def _matched(self, found: str, pattern: q.Pattern) -> str:
        """Return how a string matches; `length` is Python's, for SQLite's ends at U+0000."""
        text, length = self.bind(pattern.text), len(pattern.text)
        if pattern.open_start and pattern.open_end:
            return f"instr({found}, {text}) > 0" if length else "1"
        if pattern.open_start:
            return f"substr({found}, -{length}) = {text}" if length else "1"
        return f"substr({found}, 1, {length}) = {text}"

    def _typed(self, step: str, operator: q.Operator, value: q.Scalar | q.Pattern) -> str:
        """Return how the value of a step compares, after its type."""
        if value is None or isinstance(value, bool):
            return f"{step}.type = '{orjson.dumps(value).decode()}'"
        types = "IN ('integer', 'real')" if isinstance(value, int | float) else "= 'text'"
        return f"{step}.type {types} AND {self._compared(f'{step}.value', operator, value)}"

    def _steps(self, path: q.DocumentPath, *, lists: bool = False) -> tuple[str, str]:
        """Return the tables s1, s2 … and the condition that walk a path, where asked through the elements of lists."""
        tables = [f"json_each({_DOCUMENTS[path.document]}) AS s1"]
        for place in range(2, len(path.keys) + 1):
            above = f"s{place - 1}"
            if lists:
                tables.append(f"json_each({_ELEMENTS.format(step=above)}) AS e{place}")
                above = f"e{place}"
            tables.append(f"json_each(CASE {above}.type WHEN 'object' THEN {above}.value END) AS s{place}")
        keys = [f"s{place}.key = {self.bind(key)}" for place, key in enumerate(path.keys, 1)]
        return " CROSS JOIN ".join(tables), " AND ".join(keys)

    def _at(self, path: q.DocumentPath, test: str, text: bytes = b"", *, lists: bool = False) -> str:
        """Return that the last step of a path is there and passes a test.

        Args:
            path: a path that has keys.
            test: the condition on its last step.
            text: what must stand right behind the last key in the document's text.
            lists: whether the path goes through lists too.
        """
        tables, keys = self._steps(path, lists=lists)
        needle = self.bind((orjson.dumps(path.keys[-1]) + b":" + text).decode())
        column = _DOCUMENTS[path.document]
        found = f"EXISTS (SELECT 1 FROM {tables} WHERE {keys} AND {test})"
        return f"(instr({column}, {needle}) > 0 AND {found})"

    def _contains(self, path: q.DocumentPath, value: q.Scalar | q.Pattern) -> str:
        if not path.keys:
            tables = f"json_each({_DOCUMENTS[path.document]}) AS m"
            return f"EXISTS (SELECT 1 FROM {tables} WHERE {self._key_matches(value)})"
        step = _last_step(path)
        scalar = self._typed(step, q.Operator.EQUAL, value)
        element = self._typed("m", q.Operator.EQUAL, value)
        member = (
            "EXISTS (SELECT 1"
            f" FROM json_each(CASE WHEN {step}.type IN ('array', 'object') THEN {step}.value END) AS m"
            f" WHERE {step}.type = 'array' AND {element} OR {step}.type = 'object' AND {self._key_matches(value)})"
        )
        return self._at(path, f"({scalar} OR {member})", lists=True)

    def _key_matches(self, value: q.Scalar | q.Pattern) -> str:
        return self._compared("m.key", q.Operator.EQUAL, value) if isinstance(value, str | q.Pattern) else "0"

    def _present(self, path: q.DocumentPath) -> str:
        return self._at(path, "1", lists=True) if path.keys else f"({_DOCUMENTS[path.document]} <> '{{}}')"

    def sort_key(self, target: q.Target) -> str:
        """Return the expression by which users are ordered by a target; see `key_of`."""
        if isinstance(target, q.Field):
            return field_value(target)
        tables, keys = self._steps(target)
        found = _KEY_OF_STEP.format(step=_last_step(target))
        return f"coalesce((SELECT {found} FROM {tables} WHERE {keys}), {_LOWEST})"


def _last_step(path: q.DocumentPath) -> str:
    return f"s{len(path.keys)}"


def field_value(field: q.Field) -> str:
    """Return the expression of a field's value; the `+` keeps SQLite from choosing an index of its own by it."""
    column = _COLUMNS[field.name]
    return folded_column(column, field.fold) if field.fold else f"+{column}"


def folded_column(column: str, fold: q.Fold) -> str:
    """Return the expression of a column's folded text. ASCII, which is most, folds without a call of Python."""
    return f"CASE WHEN {column} GLOB '*[^ -~]*' THEN {fold.__name__}({column}) ELSE lower({column}) END"


def _held(field: q.Field) -> str:
    """Return the further condition that a user holds the identifier that their text is, so that looking it up agrees.

    A text whose identifier is another user's, from before a refold, is like a value of another type: nothing compares.
    """
    if field.name not in q.FOLDS:
        return ""
    held = f"i.kind = '{field.name}' AND i.key = {field_value(field)} AND i.user_id = u.id"
    return f" AND ({_COLUMNS[field.name]} = '' OR EXISTS (SELECT 1 FROM identifiers AS i WHERE {held}))"


def _depth(predicate: q.Predicate) -> int:
    match predicate:
        case q.Conjunction(operands) | q.Disjunction(operands):
            return 1 + max(map(_depth, operands), default=0)
        case _:
            return 0


def _text_of(value: q.Scalar | q.Pattern, operator: q.Operator) -> bytes:
    """Return what of the canonical text of a value that compares so is known: all, its beginning, or nothing."""
    if isinstance(value, q.Pattern):
        return b"" if value.open_start else orjson.dumps(value.text)[:-1]
    return orjson.dumps(value) if operator is q.Operator.EQUAL else b""
