"""JSON Patch (RFC 6902) with one operation more, `increment`: what the Patch verb does to a document.

Operations never change a value in place: each makes a new document that shares with the old
one whatever lies off its path. So a refused patch has no effect, and a `copy` copies nothing.

Where the RFC only says "error", this is which one:

- what a pointer names does not exist, or its parent does not, or an index lies past the end,
  or a token is no index of the list that it meets (`01`, `-1`, `x`, and `-` unless a value is
  added there): PATCH_PATH_MISSING;
- a pointer steps into a string, a number, a boolean or null, or the root would not stay an
  object, or `increment` meets something other than a number: PATCH_TYPE_MISMATCH;
- either of these in a `test`: PATCH_TEST_FAILED, as if the value differed.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, TypeAlias, TypeGuard

from usermeta_server.core.documents.canonical import MAX_NUMBER, equal, measure, normal_number
from usermeta_server.core.documents.json_pointer import (
    PathError,
    PathMissingError,
    PathScalarError,
    Tokens,
    format_pointer,
    parents,
    parse,
    position,
    resolve,
    shown,
)
from usermeta_server.core.documents.limits import Limits, depth, seal, too_deep, too_large
from usermeta_server.core.documents.operations import NEEDS, Op, Operation, check_operation
from usermeta_server.errors import Reason, Status, UsermetaError, Violation, all_of
from usermeta_server.values import MISSING, Container, Json, JsonObject, Missing


@dataclass(frozen=True, slots=True)
class _Step:
    """An operation that `check_operation` let pass, its pointers parsed; what it lacks is empty."""

    path: Tokens
    source: Tokens
    value: Json


Step: TypeAlias = tuple[Operation, _Step]
"""An operation that was checked."""

# The new document, and the value placed at the path, whose depth counts: MISSING where nothing can have grown.
_Outcome: TypeAlias = tuple[JsonObject, Json | Literal[Missing.MISSING]]


class _RefusedError(Exception):
    """An operation cannot be done: why, at which pointer, and what to say of it."""

    def __init__(self, reason: Reason, tokens: Tokens, text: str) -> None:
        super().__init__(text)
        self.reason = reason
        self.tokens = tokens
        self.text = text


def apply_patch(document: JsonObject, operations: Iterable[Operation], limits: Limits, field: str) -> JsonObject:
    """Apply operations to a document in order, all of them or none (RFC 6902, section 5).

    Nesting and size are checked after every operation that can grow the document; keys,
    strings and numbers are not: `limits.seal` checks the result.

    Args:
        document: The document as it is, within the limits; not changed.
        operations: What to do, as `check_operation` accepts them; any number.
        limits: What the document may be after every step.
        field: The request field that holds the operations, say `public_metadata`.

    Returns:
        The patched document. It shares with the arguments whatever did not change.

    Raises:
        UsermetaError: What `check_operation` raises, before anything is applied;
            PATCH_TEST_FAILED, PATCH_PATH_MISSING, PATCH_TYPE_MISMATCH (FAILED_PRECONDITION);
            METADATA_TOO_LARGE, METADATA_TOO_DEEP, NUMBER_NOT_REPRESENTABLE (INVALID_ARGUMENT),
            and for a value that JSON cannot hold what `limits.seal` raises.
            Metadata: `field`, `index` of the operation, `path` (the pointer that failed) and,
            for size and depth, `size` and `limit`.
    """
    return Patch.of(operations, field).apply(document, limits)


@dataclass(frozen=True, slots=True)
class Patch:
    """Operations that were checked, with their pointers parsed, to be applied to any document."""

    field: str
    steps: Sequence[Step]

    @classmethod
    def of(cls, operations: Iterable[Operation], field: str) -> "Patch":
        """Check operations; raises as `check_operation` does, with the flaws of all."""
        return cls(field, all_of([partial(step_of, each, field, index) for index, each in enumerate(operations)]))

    def apply(self, document: JsonObject, limits: Limits) -> JsonObject:
        """Return the patched document; see `apply_patch`."""
        field = self.field
        for index, (operation, step) in enumerate(self.steps):
            try:
                document, placed = _APPLY[operation.op](document, step)
                if placed is not MISSING:
                    _check_growth(document, step.path, placed, limits, field)
            except PathError as error:
                raise _refusal(_explained(error), field, index) from None
            except _RefusedError as error:
                raise _refusal(error, field, index) from None
            except UsermetaError as error:
                raise _of_operation(error, field, index, operation) from None
        return document


def step_of(operation: Operation, field: str, index: int) -> Step:
    """Return an operation with its pointers parsed; raises as `check_operation` does."""
    check_operation(operation, field, index)
    value = None if operation.value is MISSING else operation.value
    # What the operation does not need was not checked, and may be anything.
    source = parse(operation.from_path or "") if "from_path" in NEEDS[operation.op] else ()
    return operation, _Step(parse(operation.path or ""), source, value)


def _check_growth(document: JsonObject, tokens: Tokens, placed: Json, limits: Limits, field: str) -> None:
    """Check what placing a value at `tokens` can have broken; the rest was checked before."""
    deepest = len(tokens) + depth(placed)
    if deepest > limits.max_depth:
        raise too_deep(field, tokens, deepest, limits)
    try:
        size = measure(document)
    except TypeError:
        # A string or a number that JSON cannot hold: the full check names it.
        size = len(seal(document, field, limits))
    if size > limits.max_bytes:
        raise too_large(field, size, limits)


def _explained(error: PathError) -> _RefusedError:
    if isinstance(error, PathScalarError):
        text = "leads into a value that is neither an object nor a list"
        return _RefusedError(Reason.PATCH_TYPE_MISMATCH, error.tokens, text)
    return _RefusedError(Reason.PATCH_PATH_MISSING, error.tokens, "does not exist")


def _refusal(error: _RefusedError, field: str, index: int) -> UsermetaError:
    place, path = f"{field}[{index}]", shown(format_pointer(error.tokens))
    text = f"'{path}' {error.text}"
    violations = (Violation(place, text, error.reason),) if error.reason.status is Status.INVALID_ARGUMENT else ()
    metadata = {"field": field, "index": str(index), "path": path}
    return UsermetaError(error.reason, f"{place}: {text}", metadata, violations)


def _of_operation(error: UsermetaError, field: str, index: int, operation: Operation) -> UsermetaError:
    """Turn the refusal of a document into that of the operation that made it so."""
    place, text = f"{field}[{index}]", error.violations[0].description
    metadata = {**error.metadata, "index": str(index), "path": error.metadata["path"] or shown(operation.path or "")}
    violation = Violation(place, text, error.reason)
    return replace(error, message=f"{place}: {text}", metadata=metadata, violations=(violation,))


def _add(document: JsonObject, step: _Step) -> _Outcome:
    return _added(document, step.path, step.value), step.value


def _remove(document: JsonObject, step: _Step) -> _Outcome:
    return _removed(document, step.path), MISSING


def _replace(document: JsonObject, step: _Step) -> _Outcome:
    resolve(document, step.path)
    return _set(document, step.path, step.value), step.value


def _move(document: JsonObject, step: _Step) -> _Outcome:
    value = resolve(document, step.source)
    if step.source == step.path:
        return document, MISSING
    # Only a move downwards can deepen the document; otherwise the value need not be measured.
    placed = value if len(step.path) > len(step.source) else None
    return _added(_removed(document, step.source), step.path, value), placed


def _copy(document: JsonObject, step: _Step) -> _Outcome:
    value = resolve(document, step.source)
    return _added(document, step.path, value), value


def _test(document: JsonObject, step: _Step) -> _Outcome:
    try:
        value = resolve(document, step.path)
    except PathError as error:
        raise _RefusedError(Reason.PATCH_TEST_FAILED, step.path, _explained(error).text) from None
    if not equal(value, step.value):
        raise _RefusedError(Reason.PATCH_TEST_FAILED, step.path, "does not hold the tested value")
    return document, MISSING


def _increment(document: JsonObject, step: _Step) -> _Outcome:
    parent = parents(document, step.path)[-1]
    starts = isinstance(parent, dict) and bool(step.path) and step.path[-1] not in parent
    number = 0 if starts else resolve(document, step.path)
    if not (_is_number(number) and _is_number(step.value)):
        raise _RefusedError(Reason.PATCH_TYPE_MISMATCH, step.path, "is not a number")
    total = normal_number(number + step.value)
    if not -MAX_NUMBER <= total <= MAX_NUMBER:
        raise _RefusedError(Reason.NUMBER_NOT_REPRESENTABLE, step.path, "would pass ±(2^53-1)")
    return _set(document, step.path, total), total


_APPLY: Mapping[Op, Callable[[JsonObject, _Step], _Outcome]] = {
    Op.ADD: _add,
    Op.REMOVE: _remove,
    Op.REPLACE: _replace,
    Op.MOVE: _move,
    Op.COPY: _copy,
    Op.TEST: _test,
    Op.INCREMENT: _increment,
}


def _is_number(value: Json) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _added(document: JsonObject, tokens: Tokens, value: Json) -> JsonObject:
    return _edited(document, tokens, partial(_insert, value=value)) if tokens else _root(value)


def _set(document: JsonObject, tokens: Tokens, value: Json) -> JsonObject:
    return _edited(document, tokens, partial(_put, value=value)) if tokens else _root(value)


def _removed(document: JsonObject, tokens: Tokens) -> JsonObject:
    return _edited(document, tokens, _drop) if tokens else _root(None)


def _root(value: Json) -> JsonObject:
    if not isinstance(value, dict):
        raise _RefusedError(Reason.PATCH_TYPE_MISMATCH, (), "is the document itself, which stays an object")
    return value


def _edited(document: JsonObject, tokens: Tokens, change: Callable[[Container, Tokens], Container]) -> JsonObject:
    """Return the document with `change` made to the parent of a place; only what is above it is copied."""
    above = parents(document, tokens)
    changed = change(above.pop(), tokens)
    while above:
        changed = _put(above.pop(), tokens[: len(above) + 1], changed)
    return _root(changed)


def _insert(parent: Container, tokens: Tokens, value: Json) -> Container:
    if isinstance(parent, dict):
        return {**parent, tokens[-1]: value}
    index = len(parent) if tokens[-1] == "-" else _index(tokens, len(parent) + 1)
    return [*parent[:index], value, *parent[index:]]


def _put(parent: Container, tokens: Tokens, value: Json) -> Container:
    if isinstance(parent, dict):
        return {**parent, tokens[-1]: value}
    index = _index(tokens, len(parent))
    return [*parent[:index], value, *parent[index + 1 :]]


def _drop(parent: Container, tokens: Tokens) -> Container:
    if isinstance(parent, dict):
        if tokens[-1] not in parent:
            raise PathMissingError(tokens)
        return {key: value for key, value in parent.items() if key != tokens[-1]}
    index = _index(tokens, len(parent))
    return parent[:index] + parent[index + 1 :]


def _index(tokens: Tokens, length: int) -> int:
    index = position(tokens[-1], length)
    if index is None:
        raise PathMissingError(tokens)
    return index
