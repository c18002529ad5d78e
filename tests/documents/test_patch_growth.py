"""The limits on every step of a patch."""

import sys
from types import FrameType

import pytest

from tests.documents.support import FIELD, LIMITS, add, duplicate, increment, move, patched, put, refusal
from usermeta_server.core.documents import Limits, Operation, apply_patch, dump
from usermeta_server.errors import Reason
from usermeta_server.values import JsonObject


def test_doubling_copies_are_refused_early() -> None:
    """A document that doubles is refused at the first copy past 8 KiB, long before the last."""
    operations = [duplicate("", f"/k{each}") for each in range(100)]
    error = refusal({"text": "x" * 50}, operations)
    assert error.reason is Reason.METADATA_TOO_LARGE
    assert int(error.metadata["index"]) == 6
    assert 8192 < int(error.metadata["size"]) < 2 * 8192 + 100
    assert error.metadata["limit"] == "8192"
    assert error.metadata["path"] == "/k6"
    assert error.violations[0].field == f"{FIELD}[6]"
    assert error.metadata["size"] in error.message


@pytest.mark.parametrize(
    "operation",
    [
        add("/a", "x" * 20),
        put("/n", "x" * 20),
        duplicate("/t", "/u"),
        move("/n", "/" + "k" * 20),
        increment("/" + "k" * 20, 1),
    ],
)
def test_size_is_checked_after_each_growing_operation(operation: Operation) -> None:
    """A document that is too large in between is refused though the end would fit."""
    document: JsonObject = {"n": 1, "t": "y" * 12}
    error = refusal(document, [operation, put("", {})], Limits(max_bytes=30))
    assert error.reason is Reason.METADATA_TOO_LARGE
    assert (error.metadata["index"], error.metadata["path"]) == ("0", operation.path)


def test_size_bound_is_exact() -> None:
    """A step that makes exactly the allowed size passes, and one byte more does not."""
    assert patched({}, add("/a", "é" * 4092)) == b'{"a":"' + "é".encode() * 4092 + b'"}'
    assert refusal({}, [add("/a", "é" * 4092 + "x")]).metadata["size"] == "8193"


@pytest.mark.parametrize(
    "operation",
    [
        add("/a/b/-", {}),
        put("/a/b/0", [1]),
        add("/a/b/0", {"c": 1}),
        duplicate("/o", "/a/b/0"),
        move("/o", "/a/b/-"),
        put("", {"a": {"b": [[]]}}),
    ],
)
def test_depth_is_checked_after_each_operation(operation: Operation) -> None:
    """A document too deep in between is refused though the end would fit."""
    document: JsonObject = {"a": {"b": [1]}, "o": {}}
    error = refusal(document, [operation, put("", {})], Limits(max_depth=3))
    assert error.reason is Reason.METADATA_TOO_DEEP
    assert error.metadata == {"field": FIELD, "index": "0", "path": operation.path, "size": "4", "limit": "3"}
    assert patched(document, operation) != dump(document)


def test_depth_bound_is_exact() -> None:
    """A step that makes exactly the allowed depth passes, and a scalar adds none."""
    limits = Limits(max_depth=3)
    operations = [add("/a", {"b": {}}), add("/a/b/c", 1), add("/d", []), move("/d", "/a/d")]
    assert dump(apply_patch({}, operations, limits, FIELD)) == b'{"a":{"b":{"c":1},"d":[]}}'


def test_values_that_json_cannot_hold() -> None:
    """A lone surrogate or a huge integer in a value is refused at its operation, not a crash."""
    error = refusal({}, [add("/a", {"b": "\ud800"})])
    assert (error.reason, error.metadata["path"]) == (Reason.METADATA_STRING_INVALID, "/a/b")
    assert error.metadata["index"] == "0"
    assert refusal({}, [add("/a", 10**30)]).reason is Reason.NUMBER_NOT_REPRESENTABLE


def test_operations_cost_no_more_on_a_large_document() -> None:
    """They take as many steps as on a small one, and copy nothing that lies off their paths."""
    small, large = (JsonObject({f"k{each}": {"a": each, "c": [1, 2, 3]} for each in range(size)}) for size in (20, 180))
    operations = [put(f"/k{each % 10}/c/1", {"d": each}) for each in range(100)]
    apply_patch(small, operations, LIMITS, FIELD)  # parsed paths are remembered: from here on they are in both counts
    patched_, steps = counted(large, operations)
    assert steps == counted(small, operations)[1]
    assert all(patched_[name] is large[name] for name in list(large)[10:])


def counted(document: JsonObject, operations: list[Operation]) -> tuple[JsonObject, int]:
    """Apply a patch, and count the functions that the server's own code is or calls meanwhile."""
    steps = 0

    def count(frame: FrameType, event: str, _: object) -> None:
        nonlocal steps
        steps += event in {"call", "c_call"} and frame.f_globals["__name__"].startswith("usermeta_server.")

    sys.setprofile(count)
    try:
        after = apply_patch(document, operations, LIMITS, FIELD)
    finally:
        sys.setprofile(None)
    return after, steps
