"""The operations of a JSON Patch (RFC 6902), and what can be said of them before any document is read."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Final, Literal, NamedTuple

from usermeta_server.core.documents.canonical import MAX_NUMBER
from usermeta_server.core.documents.json_pointer import PointerError, Tokens, parse, shown
from usermeta_server.errors import Reason, invalid, together
from usermeta_server.values import MISSING, Json, Missing

MAX_OPERATIONS = 100
"""How many operations one request may hold, over all its documents; the caller counts them."""


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
        path: JSON pointer of the place to do it at; None when it is absent, which is not `""`, the root.
        from_path: JSON pointer of the value that `move` and `copy` take; None when it is absent.
        value: What `add`, `replace` and `test` work with, its numbers in normal form, or the
            number that `increment` adds; MISSING when it is absent.
    """

    op: Op
    path: str | None
    from_path: str | None = None
    value: Json | Literal[Missing.MISSING] = MISSING


NEEDS: Final[Mapping[Op, tuple[str, ...]]] = {
    Op.ADD: ("path", "value"),
    Op.REMOVE: ("path",),
    Op.REPLACE: ("path", "value"),
    Op.MOVE: ("path", "from_path"),
    Op.COPY: ("path", "from_path"),
    Op.TEST: ("path", "value"),
    Op.INCREMENT: ("path", "value"),
}
"""The members that an operation must have; any other is ignored, as if it were not there (RFC 6902, section 4)."""


class _Flaw(NamedTuple):
    """What is wrong with a member of an operation."""

    member: str
    text: str
    reason: Reason = Reason.PATCH_INVALID


def check_operation(operation: Operation, field: str, index: int) -> None:
    """Refuse an operation that is wrong whatever the document holds.

    Args:
        operation: One of a patch.
        field: The request field that holds the patch, say `public_metadata`.
        index: Where in the patch it stands.

    Raises:
        UsermetaError: PATCH_INVALID for a malformed pointer, a member that is absent, a move into its own child, an
            `increment` by something other than a number; NUMBER_NOT_REPRESENTABLE for an `increment` by a number
            that is not finite or beyond ±(2^53-1). Metadata: `field`, `index`, `path`. A violation for each flaw
            names the member, say `public_metadata[3].path`.
    """
    place, where = f"{field}[{index}]", {"field": field, "index": index, "path": shown(operation.path or "")}
    flawed = [invalid(f"{place}.{flaw.member}", flaw.text, reason=flaw.reason, **where) for flaw in _flaws(operation)]
    if flawed:
        raise together(flawed)


def _flaws(operation: Operation) -> Iterator[_Flaw]:
    """Yield what is wrong with an operation."""
    pointers: dict[str, Tokens] = {}
    for member in NEEDS[operation.op]:
        given = getattr(operation, member)
        if given is (MISSING if member == "value" else None):
            yield _Flaw(member, f"'{operation.op}' needs it")
        elif member != "value":
            try:
                pointers[member] = parse(given)
            except PointerError as error:
                yield _Flaw(member, error.text)
        elif operation.op is Op.INCREMENT:
            yield from _step_flaws(given)
    if operation.op is Op.MOVE and len(pointers) == len(NEEDS[Op.MOVE]) and _is_inside(**pointers):
        yield _Flaw("path", "a value cannot move into itself")


def _is_inside(path: Tokens, from_path: Tokens) -> bool:
    return len(path) > len(from_path) and path[: len(from_path)] == from_path


def _step_flaws(step: Json) -> Iterator[_Flaw]:
    if isinstance(step, bool) or not isinstance(step, int | float):
        yield _Flaw("value", "an increment is a number")
    elif not -MAX_NUMBER <= step <= MAX_NUMBER:
        text = "the number is not finite or lies beyond ±(2^53-1)"
        yield _Flaw("value", text, Reason.NUMBER_NOT_REPRESENTABLE)
