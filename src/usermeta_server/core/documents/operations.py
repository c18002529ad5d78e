"""The operations of a JSON Patch (RFC 6902), and what can be said of them before any document is read."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum, unique
from typing import Final, Literal

from usermeta_server.core.documents.canonical import MAX_NUMBER, Json
from usermeta_server.core.documents.json_pointer import Tokens, parse, shown
from usermeta_server.errors import Reason, invalid

MAX_OPERATIONS = 100
"""How many operations one request may hold, over all its documents; the caller counts them."""


class Missing(Enum):
    """The type of `MISSING`."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING
"""Stands for the `value` that an operation does not have: null is a value."""


@unique
class Op(StrEnum):
    """What an operation does (RFC 6902, section 4), by its name in JSON."""

    ADD = "add"
    REMOVE = "remove"
    REPLACE = "replace"
    MOVE = "move"
    COPY = "copy"
    TEST = "test"
    INCREMENT = "increment"


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a patch.

    Attributes:
        op: What to do.
        path: JSON pointer of the place to do it at.
        from_path: JSON pointer of the value that `move` and `copy` take; None for the others.
        value: What `add`, `replace` and `test` work with, its numbers in normal form, or the
            number that `increment` adds; MISSING for the others.
    """

    op: Op
    path: str
    from_path: str | None = None
    value: Json | Literal[Missing.MISSING] = MISSING


@dataclass(frozen=True, slots=True)
class _Form:
    """Which members an operation has, all of them required, besides its path."""

    from_path: bool = False
    value: bool = False


_FORMS: Mapping[Op, _Form] = {
    Op.ADD: _Form(value=True),
    Op.REMOVE: _Form(),
    Op.REPLACE: _Form(value=True),
    Op.MOVE: _Form(from_path=True),
    Op.COPY: _Form(from_path=True),
    Op.TEST: _Form(value=True),
    Op.INCREMENT: _Form(value=True),
}


def check_operations(operations: Iterable[Operation], field: str) -> None:
    """Refuse the first operation that is wrong whatever the document holds.

    Args:
        operations: The patch of one document.
        field: The request field that holds it, say `public_metadata`.

    Raises:
        UsermetaError: PATCH_INVALID for a malformed pointer, a `from_path` or `value` that is
            missing or may not be there, a move into its own child, an `increment` by something
            other than a number; NUMBER_NOT_REPRESENTABLE for an `increment` by a number that
            is not finite or beyond ±(2^53-1). Metadata: `field`, `index` of the operation,
            `path`. The violation names the member, say `public_metadata[3].path`.
    """
    for index, operation in enumerate(operations):
        flaw = _flaw(operation)
        if flaw:
            part, text, reason = flaw
            place = f"{field}[{index}].{part}"
            where = {"field": field, "index": index, "path": shown(operation.path)}
            raise invalid(place, text, reason=reason, **where)


def _flaw(operation: Operation) -> tuple[str, str, Reason] | None:
    """Return what is wrong with an operation, if anything: its member, the text, the reason."""
    form = _FORMS[operation.op]
    part = "path"
    try:
        path = parse(operation.path)
        part = "from_path"
        source = None if operation.from_path is None else parse(operation.from_path)
    except ValueError as error:
        return part, str(error), Reason.PATCH_INVALID
    if (source is not None) is not form.from_path:
        return "from_path", _presence(operation.op, needed=form.from_path), Reason.PATCH_INVALID
    if (operation.value is not MISSING) is not form.value:
        return "value", _presence(operation.op, needed=form.value), Reason.PATCH_INVALID
    if operation.op is Op.MOVE and source is not None and _is_inside(path, source):
        return "path", "a value cannot move into itself", Reason.PATCH_INVALID
    return _step_flaw(operation.value) if operation.op is Op.INCREMENT else None


def _presence(op: Op, *, needed: bool) -> str:
    return f"'{op}' needs it" if needed else f"'{op}' takes none"


def _is_inside(path: Tokens, source: Tokens) -> bool:
    return len(path) > len(source) and path[: len(source)] == source


def _step_flaw(step: Json | Literal[Missing.MISSING]) -> tuple[str, str, Reason] | None:
    if isinstance(step, bool) or not isinstance(step, int | float):
        return "value", "an increment is a number", Reason.PATCH_INVALID
    if not -MAX_NUMBER <= step <= MAX_NUMBER:
        return "value", "the number is not finite or lies beyond ±(2^53-1)", Reason.NUMBER_NOT_REPRESENTABLE
    return None
