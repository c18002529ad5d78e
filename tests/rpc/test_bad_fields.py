"""A call that fails on its fields names every bad field that can be seen, at once, each with its reason."""

import contextlib
import gc
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import grpc
import pytest
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import ListValue, Struct, Value

from tests.rpc.methods import METHODS, Subject, call, credential
from tests.rpc.requests import merge, operations, patch
from tests.support import BACKEND, FRONTEND, Service, bearer, refused, request_id, struct
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1 import user_pb2 as backend_user
from usermeta.backend.v1.document_pb2 import Document
from usermeta.backend.v1.secret_key_pb2 import Scope
from usermeta.frontend.v1 import frontend_service_pb2 as frontend_pb
from usermeta_server.core.documents import MAX_OPERATIONS
from usermeta_server.errors import UsermetaError
from usermeta_server.services.edits import documents_of, merges_of
from usermeta_server.services.reading import read
from usermeta_server.services.requests import filter_of, required

NAN: Final = Struct(fields={"nan": Value(number_value=float("nan"))})
KINDLESS: Final = Struct(fields={"none": Value(), "list": Value(list_value=ListValue(values=[Value()]))})
ID: Final = "no-uuid"


def _bad_patch() -> list[Any]:
    return operations({"op": "unspecified", "path": "/a"}, {"op": "add"}, {"op": "move", "path": "a"})


_BAD_PATCH: Final = ("[0].op", "[1].path", "[1].value", "[2].path", "[2].from_path")
_SIGN_UP: Final[Mapping[str, Any]] = {"email_address": "nobody", "first_name": " ", "unsafe_metadata": NAN}
_BAD_SIGN_UP: Final = ("sign_up.email_address", "sign_up.first_name", "sign_up.unsafe_metadata")


def _create_user() -> Message:
    user = backend_user.User(username="a\n", image_url="ftp://x", public_metadata=KINDLESS, private_metadata=NAN)
    return pb.CreateUserRequest(user=user, user_id="me", request_id=ID)


def _update_user() -> Message:
    request = pb.UpdateUserRequest(user=backend_user.User(username="a\n", last_name=" "), request_id=ID)
    request.update_mask.paths.extend(("username", "last_name", "public_metadata", "nothing"))
    return request


def _update_own_user() -> Message:
    request = frontend_pb.UpdateUserRequest(request_id=ID)
    request.user.username = "a\n"
    request.user.public_metadata.update({"a": 1})
    return request


def _batch() -> Message:
    item = pb.MergeUserMetadataRequest(request_id=request_id(), validate_only=True)
    return pb.BatchMergeUserMetadataRequest(requests=[item, pb.MergeUserMetadataRequest(), item], request_id=ID)


def _update_sign_up(request: Any) -> Message:  # noqa: ANN401  # one of two messages
    request.update_mask.paths.extend(("email_address", "first_name", "unsafe_metadata", "id", "status"))
    for name, value in _SIGN_UP.items():
        if isinstance(value, Struct):
            getattr(request.sign_up, name).CopyFrom(value)
        else:
            setattr(request.sign_up, name, value)
    return request  # type: ignore[no-any-return]


def _list_users() -> Message:
    request = pb.ListUsersRequest(filter="a = 1", order_by="nothing", page_size=-1, page_token="x")
    request.read_mask.paths.extend(("one", "id", "two"))
    return request


def _batch_get() -> Message:
    request = pb.BatchGetUsersRequest(user_ids=["a" * 129, "user_1", "b" * 129])
    request.read_mask.paths.append("one")
    return request


def _session() -> Message:
    request = pb.CreateSessionTokenRequest(request_id=ID)
    request.ttl.FromSeconds(0)
    return request


def _key() -> Message:
    request = pb.CreateSecretKeyRequest(scopes=[Scope.SCOPE_UNSPECIFIED, Scope.SCOPE_READ, 99], request_id=ID)  # type: ignore[list-item]  # an unknown one
    request.expire_time.seconds = -1
    return request


BAD: Final[Mapping[str, tuple[Callable[[], Message], Sequence[str]]]] = {
    f"{BACKEND}CreateUser": (
        _create_user,
        (
            "user_id",
            "user.username",
            "user.image_url",
            "user.public_metadata",
            "user.public_metadata",
            "request_id",
            "user.private_metadata",  # what no document can hold comes after what the request itself has wrong
        ),
    ),
    f"{BACKEND}GetUser": (pb.GetUserRequest, ("user_id",)),
    f"{BACKEND}BatchGetUsers": (_batch_get, ("user_ids[0]", "user_ids[2]", "read_mask")),
    f"{BACKEND}UpdateUser": (
        _update_user,
        ("user.id", "update_mask", "update_mask", "user.last_name", "user.username", "request_id"),
    ),
    f"{BACKEND}DeleteUser": (lambda: pb.DeleteUserRequest(request_id=ID), ("user_id", "request_id")),
    f"{BACKEND}MergeUserMetadata": (
        lambda: pb.MergeUserMetadataRequest(public_metadata=KINDLESS, private_metadata=NAN, request_id=ID),
        ("user_id", "public_metadata", "public_metadata", "request_id", "private_metadata"),
    ),
    f"{BACKEND}ReplaceUserMetadata": (
        lambda: pb.ReplaceUserMetadataRequest(public_metadata=NAN, private_metadata=NAN, request_id=ID),
        ("user_id", "request_id", "public_metadata", "private_metadata"),
    ),
    f"{BACKEND}PatchUserMetadata": (
        lambda: pb.PatchUserMetadataRequest(public_metadata=_bad_patch(), unsafe_metadata=_bad_patch(), request_id=ID),
        (
            "user_id",
            *(f"public_metadata{each}" for each in _BAD_PATCH),
            *(f"unsafe_metadata{each}" for each in _BAD_PATCH),
            "request_id",
        ),
    ),
    f"{BACKEND}BatchMergeUserMetadata": (
        _batch,
        (
            "requests[0].request_id",
            "requests[0].validate_only",
            "requests[2].request_id",
            "requests[2].validate_only",
            "request_id",
        ),
    ),
    f"{BACKEND}CreateSessionToken": (_session, ("user_id", "ttl", "request_id")),
    f"{BACKEND}CreateSecretKey": (_key, ("display_name", "scopes[0]", "scopes[2]", "expire_time", "request_id")),
    f"{BACKEND}ListSecretKeys": (
        lambda: pb.ListSecretKeysRequest(page_size=-1, page_token="x"),
        ("page_size", "page_token"),
    ),
    f"{BACKEND}RevokeSecretKey": (lambda: pb.RevokeSecretKeyRequest(request_id=ID), ("secret_key_id", "request_id")),
    f"{BACKEND}ListUsers": (_list_users, ("filter", "order_by", "page_size", "read_mask", "read_mask")),
    f"{BACKEND}CountUsers": (lambda: pb.CountUsersRequest(filter="("), ("filter",)),
    f"{BACKEND}CreateMetadataIndex": (
        lambda: pb.CreateMetadataIndexRequest(path="username", request_id=ID),
        ("path", "request_id"),
    ),
    f"{BACKEND}ListMetadataIndexes": (pb.ListMetadataIndexesRequest, ()),
    f"{BACKEND}DeleteMetadataIndex": (lambda: pb.DeleteMetadataIndexRequest(request_id=ID), ("path", "request_id")),
    f"{BACKEND}ListUserChanges": (
        lambda: pb.ListUserChangesRequest(page_size=-1, page_token="x"),
        ("user_id", "page_size", "page_token"),
    ),
    f"{BACKEND}RestoreUserMetadata": (
        lambda: pb.RestoreUserMetadataRequest(
            change_id=-1, documents=[Document.DOCUMENT_UNSPECIFIED, Document.DOCUMENT_PUBLIC_METADATA], request_id=ID
        ),
        ("user_id", "change_id", "documents[0]", "request_id"),
    ),
    f"{BACKEND}WatchUsers": (
        lambda: pb.WatchUsersRequest(filter="(", resume_token="x", include_snapshot=True),
        ("filter", "include_snapshot"),
    ),
    f"{BACKEND}GetSignUp": (pb.GetSignUpRequest, ("sign_up_id",)),
    f"{BACKEND}ListSignUps": (
        lambda: pb.ListSignUpsRequest(page_size=-1, page_token="x"),
        ("page_size", "page_token"),
    ),
    f"{BACKEND}UpdateSignUp": (
        lambda: _update_sign_up(pb.UpdateSignUpRequest(request_id=ID)),
        ("sign_up_id", "update_mask", "update_mask", *_BAD_SIGN_UP, "request_id"),
    ),
    f"{BACKEND}CompleteSignUp": (lambda: pb.CompleteSignUpRequest(request_id=ID), ("sign_up_id", "request_id")),
    f"{BACKEND}RejectSignUp": (lambda: pb.RejectSignUpRequest(request_id=ID), ("sign_up_id", "request_id")),
    f"{FRONTEND}CreateSignUp": (
        lambda: frontend_pb.CreateSignUpRequest(sign_up=_SIGN_UP, request_id=ID),  # type: ignore[arg-type]  # a dict is taken
        (*_BAD_SIGN_UP, "request_id"),
    ),
    f"{FRONTEND}GetSignUp": (frontend_pb.GetSignUpRequest, ()),
    f"{FRONTEND}UpdateSignUp": (
        lambda: _update_sign_up(frontend_pb.UpdateSignUpRequest(request_id=ID)),
        ("update_mask", "update_mask", *_BAD_SIGN_UP, "request_id"),
    ),
    f"{FRONTEND}CompleteSignUp": (lambda: frontend_pb.CompleteSignUpRequest(request_id=ID), ("request_id",)),
    f"{FRONTEND}GetUser": (frontend_pb.GetUserRequest, ()),
    f"{FRONTEND}WatchUser": (frontend_pb.WatchUserRequest, ()),
    f"{FRONTEND}UpdateUser": (_update_own_user, ("user.public_metadata", "user.username", "request_id")),
    f"{FRONTEND}MergeUserMetadata": (
        lambda: frontend_pb.MergeUserMetadataRequest(request_id=ID),
        ("metadata", "request_id"),
    ),
    f"{FRONTEND}ReplaceUserMetadata": (
        lambda: frontend_pb.ReplaceUserMetadataRequest(unsafe_metadata=NAN, request_id=ID),
        ("request_id", "unsafe_metadata"),
    ),
    f"{FRONTEND}PatchUserMetadata": (
        lambda: frontend_pb.PatchUserMetadataRequest(unsafe_metadata=_bad_patch(), request_id=ID),
        (*(f"unsafe_metadata{each}" for each in _BAD_PATCH), "request_id"),
    ),
    f"{FRONTEND}GetProfile": (frontend_pb.GetProfileRequest, ("user_id",)),
    f"{FRONTEND}BatchGetProfiles": (
        lambda: frontend_pb.BatchGetProfilesRequest(user_ids=["a" * 129, "b", "c" * 129]),
        ("user_ids[0]", "user_ids[2]"),
    ),
}
"""For each RPC a request with all fields bad that can be, and the fields that its refusal names, in order."""


@pytest.mark.parametrize("path", METHODS)
async def test_every_bad_field_is_named_at_once(service: Service, subject: Subject, path: str) -> None:
    make, fields = BAD[path]
    calling = call(service, path, make(), bearer(credential(service, path, subject)))
    if not fields:
        await calling
        return
    refusal = await refused(calling)
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refusal.fields == tuple(fields)
    assert fields[0].startswith(refusal.metadata["field"])


def test_every_rpc_is_in_the_table() -> None:
    assert BAD.keys() == METHODS.keys()


async def test_each_bad_field_has_its_own_reason_and_the_error_that_of_the_first(service: Service) -> None:
    request = pb.ListUsersRequest(filter="(", order_by="nothing", page_size=-1)
    refusal = await refused(service.admin.ListUsers(request), "FILTER_INVALID")
    assert refusal.reasons == ("FILTER_INVALID", "ORDER_INVALID", "FIELD_INVALID")
    create = pb.CreateUserRequest(user=backend_user.User(public_metadata=NAN), user_id="me")
    refusal = await refused(service.admin.CreateUser(create), "FIELD_INVALID")
    assert refusal.reasons == ("FIELD_INVALID", "NUMBER_NOT_REPRESENTABLE")


async def test_a_page_token_is_looked_at_beside_a_bad_size(service: Service) -> None:
    refusal = await refused(service.admin.ListUsers(pb.ListUsersRequest(page_size=-1, page_token="x")))
    assert refusal.fields == ("page_token", "page_size")


async def test_all_documents_that_pass_their_limits_are_named(service: Service, subject: Subject) -> None:
    """Limits have their place behind existence and etags; then all documents are named that break them."""
    big = {"big": "x" * 9000}
    request = merge(subject.user_id, public_metadata=big, private_metadata={"a": 2.0**60}, unsafe_metadata={"fine": 1})
    refusal = await refused(service.admin.MergeUserMetadata(request), "METADATA_TOO_LARGE")
    assert refusal.fields == ("public_metadata", "private_metadata")
    assert refusal.reasons == ("METADATA_TOO_LARGE", "NUMBER_NOT_REPRESENTABLE")
    request.expected_etags.unsafe_metadata = "stale"
    await refused(service.admin.MergeUserMetadata(request), "ETAG_MISMATCH")
    user = backend_user.User(public_metadata=struct(big), unsafe_metadata=NAN)
    refusal = await refused(service.admin.CreateUser(pb.CreateUserRequest(user=user)), "METADATA_TOO_LARGE")
    assert refusal.fields == ("user.public_metadata", "user.unsafe_metadata")


@pytest.mark.parametrize("size", [0, 257])
def test_a_bad_key_that_is_named_beside_others_has_its_limit(size: int) -> None:
    user = backend_user.User(public_metadata=struct({"k" * size: 1}))
    with pytest.raises(UsermetaError) as refusal:
        read(documents_of(user), required("", "id"))
    assert f"takes {size} bytes; 1 to 256 are allowed" in refusal.value.violations[-1].description


async def test_a_key_that_a_merge_removes_may_be_any(service: Service, subject: Subject) -> None:
    """Of a request that fails in any case only what is really wrong is named."""
    removing = merge("", public_metadata={"": None, "k" * 300: None})
    refusal = await refused(service.admin.MergeUserMetadata(removing), "FIELD_INVALID")
    assert refusal.fields == ("user_id",)
    removing.user_id = subject.user_id
    await service.admin.MergeUserMetadata(removing)


async def test_an_atomic_batch_names_the_bad_fields_of_all_malformed_items(service: Service, subject: Subject) -> None:
    bad = pb.MergeUserMetadataRequest(public_metadata=KINDLESS)
    items = [merge(subject.user_id, public_metadata={"a": 1}), bad, merge(subject.user_id), bad]
    batch = pb.BatchMergeUserMetadataRequest(requests=items, atomic=True)
    refusal = await refused(service.admin.BatchMergeUserMetadata(batch), "FIELD_INVALID")
    assert refusal.metadata["index"] == "1"
    assert refusal.fields == (
        "requests[1].user_id",
        "requests[1].public_metadata",
        "requests[1].public_metadata",
        "requests[2].metadata",
        "requests[3].user_id",
        "requests[3].public_metadata",
        "requests[3].public_metadata",
    )


async def test_an_item_that_fails_on_more_than_fields_is_told_alone(service: Service, subject: Subject) -> None:
    items = [merge("user_nobody", public_metadata={"a": 1}), merge(subject.user_id)]
    batch = pb.BatchMergeUserMetadataRequest(requests=items, atomic=True)
    refusal = await refused(service.admin.BatchMergeUserMetadata(batch), "USER_NOT_FOUND")
    assert refusal.fields == ()


async def test_as_many_bad_fields_are_named_as_fit(service: Service, subject: Subject) -> None:
    """An error goes in headers, which clients bound to 8 KiB: the metadata says how many more there are."""
    steps = operations(*({"op": "add", "value": 1} for _ in range(MAX_OPERATIONS)))
    request = patch(subject.user_id)
    request.public_metadata.extend(steps)
    refusal = await refused(service.admin.PatchUserMetadata(request), "PATCH_INVALID")
    named = len(refusal.fields)
    assert refusal.fields == tuple(f"public_metadata[{index}].path" for index in range(named))
    assert int(refusal.metadata["more_violations"]) == MAX_OPERATIONS - named
    assert named > 30


async def test_a_document_of_values_without_a_kind_is_refused_as_any_other(service: Service) -> None:
    """However many there are: some are named, and looking for them ends."""
    crowd = Struct(fields={"list": Value(list_value=ListValue(values=[Value()] * 500_000))})
    create = pb.CreateUserRequest(user=backend_user.User(public_metadata=crowd))
    refusal = await refused(service.admin.CreateUser(create), "FIELD_INVALID")
    assert set(refusal.fields) == {"user.public_metadata"}


def test_a_refusal_leaves_no_cyclic_garbage() -> None:
    """Errors that are kept to be told together hold no frame that holds them."""

    def fail() -> None:
        parts = (required("", "a"), filter_of("("), documents_of(pb.MergeUserMetadataRequest(public_metadata=KINDLESS)))
        with contextlib.suppress(UsermetaError):
            read(*parts, merges_of(pb.MergeUserMetadataRequest(public_metadata=NAN, private_metadata=KINDLESS)))

    fail()
    gc.collect()
    gc.disable()
    try:
        for _ in range(10):
            fail()
        assert gc.collect() == 0
    finally:
        gc.enable()
