"""Users between messages and JSON, and found page by page: what the commands about users share."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1.user_pb2 import User
from usermeta_server.cli.strict_json import read_json
from usermeta_server.core.documents import dump
from usermeta_server.services.structs import to_object
from usermeta_server.values import JsonObject

if TYPE_CHECKING:
    from usermeta.backend.v1.backend_service_pb2_grpc import BackendServiceAsyncStub  # only in the stubs

PAGE_SIZE: Final = 200


def to_record(message: Message) -> dict[str, Any]:
    """Return a message as JSON in proto form, with the protos' field names; whole numbers stay integers."""
    return {field.name: _to_json(value) for field, value in message.ListFields()}


def _to_json(value: Any) -> Any:  # noqa: ANN401  # the value of any field
    if isinstance(value, Struct):
        return to_object(value, "")
    if isinstance(value, Timestamp):
        return value.ToJsonString()
    return to_record(value) if isinstance(value, Message) else value


def to_line(user: User) -> bytes:
    """Return a user as a line of JSON: the same user always as the same line."""
    return dump(to_record(user)) + b"\n"


def from_line(line: bytes) -> User:
    """Return the user that a line of JSON says; names as in the protos or in lower camel case.

    Raises:
        ValueError: the line is no user, or JSON that could be read in more than one way; the text says why.
    """
    record = read_json(line)
    if not isinstance(record, dict):
        raise ValueError("is not a JSON object")  # noqa: TRY004  # the line is wrong, not the argument's type
    _check_fields(record, User.DESCRIPTOR)
    try:
        return json_format.ParseDict(record, User())
    except json_format.ParseError as error:
        raise ValueError(str(error)) from error


def _check_fields(record: JsonObject, message: Descriptor) -> None:
    """Check that each member is a field of a message, of its kind, and that none is there in both of its spellings."""
    names = {spelling: field for field in message.fields for spelling in (field.name, field.json_name)}
    seen: set[str] = set()
    for key, value in record.items():
        field = names.get(key)
        if field is None:
            raise ValueError(f"{message.name} has no field {key!r}")
        if field.name in seen:
            raise ValueError(f"the field {field.name!r} is there in two spellings")
        seen.add(field.name)
        kind, name = _KINDS[_TIME if field.message_type is Timestamp.DESCRIPTOR else field.type]
        if value is not None and not isinstance(value, kind):
            raise ValueError(f"the field {key!r} must be {name}")  # the line is wrong
        if isinstance(value, dict) and field.message_type and not field.message_type.full_name.startswith("google."):
            _check_fields(value, field.message_type)


_TIME: Final = 0
_KINDS: Final[Mapping[int, tuple[type, str]]] = {
    FieldDescriptor.TYPE_STRING: (str, "a text"),
    FieldDescriptor.TYPE_BOOL: (bool, "true or false"),
    FieldDescriptor.TYPE_MESSAGE: (dict, "an object"),
    _TIME: (str, "a time (RFC 3339)"),
}
"""What each type of field is in JSON, and what it is called."""


async def find(
    stub: "BackendServiceAsyncStub", request: pb.ListUsersRequest, limit: int | None = None
) -> AsyncIterator[Sequence[User]]:
    """Yield the users that a request finds, page by page, `limit` at the most."""
    left = limit
    while left is None or left > 0:
        request.page_size = PAGE_SIZE if left is None else min(left, PAGE_SIZE)
        page = await stub.ListUsers(request)
        yield page.users
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token
        left = None if left is None else left - len(page.users)
