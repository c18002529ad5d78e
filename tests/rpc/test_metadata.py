"""The three verbs over the wire: merge, replace, patch; the engine beneath has tests of its own."""

from collections.abc import Mapping
from typing import Any, Final

import grpc
import pytest

from tests.rpc.methods import Subject
from tests.rpc.requests import merge, operations, patch, replace
from tests.support import Service, document, refused, request_id, struct
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1.user_pb2 import User
from usermeta.frontend.v1 import frontend_service_pb2 as frontend_pb
from usermeta_server.core.documents import equal

MERGES: Final[list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]]] = [
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
    ({"a": {"b": {"c": {"d": 1, "e": 2}}}}, {"a": {"b": {"c": {"d": None}}}}, {"a": {"b": {"c": {"e": 2}}}}),
    ({"a": 1}, {"a": True}, {"a": True}),
    ({"a": True}, {"a": 1}, {"a": 1}),
    ({"a": 0}, {"a": False}, {"a": False}),
    ({"a": 1}, {}, {"a": 1}),
]


@pytest.mark.parametrize(("before", "change", "after"), MERGES)
async def test_a_merge_is_rfc_7396s_for_backends_and_frontends(
    service: Service, before: dict[str, Any], change: dict[str, Any], after: dict[str, Any]
) -> None:
    user = await service.user(unsafe_metadata=before, private_metadata=before)
    reply = await service.admin.MergeUserMetadata(merge(user.id, private_metadata=change))
    frontend = service.frontend(await service.session(user.id))
    seen = await frontend.MergeUserMetadata(frontend_pb.MergeUserMetadataRequest(unsafe_metadata=struct(change)))
    assert equal(document(reply.user.private_metadata), after)
    assert equal(document(seen.user.unsafe_metadata), after)


@pytest.mark.parametrize("name", ["public_metadata", "private_metadata", "unsafe_metadata"])
async def test_a_merge_touches_only_the_documents_in_the_request(service: Service, subject: Subject, name: str) -> None:
    before = await service.get(subject.user_id)
    reply = await service.admin.MergeUserMetadata(merge(subject.user_id, **{name: {"new": 1}}))
    for other in {"public_metadata", "private_metadata", "unsafe_metadata"} - {name}:
        assert getattr(reply.user, other) == getattr(before, other)
    assert document(getattr(reply.user, name))["new"] == 1
    assert await service.get(subject.user_id) == reply.user


async def test_one_merge_may_write_all_three(service: Service, subject: Subject) -> None:
    request = merge(subject.user_id, public_metadata={"p": 1}, private_metadata={"q": 2}, unsafe_metadata={"u": 3})
    user = (await service.admin.MergeUserMetadata(request)).user
    assert document(user.public_metadata)["p"] == 1
    assert document(user.private_metadata)["q"] == 2
    assert document(user.unsafe_metadata)["u"] == 3


REPLACEMENTS: Final[list[dict[str, Any]]] = [{}, {"a": None}, {"a": {"b": [None, {}, []]}}, {"plan": "pro"}]


@pytest.mark.parametrize("new", REPLACEMENTS)
async def test_a_replacement_is_whole_and_keeps_nulls(service: Service, subject: Subject, new: dict[str, Any]) -> None:
    reply = await service.admin.ReplaceUserMetadata(replace(subject.user_id, public_metadata=new))
    assert document(reply.user.public_metadata) == new
    assert document(reply.user.private_metadata)
    frontend = service.frontend(subject.session)
    seen = await frontend.ReplaceUserMetadata(frontend_pb.ReplaceUserMetadataRequest(unsafe_metadata=struct(new)))
    assert document(seen.user.unsafe_metadata) == new


async def test_documents_given_to_create_are_taken_whole(service: Service) -> None:
    user = await service.user(private_metadata={"a": None, "b": {"c": None}})
    assert document(user.private_metadata) == {"a": None, "b": {"c": None}}


VERBS: Final = ("MergeUserMetadata", "ReplaceUserMetadata", "PatchUserMetadata")


@pytest.mark.parametrize("name", VERBS[:2])
async def test_a_write_without_a_document_is_refused(service: Service, subject: Subject, name: str) -> None:
    """Absent and empty differ: a write that names no document is a mistake."""
    request = getattr(pb, f"{name}Request")(user_id=subject.user_id)
    assert (await refused(getattr(service.admin, name)(request), "FIELD_INVALID")).fields == ("metadata",)
    frontend = service.frontend(subject.session)
    await refused(getattr(frontend, name)(getattr(frontend_pb, f"{name}Request")()), "FIELD_INVALID")


async def test_an_empty_patch_changes_nothing(service: Service, subject: Subject) -> None:
    before = await service.get(subject.user_id)
    changes = await service.admin.ListUserChanges(pb.ListUserChangesRequest(user_id=subject.user_id))
    empty = patch(subject.user_id)
    empty.request_id = request_id()
    for _ in range(2):
        assert (await service.admin.PatchUserMetadata(empty)).user == before
    reply = await service.frontend(subject.session).PatchUserMetadata(frontend_pb.PatchUserMetadataRequest())
    assert reply.user.metadata_etags.unsafe_metadata == before.metadata_etags.unsafe_metadata
    assert await service.get(subject.user_id) == before
    assert await service.admin.ListUserChanges(pb.ListUserChangesRequest(user_id=subject.user_id)) == changes


async def test_an_empty_patch_is_checked_as_any_other(service: Service, subject: Subject) -> None:
    await refused(service.admin.PatchUserMetadata(patch("")), "FIELD_INVALID")
    await refused(service.admin.PatchUserMetadata(patch("user_nobody")), "USER_NOT_FOUND")
    stale = patch(subject.user_id)
    stale.expected_etags.private_metadata = "stale"
    await refused(service.admin.PatchUserMetadata(stale), "ETAG_MISMATCH")
    await service.admin.UpdateUser(pb.UpdateUserRequest(user=User(id=subject.user_id, banned=True)))
    banned = service.frontend(subject.session).PatchUserMetadata(frontend_pb.PatchUserMetadataRequest())
    await refused(banned, "USER_BANNED")


@pytest.mark.parametrize("name", VERBS)
async def test_a_write_names_its_user(service: Service, subject: Subject, name: str) -> None:
    makers = {"MergeUserMetadata": merge, "ReplaceUserMetadata": replace}
    steps = [{"op": "add", "path": "/a", "value": 1}]
    for user_id, reason in (("", "FIELD_INVALID"), ("user_nobody", "USER_NOT_FOUND")):
        request: object = (
            makers[name](user_id, public_metadata={"a": 1}) if name in makers else patch(user_id, public_metadata=steps)
        )
        await refused(getattr(service.admin, name)(request), reason)
    assert subject.user_id


PATCHES: Final[list[tuple[dict[str, Any], list[Mapping[str, Any]], dict[str, Any]]]] = [
    ({}, [{"op": "add", "path": "/a", "value": 1}], {"a": 1}),
    ({"a": [1, 3]}, [{"op": "add", "path": "/a/1", "value": 2}], {"a": [1, 2, 3]}),
    ({"a": [1]}, [{"op": "add", "path": "/a/-", "value": None}], {"a": [1, None]}),
    ({"a": 1, "b": 2}, [{"op": "remove", "path": "/a"}], {"b": 2}),
    ({"a": 1}, [{"op": "replace", "path": "/a", "value": {"b": []}}], {"a": {"b": []}}),
    ({"a": 1}, [{"op": "replace", "path": "", "value": {"b": 2}}], {"b": 2}),
    ({"a": 1}, [{"op": "move", "from": "/a", "path": "/b"}], {"b": 1}),
    ({"a": [1]}, [{"op": "copy", "from": "/a", "path": "/b"}], {"a": [1], "b": [1]}),
    ({"a": 1}, [{"op": "test", "path": "/a", "value": 1.0}, {"op": "remove", "path": "/a"}], {}),
    ({"a": 1}, [{"op": "increment", "path": "/a", "value": 2}], {"a": 3}),
    ({"a": 1}, [{"op": "increment", "path": "/a", "value": -1.5}], {"a": -0.5}),
    ({}, [{"op": "increment", "path": "/n", "value": 5}], {"n": 5}),
    ({"a/b": {"m~n": 1}}, [{"op": "replace", "path": "/a~1b/m~0n", "value": 2}], {"a/b": {"m~n": 2}}),
    ({'"': 0, " ": 1, "é": 2}, [{"op": "remove", "path": "/ "}, {"op": "remove", "path": '/"'}], {"é": 2}),
]


@pytest.mark.parametrize(("before", "steps", "after"), PATCHES)
async def test_a_patch_is_rfc_6902s_for_backends_and_frontends(
    service: Service, before: dict[str, Any], steps: list[Mapping[str, Any]], after: dict[str, Any]
) -> None:
    user = await service.user(unsafe_metadata=before, private_metadata=before)
    reply = await service.admin.PatchUserMetadata(patch(user.id, private_metadata=steps))
    assert document(reply.user.private_metadata) == after
    frontend = service.frontend(await service.session(user.id))
    seen = await frontend.PatchUserMetadata(frontend_pb.PatchUserMetadataRequest(unsafe_metadata=operations(*steps)))
    assert document(seen.user.unsafe_metadata) == after


FAILING: Final[list[tuple[str, list[Mapping[str, Any]], str]]] = [
    ("PATCH_TEST_FAILED", [{"op": "test", "path": "/plan", "value": "free"}], "0"),
    ("PATCH_TEST_FAILED", [{"op": "test", "path": "/missing", "value": None}], "0"),
    ("PATCH_PATH_MISSING", [{"op": "remove", "path": "/missing"}], "0"),
    ("PATCH_PATH_MISSING", [{"op": "add", "path": "/missing/a", "value": 1}], "0"),
    ("PATCH_TYPE_MISMATCH", [{"op": "increment", "path": "/plan", "value": 1}], "0"),
    ("PATCH_TYPE_MISMATCH", [{"op": "replace", "path": "", "value": []}], "0"),
    ("PATCH_TEST_FAILED", [{"op": "add", "path": "/a", "value": 1}, {"op": "test", "path": "/a", "value": True}], "1"),
]


@pytest.mark.parametrize(("reason", "steps", "index"), FAILING)
async def test_a_failing_operation_writes_nothing_and_is_named(
    service: Service, subject: Subject, reason: str, steps: list[Mapping[str, Any]], index: str
) -> None:
    before = await service.get(subject.user_id)
    fine: list[Mapping[str, Any]] = [{"op": "add", "path": "/fine", "value": 1}]
    request = patch(subject.user_id, private_metadata=fine, public_metadata=steps, unsafe_metadata=fine)
    refusal = await refused(service.admin.PatchUserMetadata(request), reason)
    assert refusal.code is grpc.StatusCode.FAILED_PRECONDITION
    assert refusal.metadata["index"] == index
    assert refusal.metadata["field"].startswith("public_metadata")
    assert "path" in refusal.metadata
    assert await service.get(subject.user_id) == before


MALFORMED: Final[list[Mapping[str, Any]]] = [
    {"op": "unspecified", "path": "/a"},
    {"op": "add", "path": "/a"},
    {"op": "move", "path": "/a"},
    {"op": "copy", "path": "/a"},
    {"op": "move", "from": "/a"},
    {"op": "add", "value": {}},
    {"op": "remove"},
    {"op": "replace", "value": {}},
    {"op": "test", "value": {}},
    {"op": "increment", "value": 1},
    {"op": "add", "path": "a", "value": 1},
    {"op": "add", "path": "/a~2", "value": 1},
    {"op": "move", "from": "/a", "path": "/a/b"},
    {"op": "increment", "path": "/a", "value": "1"},
]


@pytest.mark.parametrize("step", MALFORMED, ids=str)
async def test_an_operation_that_is_not_well_formed_is_named(
    service: Service, subject: Subject, step: Mapping[str, Any]
) -> None:
    fine = {"op": "add", "path": "/fine", "value": 1}
    refusal = await refused(
        service.admin.PatchUserMetadata(patch(subject.user_id, public_metadata=[fine, step])), "PATCH_INVALID"
    )
    assert refusal.metadata["field"].startswith("public_metadata")
    assert "[1]" in refusal.fields[0] or refusal.metadata.get("index") == "1"


async def test_a_patch_without_a_path_leaves_the_document_as_it_is(service: Service, subject: Subject) -> None:
    """An absent path is not the root, whose path is empty; both are seen on the wire."""
    steps = operations({"op": "replace", "value": {"all": "new"}})
    request = pb.PatchUserMetadataRequest(user_id=subject.user_id, public_metadata=steps)
    before = await service.get(subject.user_id)
    refusal = await refused(service.admin.PatchUserMetadata(request), "PATCH_INVALID")
    assert refusal.fields == ("public_metadata[0].path",)
    assert await service.get(subject.user_id) == before
    own = frontend_pb.PatchUserMetadataRequest(unsafe_metadata=steps)
    await refused(service.frontend(subject.session).PatchUserMetadata(own), "PATCH_INVALID")
    request.public_metadata[0].path = ""
    user = (await service.admin.PatchUserMetadata(request)).user
    assert document(user.public_metadata) == {"all": "new"}


async def test_a_member_that_an_operation_does_not_need_is_ignored(service: Service, subject: Subject) -> None:
    steps = [
        {"op": "add", "path": "/a", "from": "no pointer", "value": 1},
        {"op": "remove", "path": "/plan", "value": 1},
    ]
    user = (await service.admin.PatchUserMetadata(patch(subject.user_id, public_metadata=steps))).user
    assert document(user.public_metadata) == {"a": 1}


async def test_a_patch_has_at_most_100_operations_over_all_documents(service: Service, subject: Subject) -> None:
    step = {"op": "increment", "path": "/n", "value": 1}
    full = patch(subject.user_id, public_metadata=[step] * 60, private_metadata=[step] * 40)
    user = (await service.admin.PatchUserMetadata(full)).user
    assert (document(user.public_metadata)["n"], document(user.private_metadata)["n"]) == (60, 40)
    full.unsafe_metadata.extend(operations(step))
    await refused(service.admin.PatchUserMetadata(full), "PATCH_INVALID")


async def test_a_from_in_json_is_called_from(service: Service, subject: Subject) -> None:
    (operation,) = operations({"op": "move", "from": "/plan", "path": "/moved"})
    assert operation.from_path == "/plan"
    reply = await service.admin.PatchUserMetadata(
        pb.PatchUserMetadataRequest(user_id=subject.user_id, public_metadata=[operation])
    )
    assert document(reply.user.public_metadata) == {"moved": "pro"}


@pytest.mark.parametrize("step", [{"op": "add", "path": "/a"}, {"op": "test", "path": "/a"}])
async def test_a_null_is_a_value_and_none_is_not(service: Service, subject: Subject, step: dict[str, Any]) -> None:
    """JSON null is given as a Value of null; a Value that is absent or empty is neither."""
    empty = operations(step)
    empty[0].value.SetInParent()
    request = pb.PatchUserMetadataRequest(user_id=subject.user_id, unsafe_metadata=empty)
    refusal = await refused(service.admin.PatchUserMetadata(request), "FIELD_INVALID")
    assert refusal.fields == ("unsafe_metadata[0].value",)
