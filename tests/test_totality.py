"""Nothing is left out: walks the proto descriptors and looks for what each method, field and reason must have."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, get_args, get_type_hints

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass

from tests.support import USER
from usermeta.backend.v1 import backend_service_pb2, document_pb2, metadata_index_pb2, secret_key_pb2, user_change_pb2
from usermeta.backend.v1 import sign_up_pb2 as backend_sign_up_pb2
from usermeta.backend.v1 import user_pb2 as backend_user_pb2
from usermeta.frontend.v1 import frontend_service_pb2
from usermeta.frontend.v1 import sign_up_pb2 as frontend_sign_up_pb2
from usermeta.frontend.v1 import user_pb2 as frontend_user_pb2
from usermeta_server import policy
from usermeta_server.model import Document, SignUp, User
from usermeta_server.policy import Access, ProfileAudience, Viewer
from usermeta_server.server import BACKEND, FRONTEND
from usermeta_server.services.backend import BackendService
from usermeta_server.services.encoded import Encoded
from usermeta_server.services.frontend import FrontendService
from usermeta_server.services.rpc import snake

METHODS: Final[Sequence[MethodDescriptor]] = [*BACKEND.methods, *FRONTEND.methods]
READING: Final = ("Get", "List", "BatchGet", "Count", "Watch")
MUTATING: Final = [each for each in METHODS if not each.name.startswith(READING)]
PRIVATE_FIELDS: Final = {"private_metadata", "external_id", "banned"}
SEEN: Final = {
    Viewer.BACKEND: backend_user_pb2.User.DESCRIPTOR,
    Viewer.SELF: frontend_user_pb2.User.DESCRIPTOR,
    Viewer.ANYONE: frontend_user_pb2.Profile.DESCRIPTOR,
}
"""For each viewer the message in which it sees a user."""
SIGN_UPS: Final = {
    Viewer.BACKEND: backend_sign_up_pb2.SignUp.DESCRIPTOR,
    Viewer.SELF: frontend_sign_up_pb2.SignUp.DESCRIPTOR,
}
"""For each viewer the message in which it sees a sign-up."""


def name_of(value: object) -> str:
    """Name a case after what it is about."""
    return str(getattr(value, "full_name", value))


def every_message(file: Any) -> Iterator[Descriptor]:  # noqa: ANN401  # a FileDescriptor, of either implementation
    """Yield the messages of a file, nested ones too."""
    waiting = list(file.message_types_by_name.values())
    while waiting:
        message = waiting.pop()
        yield message
        waiting.extend(message.nested_types)


FRONTEND_FILES: Final = [each.DESCRIPTOR for each in (frontend_service_pb2, frontend_sign_up_pb2, frontend_user_pb2)]
BACKEND_FILES: Final = [
    each.DESCRIPTOR
    for each in (
        backend_service_pb2,
        backend_sign_up_pb2,
        backend_user_pb2,
        document_pb2,
        metadata_index_pb2,
        secret_key_pb2,
        user_change_pb2,
    )
]
FRONTEND_MESSAGES: Final = [message for file in FRONTEND_FILES for message in every_message(file)]
BACKEND_MESSAGES: Final = [message for file in BACKEND_FILES for message in every_message(file)]


@pytest.mark.parametrize("files", [FRONTEND_FILES, BACKEND_FILES])
def test_every_file_of_a_package_that_its_service_uses_is_looked_at(files: list[Any]) -> None:
    used = {each.name for file in files for each in file.dependencies if each.package == file.package}
    assert used == {file.name for file in files[1:]}


# Methods

HANDLERS: Final = [(BACKEND, BackendService), (FRONTEND, FrontendService)]
"""The services, and what serves each."""


@pytest.mark.parametrize("profiles", ProfileAudience)
def test_the_policy_has_a_rule_for_every_method_and_for_nothing_else(profiles: ProfileAudience) -> None:
    paths = {f"/{method.containing_service.full_name}/{method.name}" for method in METHODS}
    assert policy.method_rules(profiles).keys() == paths


@pytest.mark.parametrize("method", METHODS, ids=name_of)
def test_a_methods_audience_is_that_of_its_package(method: MethodDescriptor) -> None:
    service = method.containing_service
    rule = policy.method_rules(ProfileAudience.ANYONE)[f"/{service.full_name}/{method.name}"]
    assert service.file.package == f"usermeta.{rule.audience}.v1"


@pytest.mark.parametrize(("descriptor", "handlers"), HANDLERS)
def test_every_method_has_a_handler_and_every_handler_a_method(
    descriptor: ServiceDescriptor, handlers: type[object]
) -> None:
    public = {name: each for name, each in vars(handlers).items() if not name.startswith("_")}
    assert public.keys() == {snake(method.name) for method in descriptor.methods}
    assert all(inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each) for each in public.values())


@pytest.mark.parametrize("method", METHODS, ids=name_of)
def test_every_method_has_messages_of_its_own(method: MethodDescriptor) -> None:
    assert (method.input_type.name, method.output_type.name) == (f"{method.name}Request", f"{method.name}Response")
    assert method.input_type.file.package == method.containing_service.file.package


@pytest.mark.parametrize("method", MUTATING, ids=name_of)
def test_every_mutating_method_can_be_repeated_and_tried(method: MethodDescriptor) -> None:
    fields = method.input_type.fields_by_name
    assert fields["request_id"].type == FieldDescriptor.TYPE_STRING
    assert fields["validate_only"].type == FieldDescriptor.TYPE_BOOL


def holds_a_user(message: Descriptor) -> bool:
    """Tell whether a message of ours has a user in it, at any depth."""
    inner = [field.message_type for field in message.fields if field.message_type is not None]
    ours = [each for each in inner if each.file.package.startswith("usermeta.")]
    return any(each.name == "User" or holds_a_user(each) for each in ours)


@pytest.mark.parametrize("method", METHODS, ids=name_of)
def test_exactly_the_requests_that_are_answered_with_users_have_a_read_mask(method: MethodDescriptor) -> None:
    mask = method.input_type.fields_by_name.get("read_mask")
    assert (mask is not None) == holds_a_user(method.output_type)
    assert mask is None or (mask.message_type and mask.message_type.full_name) == "google.protobuf.FieldMask"


@pytest.mark.parametrize("method", list(BACKEND.methods), ids=name_of)
def test_a_backend_may_name_a_user_by_its_external_id_wherever_it_may_by_its_id(method: MethodDescriptor) -> None:
    named = method.input_type.fields_by_name.get("user_id")
    if named is None or method.name == "CreateUser":  # of which it is the new one's id
        return
    assert named.containing_oneof is not None
    assert {"user_id", "external_id"} <= {field.name for field in named.containing_oneof.fields}


@pytest.mark.parametrize(("descriptor", "handlers"), HANDLERS)
def test_a_handler_takes_and_returns_the_messages_of_its_method(
    descriptor: ServiceDescriptor, handlers: type[object]
) -> None:
    """Its annotations say so, and the type checker holds it to them; bytes of another response are none."""
    for method in descriptor.methods:
        request, response = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
        hints = get_type_hints(getattr(handlers, snake(method.name)))
        hints.pop("_", hints.pop("__", None))
        returned = hints.pop("return")
        sent = get_args(hints["send"])[0][0] if method.server_streaming else returned
        assert sent in {response, Encoded[response]}, method.full_name  # type: ignore[valid-type]  # a class at run time
        assert hints.get("request", request) is request


@pytest.mark.parametrize("method", METHODS, ids=name_of)
def test_a_method_streams_exactly_if_it_watches(method: MethodDescriptor) -> None:
    assert method.server_streaming is method.name.startswith("Watch")
    assert not method.client_streaming


@pytest.mark.parametrize("method", METHODS, ids=name_of)
def test_a_response_with_users_has_them_in_field_1(method: MethodDescriptor) -> None:
    """The bytes of one reply are the bytes of all: each response is made of the same kept bytes."""
    users = [field.number for field in method.output_type.fields if field.message_type in SEEN.values()]
    assert users == ([] if method.name in WITHOUT_A_USER else [1])


WITHOUT_A_USER: Final = {
    "DeleteUser",
    "BatchMergeUserMetadata",
    "CreateSessionToken",
    "CreateSecretKey",
    "ListSecretKeys",
    "RevokeSecretKey",
    "CreateSignUp",
    "GetSignUp",
    "ListSignUps",
    "UpdateSignUp",
    "RejectSignUp",
    "ListUserChanges",
    "WatchUsers",
    "CountUsers",
    "CreateMetadataIndex",
    "ListMetadataIndexes",
    "DeleteMetadataIndex",
}


def test_an_item_of_a_batch_has_its_user_in_field_1_too() -> None:
    result = backend_service_pb2.BatchMergeUserMetadataResult.DESCRIPTOR
    assert result.fields_by_name["user"].number == 1


# Documents and fields


@pytest.mark.parametrize("viewer", Viewer)
def test_every_document_has_a_row_for_every_viewer(viewer: Viewer) -> None:
    assert policy.DOCUMENTS[viewer].keys() == policy.SIGN_UP_DOCUMENTS[viewer].keys() == set(Document)
    tables: Sequence[Mapping[Viewer, object]] = (
        *(policy.FIELDS, policy.VISIBLE, policy.WRITABLE_FIELDS),
        *(policy.SIGN_UP_FIELDS, policy.SIGN_UP_VISIBLE, policy.SIGN_UP_WRITABLE_FIELDS),
    )
    assert all(viewer in table for table in tables)


@pytest.mark.parametrize("viewer", Viewer)
def test_a_view_holds_exactly_the_fields_of_the_viewers_message(viewer: Viewer) -> None:
    fields = policy.views._view(viewer, USER).fields
    assert fields.keys() == {field.name for field in SEEN[viewer].fields}


@pytest.mark.parametrize("viewer", [Viewer.BACKEND, Viewer.SELF])
def test_a_view_holds_the_etags_of_exactly_the_documents_that_the_viewer_reads(viewer: Viewer) -> None:
    etags = policy.views._view(viewer, USER).fields["metadata_etags"]
    message = SEEN[viewer].fields_by_name["metadata_etags"].message_type
    readable = {document for document, access in policy.DOCUMENTS[viewer].items() if Access.READ in access}
    assert isinstance(etags, dict)
    assert message is not None
    assert etags.keys() == {field.name for field in message.fields} == readable


@pytest.mark.parametrize("viewer", Viewer)
def test_what_can_be_written_can_be_read(viewer: Viewer) -> None:
    assert policy.WRITABLE_FIELDS[viewer] <= policy.VISIBLE[viewer]
    assert policy.SIGN_UP_WRITABLE_FIELDS[viewer] <= policy.SIGN_UP_VISIBLE[viewer]


@pytest.mark.parametrize("viewer", Viewer)
def test_nothing_can_be_written_but_fields_and_documents_that_the_tables_list(viewer: Viewer) -> None:
    documents, sign_up_documents = policy.DOCUMENTS[viewer], policy.SIGN_UP_DOCUMENTS[viewer]
    tables = policy.tables
    assert tables.WRITABLE[viewer] == policy.WRITABLE_FIELDS[viewer] | _written(documents)
    assert tables.SIGN_UP_WRITABLE[viewer] == policy.SIGN_UP_WRITABLE_FIELDS[viewer] | _written(sign_up_documents)
    assert tables.WRITABLE[viewer] <= set(User._fields)
    assert tables.SIGN_UP_WRITABLE[viewer] <= set(SignUp._fields)


def _written(documents: Mapping[Document, Access]) -> set[str]:
    return {document for document, access in documents.items() if Access.WRITE in access}


@pytest.mark.parametrize("viewer", SIGN_UPS)
def test_a_viewer_sees_exactly_the_fields_of_its_message_of_a_sign_up(viewer: Viewer) -> None:
    assert policy.SIGN_UP_VISIBLE[viewer] == {field.name for field in SIGN_UPS[viewer].fields}


HIDDEN: Final = [
    (SEEN, PRIVATE_FIELDS),
    (SIGN_UPS, {"private_metadata", "public_metadata", "external_id", "email_address_verified"}),
]


@pytest.mark.parametrize(("messages", "hidden"), HIDDEN)
def test_a_frontend_message_has_the_numbers_of_the_backends_but_for_what_it_hides(
    messages: dict[Viewer, Descriptor], hidden: set[str]
) -> None:
    frontend, backend = messages[Viewer.SELF].fields, messages[Viewer.BACKEND].fields
    numbers = {field.name: field.number for field in backend}
    assert {field.name: field.number for field in frontend}.items() <= numbers.items()
    assert numbers.keys() - {field.name for field in frontend} == hidden


@pytest.mark.parametrize("message", FRONTEND_MESSAGES, ids=name_of)
def test_no_frontend_message_has_a_private_field(message: Descriptor) -> None:
    assert not PRIVATE_FIELDS & {field.name for field in message.fields}
    assert not [
        field.full_name
        for field in message.fields
        if field.message_type is not None and field.message_type.file.package.startswith("usermeta.backend")
    ]


def test_the_packages_of_a_frontend_do_not_import_the_backends() -> None:
    for file in FRONTEND_FILES:
        imported = [each.name for each in file.dependencies]
        assert imported
        assert not [name for name in imported if name.startswith("usermeta/backend/")]


@pytest.mark.parametrize("message", [*FRONTEND_MESSAGES, *BACKEND_MESSAGES], ids=name_of)
def test_a_document_in_a_metadata_request_can_be_absent(message: Descriptor) -> None:
    for field in message.fields:
        if field.name in set(Document) and field.message_type is not None and not field.is_repeated:
            assert field.has_presence
