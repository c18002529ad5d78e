"""Patching documents: RFC 6902, and increment."""

import pytest

from tests.documents.support import FIELD, add, check, duplicate, increment, move, patched, put, refusal, remove
from usermeta_server.core.documents import MAX_NUMBER, Op, Operation, dump
from usermeta_server.errors import Reason
from usermeta_server.values import JsonObject

# RFC 6902, appendix A: those that succeed. A.11 is left out: operations have no unknown members.
APPENDIX_A: dict[str, tuple[JsonObject, list[Operation], JsonObject]] = {
    "A.1 add a member": ({"foo": "bar"}, [add("/baz", "qux")], {"baz": "qux", "foo": "bar"}),
    "A.2 add an item": ({"foo": ["bar", "baz"]}, [add("/foo/1", "qux")], {"foo": ["bar", "qux", "baz"]}),
    "A.3 remove a member": ({"baz": "qux", "foo": "bar"}, [remove("/baz")], {"foo": "bar"}),
    "A.4 remove an item": ({"foo": ["bar", "qux", "baz"]}, [remove("/foo/1")], {"foo": ["bar", "baz"]}),
    "A.5 replace": ({"baz": "qux", "foo": "bar"}, [put("/baz", "boo")], {"baz": "boo", "foo": "bar"}),
    "A.6 move a member": (
        {"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}},
        [move("/foo/waldo", "/qux/thud")],
        {"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}},
    ),
    "A.7 move an item": (
        {"foo": ["all", "grass", "cows", "eat"]},
        [move("/foo/1", "/foo/3")],
        {"foo": ["all", "cows", "eat", "grass"]},
    ),
    "A.8 test": (
        {"baz": "qux", "foo": ["a", 2, "c"]},
        [check("/baz", "qux"), check("/foo/1", 2)],
        {"baz": "qux", "foo": ["a", 2, "c"]},
    ),
    "A.10 add a nested object": (
        {"foo": "bar"},
        [add("/child", {"grandchild": {}})],
        {"foo": "bar", "child": {"grandchild": {}}},
    ),
    "A.14 escapes": ({"/": 9, "~1": 10}, [check("/~01", 10)], {"/": 9, "~1": 10}),
    "A.16 add a list": ({"foo": ["bar"]}, [add("/foo/-", ["abc", "def"])], {"foo": ["bar", ["abc", "def"]]}),
}


@pytest.mark.parametrize("name", APPENDIX_A)
def test_appendix_a(name: str) -> None:
    """The RFC's examples give the RFC's documents."""
    document, operations, result = APPENDIX_A[name]
    assert patched(document, *operations) == dump(result)


def test_appendix_a_test_error() -> None:
    """A.9 and A.15: a test of another value, and of a string against a number, fails the patch."""
    assert refusal({"baz": "qux"}, [check("/baz", "bar")]).reason is Reason.PATCH_TEST_FAILED
    assert refusal({"/": 9, "~1": 10}, [check("/~01", "10")]).reason is Reason.PATCH_TEST_FAILED


def test_appendix_a_nonexistent_target() -> None:
    """A.12: adding below a parent that is not there is refused."""
    assert refusal({"foo": "bar"}, [add("/baz/bat", "qux")]).reason is Reason.PATCH_PATH_MISSING


def test_appendix_a_two_ops_at_once() -> None:
    """A.13 has two ops in one object, which a message cannot; a member that its op does not need is ignored."""
    mixed = Operation(Op.REMOVE, "/foo", from_path="no pointer", value="qux")
    assert patched({"foo": "bar"}, mixed) == b"{}"


SUCCEEDING: list[tuple[JsonObject, list[Operation], JsonObject]] = [
    ({"a": 1}, [add("/a", None)], {"a": None}),
    ({"a": [1]}, [add("/a/0", 0), add("/a/2", 2), add("/a/-", 3)], {"a": [0, 1, 2, 3]}),
    ({"a": {"b": [{"c": 1}]}}, [put("/a/b/0/c", 2)], {"a": {"b": [{"c": 2}]}}),
    ({"a": 1}, [add("", {"b": 2})], {"b": 2}),
    ({"a": 1}, [put("", {})], {}),
    ({"a": {"b": 1}}, [move("/a", "")], {"b": 1}),
    ({"a": {"b": 1}, "c": 2}, [duplicate("/a", "")], {"b": 1}),
    ({"a": 1}, [duplicate("", "/b")], {"a": 1, "b": {"a": 1}}),
    ({"a": 1}, [move("/a", "/a"), move("", "")], {"a": 1}),
    ({"a": 1, "ab": {}}, [move("/a", "/ab/c")], {"ab": {"c": 1}}),
    ({"a": {"b": 1}}, [move("/a/b", "/a")], {"a": 1}),
    ({"": {"": 1}}, [put("//", 2)], {"": {"": 2}}),
    ({"0": "member"}, [put("/0", 1), add("/01", 2), add("/-", 3)], {"0": 1, "01": 2, "-": 3}),
    (
        {"a": 1.0, "b": [True]},
        [check("/a", 1), check("/b", [True]), check("", {"b": [True], "a": 1})],
        {"a": 1.0, "b": [True]},
    ),
    ({"a": None}, [check("/a", None), remove("/a")], {}),
]


@pytest.mark.parametrize(("document", "operations", "result"), SUCCEEDING)
def test_operations_beyond_the_examples(document: JsonObject, operations: list[Operation], result: JsonObject) -> None:
    """Appending, nulls, the root as source and target, and members that look like indexes work as the RFC says."""
    assert patched(document, *operations) == dump(result)


DOCUMENT: JsonObject = {"text": "x", "null": None, "flag": True, "n": 1, "list": [1, 2], "obj": {"k": "v"}}
MISSING_PATHS = [
    remove("/gone"),
    remove("/list/2"),
    remove("/list/-"),
    remove("/list/x"),
    put("/gone", 1),
    put("/list/2", 1),
    put("/list/-", 1),
    put("/list/01", 1),
    add("/gone/x", 1),
    add("/list/3", 1),
    add("/list/01", 1),
    add("/list/-1", 1),
    add("/list/x", 1),
    add("/list/", 1),
    add("/list/-/x", 1),
    move("/obj", "/gone/x"),
    duplicate("/obj", "/list/9"),
    increment("/gone/x", 1),
    increment("/list/2", 1),
    increment("/list/-", 1),
]


@pytest.mark.parametrize("operation", MISSING_PATHS)
def test_missing_paths(operation: Operation) -> None:
    """What is not there, and a token that is no index of a list, is a missing path, named in the metadata."""
    error = refusal(DOCUMENT, [check("/n", 1), operation])
    assert error.reason is Reason.PATCH_PATH_MISSING
    assert error.metadata == {"field": FIELD, "index": "1", "path": operation.path}
    assert error.violations == ()


@pytest.mark.parametrize("operation", [move("/gone", "/new"), duplicate("/gone", "/new"), duplicate("/gone", "")])
def test_missing_source(operation: Operation) -> None:
    """A source that is not there is the path that the error names."""
    error = refusal(DOCUMENT, [operation])
    assert error.reason is Reason.PATCH_PATH_MISSING
    assert error.metadata["path"] == "/gone"


TYPE_MISMATCHES = [
    add("", 1),
    add("", []),
    add("", None),
    put("", "x"),
    move("/list", ""),
    duplicate("/n", ""),
    remove(""),
    add("/text/x", 1),
    add("/null/x", 1),
    add("/n/0", 1),
    put("/flag/x", 1),
    remove("/text/0"),
    increment("/text/x", 1),
    increment("/text", 1),
    increment("/null", 1),
    increment("/flag", 1),
    increment("/list", 1),
    increment("/obj", 1),
    increment("/obj/k", 1),
    increment("", 1),
]


@pytest.mark.parametrize("operation", TYPE_MISMATCHES)
def test_type_mismatches(operation: Operation) -> None:
    """A root that would be no object, a step into a scalar and an increment of no number are mismatches."""
    error = refusal(DOCUMENT, [operation])
    assert error.reason is Reason.PATCH_TYPE_MISMATCH
    assert error.metadata == {"field": FIELD, "index": "0", "path": operation.path}


@pytest.mark.parametrize(
    "operation",
    [
        check("/gone", None),
        check("/gone/x", 1),
        check("/list/2", 1),
        check("/list/-", 1),
        check("/list/01", 2),
        check("/text/x", 1),
        check("/flag", 1),
        check("/n", value=True),
        check("/n", "1"),
        check("/null", value=False),
        check("/list", [2, 1]),
        check("", {}),
    ],
)
def test_failing_tests(operation: Operation) -> None:
    """A test fails on any other value, by JSON type, and on a path that leads nowhere."""
    error = refusal(DOCUMENT, [add("/new", 1), operation])
    assert error.reason is Reason.PATCH_TEST_FAILED
    assert error.metadata == {"field": FIELD, "index": "1", "path": operation.path}


@pytest.mark.parametrize(
    ("document", "step", "result"),
    [
        ({"n": 1}, 2, b'{"n":3}'),
        ({"n": 1}, -3, b'{"n":-2}'),
        ({}, 5, b'{"n":5}'),
        ({"n": 1}, 0.5, b'{"n":1.5}'),
        ({"n": 1.5}, 0.5, b'{"n":2}'),
        ({"n": 0.5}, -0.5, b'{"n":0}'),
        ({"n": 1}, 1.0, b'{"n":2}'),
        ({"n": MAX_NUMBER - 1}, 1, b'{"n":9007199254740991}'),
        ({"n": -MAX_NUMBER}, MAX_NUMBER, b'{"n":0}'),
    ],
)
def test_increment(document: JsonObject, step: float, result: bytes) -> None:
    """A missing member starts at 0, integers stay integers, and whole sums of fractions become integers."""
    assert patched(document, increment("/n", step)) == result


def test_increment_of_an_item() -> None:
    """An item of a list can be incremented where it exists."""
    assert patched({"l": [1, {"n": 2}]}, increment("/l/0", 1), increment("/l/1/n", 1)) == b'{"l":[2,{"n":3}]}'


@pytest.mark.parametrize(("number", "step"), [(MAX_NUMBER, 1), (-MAX_NUMBER, -1), (MAX_NUMBER, 0.5), (1, MAX_NUMBER)])
def test_increment_past_the_range(number: int, step: float) -> None:
    """A sum past 2^53-1 is refused as a bad argument that names the operation."""
    error = refusal({"a": {"n": number}}, [increment("/a/n", step)])
    assert error.reason is Reason.NUMBER_NOT_REPRESENTABLE
    assert error.metadata == {"field": FIELD, "index": "0", "path": "/a/n"}
    assert [each.field for each in error.violations] == [f"{FIELD}[0]"]


def test_all_or_nothing() -> None:
    """Operations before a failing one leave no trace in the document or in the values given."""
    value: JsonObject = {"inner": [1]}
    operations = [add("/v", value), add("/v/inner/-", 2), remove("/obj/k"), remove("/gone")]
    assert refusal(DOCUMENT, operations).metadata["index"] == "3"
    assert value == {"inner": [1]}


def test_copies_are_independent() -> None:
    """A change to a copy does not reach its original, nor the value that a patch brought."""
    value: JsonObject = {"n": 1}
    operations = [add("/a", value), duplicate("/a", "/b"), increment("/b/n", 1), remove("/a/n")]
    assert patched({}, *operations) == b'{"a":{},"b":{"n":2}}'
    assert value == {"n": 1}
