"""The limits on every step of a patch."""

import time

import pytest

from tests.documents.support import FIELD, LIMITS, add, duplicate, increment, move, patched, put, refusal
from usermeta_server.core.documents import JsonObject, Limits, Operation, apply_patch, dump
from usermeta_server.errors import Reason


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


def test_a_hundred_operations_are_cheap() -> None:
    """100 operations on a full document take milliseconds: far less than copying it for each would."""
    document: JsonObject = {f"k{each}": {"a": each, "b": "value", "c": [1, 2, 3]} for each in range(180)}
    operations = [put(f"/k{each}/c/1", {"d": each}) for each in range(100)]
    started = time.process_time()
    apply_patch(document, operations, LIMITS, FIELD)
    assert time.process_time() - started < 0.05
