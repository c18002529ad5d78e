"""Merging documents: RFC 7396, between objects."""

import copy

import pytest

from usermeta_server.core.documents import dump, merge_patch
from usermeta_server.values import Json, JsonObject

# RFC 7396, appendix A: the rows whose target and patch are both objects.
APPENDIX_A: list[tuple[JsonObject, JsonObject, JsonObject]] = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]

# The other rows, whose target or patch is no object, below a member: target, patch, result.
# A patch of null means something else there: it removes the member.
APPENDIX_A_NESTED: list[tuple[Json, Json, Json]] = [
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, "bar", "bar"),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
]


@pytest.mark.parametrize(("target", "patch", "result"), APPENDIX_A)
def test_appendix_a(target: JsonObject, patch: JsonObject, result: JsonObject) -> None:
    """Every object row of the RFC's table gives the RFC's result."""
    assert dump(merge_patch(target, patch)) == dump(result)


@pytest.mark.parametrize(("target", "patch", "result"), APPENDIX_A_NESTED)
def test_appendix_a_below_a_member(target: Json, patch: Json, result: Json) -> None:
    """The rows of the table for other values hold for the value of a member."""
    assert dump(merge_patch({"m": target}, {"m": patch})) == dump({"m": result})


def test_appendix_a_null_below_a_member() -> None:
    """The row whose patch is null removes the member that it is put in."""
    assert merge_patch({"m": {"a": "foo"}, "n": 1}, {"m": None}) == {"n": 1}


def test_null_of_an_unknown_key_changes_nothing() -> None:
    """Removing a key that is not there succeeds."""
    assert merge_patch({"a": 1}, {"b": None}) == {"a": 1}


def test_null_inside_a_list_stays() -> None:
    """Lists are taken as they are, nulls in objects within them too."""
    assert merge_patch({}, {"a": [None, {"b": None}]}) == {"a": [None, {"b": None}]}


def test_true_replaces_one() -> None:
    """A boolean replaces the number that Python takes for its equal."""
    assert dump(merge_patch({"a": 1}, {"a": True})) == b'{"a":true}'


def test_arguments_stay_as_they_were() -> None:
    """Neither the target nor the patch is changed at any depth."""
    target: JsonObject = {"a": {"b": {"c": 1}, "d": [1]}, "e": 2}
    patch: JsonObject = {"a": {"b": {"c": None, "f": 3}}, "g": {"h": None}}
    before = copy.deepcopy((target, patch))
    merge_patch(target, patch)
    assert (target, patch) == before


def test_untouched_members_are_shared() -> None:
    """What the patch does not reach is the same object afterwards: a merge copies only its way."""
    target: JsonObject = {"large": {"x": [1, 2, 3]}, "small": {"y": 1}}
    merged = merge_patch(target, {"small": {"y": 2}})
    assert merged["large"] is target["large"]
    assert merged["small"] is not target["small"]
