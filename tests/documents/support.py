"""What the tests of patches share: operations by name, and the two ways that a patch can end."""

import copy
from collections.abc import Sequence

import pytest

from usermeta_server.core.documents import Limits, Op, Operation, apply_patch, dump
from usermeta_server.errors import UsermetaError
from usermeta_server.values import Json, JsonObject

LIMITS = Limits()
FIELD = "public_metadata"


def add(path: str, value: Json) -> Operation:
    """Make an `add`."""
    return Operation(Op.ADD, path, value=value)


def remove(path: str) -> Operation:
    """Make a `remove`."""
    return Operation(Op.REMOVE, path)


def put(path: str, value: Json) -> Operation:
    """Make a `replace`."""
    return Operation(Op.REPLACE, path, value=value)


def move(source: str, path: str) -> Operation:
    """Make a `move`."""
    return Operation(Op.MOVE, path, from_path=source)


def duplicate(source: str, path: str) -> Operation:
    """Make a `copy`."""
    return Operation(Op.COPY, path, from_path=source)


def check(path: str, value: Json) -> Operation:
    """Make a `test`."""
    return Operation(Op.TEST, path, value=value)


def increment(path: str, step: Json) -> Operation:
    """Make an `increment`."""
    return Operation(Op.INCREMENT, path, value=step)


def patched(document: JsonObject, *operations: Operation) -> bytes:
    """Return the canonical JSON of a patched document."""
    return dump(apply_patch(document, operations, LIMITS, FIELD))


def refusal(document: JsonObject, operations: Sequence[Operation], limits: Limits = LIMITS) -> UsermetaError:
    """Return the error that a patch raises, having seen that the document is as before."""
    before = copy.deepcopy(document)
    with pytest.raises(UsermetaError) as caught:
        apply_patch(document, operations, limits, FIELD)
    assert document == before
    assert caught.value.metadata["field"] == FIELD
    return caught.value
