"""The document engine against plain models of the RFCs, on generated documents."""

import copy
import json
import math

from hypothesis import given
from hypothesis import strategies as st

from tests.documents.models import ModelError, model_apply, model_depth, model_flaws, model_merge
from usermeta_server.core.documents import (
    MAX_NUMBER,
    Limits,
    Op,
    Operation,
    apply_patch,
    dump,
    equal,
    load,
    merge_patch,
    normal_form,
    seal,
)
from usermeta_server.core.documents.json_pointer import format_pointer, parse
from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.values import MISSING, Json, JsonObject

ROOMY = Limits(max_bytes=1_000_000, max_depth=1_000)
TIGHT = Limits(max_bytes=60, max_depth=3, max_key_bytes=4)

keys = st.sampled_from(["a", "b", "0", "1", "-", "", "~", "/"])
scalars = (
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, -1.5]) | st.sampled_from(["", "x", "é"])
)
values: st.SearchStrategy[Json] = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=8
)
objects: st.SearchStrategy[JsonObject] = st.dictionaries(keys, values, max_size=4)

wild_text = st.text(st.sampled_from("aé\0\U0001f600\\u0"), max_size=4)
wild_numbers = st.sampled_from(
    [0, MAX_NUMBER, -MAX_NUMBER, MAX_NUMBER + 1, 2**70, 2.0, 0.5, -0.0, 1e300, math.nan, -math.inf]
)
wild_values: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | wild_numbers | wild_text,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(wild_text, inner, max_size=2),
    max_leaves=5,
)


@given(objects, objects)
def test_merge_is_the_rfc(target: JsonObject, patch: JsonObject) -> None:
    """Merging gives what the RFC's pseudo-code gives and leaves its arguments alone."""
    before = copy.deepcopy((target, patch))
    expected = model_merge(copy.deepcopy(target), copy.deepcopy(patch))
    assert dump(merge_patch(target, patch)) == dump(expected)
    assert dump([target, patch]) == dump(list(before))


@given(objects, objects)
def test_merging_twice_is_merging_once(target: JsonObject, patch: JsonObject) -> None:
    """A merge that is repeated changes nothing more."""
    once = merge_patch(target, patch)
    assert equal(merge_patch(once, patch), once)


def pointers(value: Json, above: str = "") -> list[str]:
    """Return the pointers of everything in a value."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    below = [(above + format_pointer([str(name)]), member) for name, member in members]
    return [above, *(found for path, member in below for found in pointers(member, path))]


@st.composite
def patches(draw: st.DrawFn) -> tuple[JsonObject, list[Operation]]:
    """Draw a document and operations that mostly point into it."""
    document = draw(objects)
    known = st.sampled_from(pointers(document))
    near = st.builds(lambda path, key: path + format_pointer([key]), known, keys)
    paths = known | near | st.lists(keys, max_size=3).map(format_pointer)
    operations = []
    for op in draw(st.lists(st.sampled_from(Op), min_size=1, max_size=5)):
        path, source = draw(paths), draw(paths) if op in {Op.MOVE, Op.COPY} else None
        if op is Op.MOVE and source is not None and (path + "/").startswith(source + "/") and path != source:
            op = Op.COPY  # noqa: PLW2901  # a move into itself is refused for its shape; elsewhere tested
        steps = st.integers(-3, 3) | st.sampled_from([0.5, -1.5])
        value = MISSING if op in {Op.REMOVE, Op.MOVE, Op.COPY} else draw(steps if op is Op.INCREMENT else values)
        operations.append(Operation(op, path, source, value))
    return document, operations


@given(patches())
def test_patch_is_the_model(patch: tuple[JsonObject, list[Operation]]) -> None:
    """A patch gives the model's document or the model's refusal, and changes nothing that it was given."""
    document, operations = patch
    before = dump([document, *(None if each.value is MISSING else each.value for each in operations)])
    try:
        expected: bytes | str = dump(model_apply(document, operations))
    except ModelError as error:
        expected = str(error)
    try:
        found: bytes | str = dump(apply_patch(document, operations, ROOMY, "f"))
    except UsermetaError as error:
        found = error.reason.name
    assert found == expected
    assert dump([document, *(None if each.value is MISSING else each.value for each in operations)]) == before


@given(patches())
def test_a_patch_never_leaves_the_limits(patch: tuple[JsonObject, list[Operation]]) -> None:
    """From a document within size and depth, a patch gives another one, or refuses."""
    document, operations = patch
    if model_depth(document) > TIGHT.max_depth or len(dump(document)) > TIGHT.max_bytes:
        document = {}
    try:
        result = apply_patch(document, operations, TIGHT, "f")
    except UsermetaError:
        return
    assert model_depth(result) <= TIGHT.max_depth
    assert len(dump(result)) <= TIGHT.max_bytes


@given(st.dictionaries(wild_text, wild_values, max_size=3))
def test_seal_refuses_exactly_what_the_model_does(document: JsonObject) -> None:
    """A document is refused for a flaw that it has, and accepted only without any, as its canonical JSON."""
    flaws = model_flaws(document, TIGHT)
    if model_depth(document) > TIGHT.max_depth:
        flaws.add(Reason.METADATA_TOO_DEEP)
    text = json.dumps(normal_form(document), ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    if not flaws and len(text.encode()) > TIGHT.max_bytes:
        flaws.add(Reason.METADATA_TOO_LARGE)
    try:
        found: bytes | Reason = seal(document, "f", TIGHT)
    except UsermetaError as error:
        found = error.reason
    if isinstance(found, Reason):
        assert found in flaws
    else:
        assert (flaws, found) == (set(), text.encode())
        assert equal(load(found), document)


@given(values, values)
def test_equality_is_equality_of_text(a: Json, b: Json) -> None:
    """Two values in normal form are equal exactly when their canonical bytes are."""
    assert equal(a, b) is (dump(a) == dump(b))
    assert equal(a, copy.deepcopy(a))


@given(st.lists(st.text()))
def test_pointers_survive_the_way_there_and_back(tokens: list[str]) -> None:
    """Any tokens, written as a pointer and read again, are the same."""
    assert list(parse(format_pointer(tokens))) == tokens
