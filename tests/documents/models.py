"""Plain models of what the document engine does: by mutation, by recursion, by the letter of the RFCs."""

import copy
import json
import math
from collections.abc import Callable
from typing import Any

from usermeta_server.core.documents import MAX_NUMBER, Limits, Op, Operation
from usermeta_server.errors import Reason
from usermeta_server.values import Json, JsonObject


def model_merge(target: Any, patch: Any) -> Any:  # noqa: ANN401  # as untyped as the RFC's pseudo-code
    """Merge as the pseudo-code of RFC 7396, section 2, does, in place."""
    if not isinstance(patch, dict):
        return patch
    if not isinstance(target, dict):
        target = {}
    for name, value in patch.items():
        if value is None:
            if name in target:
                del target[name]
        else:
            target[name] = model_merge(target.get(name), value)
    return target


class ModelError(Exception):
    """The model refuses an operation, for a reason by name."""


def model_step(place: Any, token: str, *, upto: int) -> Any:  # noqa: ANN401
    """Return a token as a key or an index below `upto`, for the container that it is used on."""
    if isinstance(place, dict):
        return token
    if not isinstance(place, list):
        raise ModelError("PATCH_TYPE_MISMATCH")
    if not (token.isdecimal() and str(int(token)) == token and int(token) < len(place) + upto):
        raise ModelError("PATCH_PATH_MISSING")
    return int(token)


def model_get(place: Any, path: str) -> Any:  # noqa: ANN401
    """Read the value at a pointer, unescaping each token by itself."""
    for raw in path.split("/")[1:]:
        step = model_step(place, raw.replace("~1", "/").replace("~0", "~"), upto=0)
        if isinstance(place, dict) and step not in place:
            raise ModelError("PATCH_PATH_MISSING")
        place = place[step]
    return place


def model_change(root: list[Any], path: str, change: Callable[[Any, str], None]) -> None:
    """Change the parent of a place; the document is the one member `root` of an object above it."""
    head, _, last = ("/root" + path).rpartition("/")
    change(model_get({"root": root[0]}, head) if path else root, last.replace("~1", "/").replace("~0", "~"))


def model_add(root: list[Any], path: str, value: Any) -> None:  # noqa: ANN401
    """Insert a value in place."""

    def change(parent: Any, token: str) -> None:  # noqa: ANN401
        if isinstance(parent, list) and parent is not root:
            parent.insert(len(parent) if token == "-" else model_step(parent, token, upto=1), value)
        else:
            parent[0 if parent is root else model_step(parent, token, upto=0)] = value

    if not path and not isinstance(value, dict):
        raise ModelError("PATCH_TYPE_MISMATCH")
    model_change(root, path, change)


def model_remove(root: list[Any], path: str) -> None:
    """Remove a value in place."""
    if not path:
        raise ModelError("PATCH_TYPE_MISMATCH")
    model_get(root[0], path)
    model_change(root, path, lambda parent, token: parent.__delitem__(model_step(parent, token, upto=0)))


def model_replace(root: list[Any], path: str, value: Any) -> None:  # noqa: ANN401
    """Replace a value in place."""

    def change(parent: Any, token: str) -> None:  # noqa: ANN401
        parent[model_step(parent, token, upto=0)] = value

    model_get(root[0], path)
    if path:
        model_change(root, path, change)
    else:
        model_add(root, path, value)


def model_test(root: list[Any], path: str, value: Any) -> None:  # noqa: ANN401
    """Compare by the JSON text, which tells true from 1; no generated number is a whole float."""
    try:
        found = model_get(root[0], path)
    except ModelError:
        raise ModelError("PATCH_TEST_FAILED") from None
    if json.dumps(found, sort_keys=True) != json.dumps(value, sort_keys=True):
        raise ModelError("PATCH_TEST_FAILED")


def model_increment(root: list[Any], path: str, step: Any) -> None:  # noqa: ANN401
    """Add to a number in place, or put it where an object has no such member."""
    head, _, last = path.rpartition("/")
    parent = model_get(root[0], head)
    if path and isinstance(parent, dict) and last.replace("~1", "/").replace("~0", "~") not in parent:
        model_add(root, path, 0)
    found = model_get(root[0], path)
    if type(found) not in (int, float):
        raise ModelError("PATCH_TYPE_MISMATCH")
    total = found + step
    model_replace(root, path, int(total) if total == int(total) else total)


def model_apply(document: JsonObject, operations: list[Operation]) -> Any:  # noqa: ANN401
    """Apply operations in place to a copy; every value taken or given is copied whole."""
    root: list[Any] = [copy.deepcopy(document)]
    for each in operations:
        path, source, value = str(each.path), each.from_path, copy.deepcopy(each.value)
        if each.op in {Op.MOVE, Op.COPY} and source is not None:
            value = copy.deepcopy(model_get(root[0], source))
        if each.op is Op.MOVE and source is not None and source != path:
            model_remove(root, source)
        if each.op in {Op.ADD, Op.COPY} or (each.op is Op.MOVE and source != path):
            model_add(root, path, value)
        elif each.op is Op.REMOVE:
            model_remove(root, path)
        elif each.op in MODEL:
            MODEL[each.op](root, path, value)
    return root[0]


MODEL = {Op.REPLACE: model_replace, Op.TEST: model_test, Op.INCREMENT: model_increment}


def model_depth(value: Json) -> int:
    """Count nested containers, recursively."""
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if children is None else 1 + max(map(model_depth, children), default=0)


def model_flaws(value: Json, limits: Limits) -> set[Reason]:
    """Return every reason but the size for which a value may be refused, recursively."""
    flaws: set[Reason] = set()
    if isinstance(value, str) and "\0" in value:
        flaws.add(Reason.METADATA_STRING_INVALID)
    if isinstance(value, int | float) and not (math.isfinite(value) and abs(value) <= MAX_NUMBER):
        flaws.add(Reason.NUMBER_NOT_REPRESENTABLE)
    for key in value if isinstance(value, dict) else ():
        if not 1 <= len(key.encode()) <= limits.max_key_bytes or "\0" in key:
            flaws.add(Reason.METADATA_KEY_INVALID)
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        flaws |= model_flaws(child, limits)
    return flaws
