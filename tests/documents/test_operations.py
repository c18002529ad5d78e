"""What is refused of a patch before any document is read."""

import pytest

from tests.documents.support import FIELD, add, check, duplicate, increment, move, put, refusal, remove
from usermeta_server.core.documents import MAX_OPERATIONS, Op, Operation, Patch
from usermeta_server.errors import Reason, UsermetaError

MALFORMED: list[tuple[Operation, str]] = [
    (add("a", 1), "path"),
    (remove("/~"), "path"),
    (check("/~2", 1), "path"),
    (move("b", "/a"), "from_path"),
    (duplicate("/~x", "/a"), "from_path"),
    (Operation(Op.MOVE, "/a"), "from_path"),
    (Operation(Op.COPY, "/a"), "from_path"),
    (Operation(Op.ADD, "/a"), "value"),
    (Operation(Op.REPLACE, "/a"), "value"),
    (Operation(Op.TEST, "/a"), "value"),
    (Operation(Op.INCREMENT, "/a"), "value"),
    *((Operation(op, None, from_path="/b", value=1), "path") for op in Op),
    (move("/a", "/a/b"), "path"),
    (move("/a/b", "/a/b/c/d"), "path"),
    (move("", "/a"), "path"),
    (increment("/a", step=True), "value"),
    (increment("/a", None), "value"),
    (increment("/a", "1"), "value"),
    (increment("/a", [1]), "value"),
]


@pytest.mark.parametrize(("operation", "part"), MALFORMED)
def test_malformed_operations(operation: Operation, part: str) -> None:
    """What is wrong whatever the document holds is refused without it, and names the member of the request."""
    fine = check("/not/there", 1)
    with pytest.raises(UsermetaError) as caught:
        Patch.of([fine, fine, operation], FIELD)
    error = caught.value
    assert error.reason is Reason.PATCH_INVALID
    assert error.metadata == {"field": FIELD, "index": "2", "path": operation.path or ""}
    assert [each.field for each in error.violations] == [f"{FIELD}[2].{part}"]
    assert refusal({}, [fine, fine, operation]).reason is Reason.PATCH_INVALID


@pytest.mark.parametrize(
    "operation",
    [
        Operation(Op.REMOVE, "/a", from_path="no pointer", value=None),
        Operation(Op.MOVE, "/a", from_path="/b", value=1),
        Operation(Op.COPY, "/a", from_path="/b", value=None),
        Operation(Op.ADD, "/a", from_path="/b", value=1),
        Operation(Op.INCREMENT, "/a", from_path="/b", value=1),
    ],
)
def test_members_that_an_operation_does_not_need_are_ignored(operation: Operation) -> None:
    """RFC 6902, section 4: the operation is done as if the member did not appear."""
    Patch.of([operation], FIELD)


def test_every_flaw_of_every_operation_is_named() -> None:
    """One refusal names all members that are wrong; its reason and metadata are the first one's."""
    flawed = [Operation(Op.MOVE, None), add("/a", 1), Operation(Op.ADD, "a"), increment("/n", 2**53)]
    with pytest.raises(UsermetaError) as caught:
        Patch.of(flawed, FIELD)
    assert (caught.value.reason, caught.value.metadata["index"]) == (Reason.PATCH_INVALID, "0")
    assert [(each.field.removeprefix(FIELD), each.reason) for each in caught.value.violations] == [
        ("[0].path", Reason.PATCH_INVALID),
        ("[0].from_path", Reason.PATCH_INVALID),
        ("[2].path", Reason.PATCH_INVALID),
        ("[2].value", Reason.PATCH_INVALID),
        ("[3].value", Reason.NUMBER_NOT_REPRESENTABLE),
    ]


def test_every_op_has_a_shape_that_passes() -> None:
    """The well-formed operation of each kind passes the check without a document."""
    operations = [add("/a", 1), remove("/a"), put("/a", None), move("/a", "/ab"), duplicate("/a", "/a/b")]
    operations += [check("", {}), increment("/a", -0.5)]
    assert {each.op for each in operations} == set(Op)
    Patch.of(operations, FIELD)
    assert MAX_OPERATIONS == 100


@pytest.mark.parametrize("step", [float("nan"), float("inf"), 2**53, -1e300])
def test_increment_by_a_number_that_cannot_be_kept(step: float) -> None:
    """A step that is not finite or past 2^53-1 is refused before a document is read."""
    with pytest.raises(UsermetaError) as caught:
        Patch.of([increment("/n", step)], FIELD)
    assert caught.value.reason is Reason.NUMBER_NOT_REPRESENTABLE
    assert caught.value.violations[0].field == f"{FIELD}[0].value"
