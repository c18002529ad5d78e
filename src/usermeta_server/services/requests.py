"""What handlers read from requests, checked: each function names the field that it refuses."""

import re
import uuid
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Final, TypeVar, cast

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from usermeta.type.v1.patch_pb2 import PatchOperation
from usermeta_server.audience import Caller
from usermeta_server.core.documents import (
    MAX_OPERATIONS,
    MISSING,
    JsonObject,
    Limits,
    Op,
    Operation,
    Patch,
    merge_patch,
)
from usermeta_server.core.metadata import Edit
from usermeta_server.core.profile import ProfileValues, check_profile
from usermeta_server.core.writes import Intent
from usermeta_server.errors import Reason, invalid
from usermeta_server.model import SECOND, Document
from usermeta_server.services.structs import to_json, to_object

T = TypeVar("T")

MAX_BATCH: Final = 100
"""How many users one request may name."""
_MAX_ID: Final = 128
DEFAULT_PAGE_SIZE: Final = 50
MAX_PAGE_SIZE: Final = 1000

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)


def intent_of(request: Any, caller: Caller) -> Intent:  # noqa: ANN401  # any of the many mutating requests
    """Return what makes this request repeatable and triable.

    Raises:
        UsermetaError: FIELD_INVALID, for a request id that is no UUID.
    """
    actor = caller.actor
    if not request.request_id:
        return Intent(actor, caller.method, validate_only=request.validate_only)
    if not _UUID.fullmatch(request.request_id):
        raise invalid("request_id", "must be a UUID, such as 5f0c4f0e-8d2b-4f5c-9a55-0d8f1c1f2a3b")
    canonical = type(request)()
    canonical.CopyFrom(request)
    canonical.ClearField("request_id")
    canonical.ClearField("validate_only")
    return Intent(
        actor,
        caller.method,
        str(uuid.UUID(request.request_id)),
        canonical.SerializeToString(deterministic=True),
        request.validate_only,
    )


def required(value: str, field: str) -> str:
    """Return a text that must be there.

    Raises:
        UsermetaError: FIELD_INVALID, when it is empty.
    """
    if not value:
        raise invalid(field, "is required")
    return value


def batch_of(items: Sequence[T], field: str) -> Sequence[T]:
    """Return the items of a batch.

    Raises:
        UsermetaError: FIELD_INVALID, for none, or more than 100.
    """
    if not 0 < len(items) <= MAX_BATCH:
        raise invalid(field, f"holds {len(items)}; 1 to {MAX_BATCH} are allowed")
    return items


def ids_of(user_ids: Sequence[str], field: str) -> Sequence[str]:
    """Return the ids of a batch.

    Raises:
        UsermetaError: FIELD_INVALID, for none, more than 100, or one that no user can have.
    """
    for index, user_id in enumerate(batch_of(user_ids, field)):
        if len(user_id.encode()) > _MAX_ID:
            raise invalid(f"{field}[{index}]", f"has more than {_MAX_ID} bytes")
    return user_ids


def page_size_of(page_size: int) -> int:
    """Return how many a page holds (AIP-158): too many is as many as may be.

    Raises:
        UsermetaError: FIELD_INVALID, for a negative one.
    """
    if page_size < 0:
        raise invalid("page_size", "must not be negative")
    return min(page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)


def time_of(timestamp: Timestamp, field: str) -> int:
    """Return a time in microseconds since the epoch.

    Raises:
        UsermetaError: FIELD_INVALID, for a time that is none, or not after the epoch.
    """
    microseconds = timestamp.seconds * SECOND + timestamp.nanos // 1000
    if not 0 < timestamp.seconds < _YEAR_10000 or not 0 <= timestamp.nanos < SECOND * 1000:
        raise invalid(field, "must be a time between 1970 and 9999")
    return microseconds


_YEAR_10000: Final = 253_402_300_800


def documents_of(message: Message, prefix: str = "") -> Mapping[Document, JsonObject]:
    """Return the documents that are set in a message, whose fields' paths in the request begin with `prefix`.

    Raises:
        UsermetaError: FIELD_INVALID, for a Value without a kind.
    """
    return {document: to_object(struct, f"{prefix}{document}") for document, struct in _structs(message)}


def _structs(message: Message) -> Iterable[tuple[Document, Struct]]:
    for document in _documents_in(cast("Hashable", type(message))):
        if message.HasField(document):
            yield document, getattr(message, document)


@cache
def _documents_in(message: Any) -> tuple[Document, ...]:  # noqa: ANN401  # the stubs deny that it is hashable
    """Return the documents that a message has fields for."""
    return tuple(each for each in Document if each in message.DESCRIPTOR.fields_by_name)


def merges_of(request: Message) -> Mapping[Document, Edit]:
    """Return the edits of a merge request (RFC 7396).

    Raises:
        UsermetaError: FIELD_INVALID, for no document at all, or a Value without a kind.
    """
    return _edits(documents_of(request), lambda patch: lambda before: merge_patch(before, patch))


def replacements_of(request: Message) -> Mapping[Document, Edit]:
    """Return the edits of a replace request; raises as `merges_of` does."""
    return _edits(documents_of(request), lambda new: lambda _: new)


def _edits(documents: Mapping[Document, JsonObject], edit: Callable[[JsonObject], Edit]) -> Mapping[Document, Edit]:
    if not documents:
        raise invalid("metadata", "at least one document is required")
    return {document: edit(value) for document, value in documents.items()}


def patches_of(request: Message, limits: Limits) -> Mapping[Document, Edit]:
    """Return the edits of a patch request (RFC 6902).

    Raises:
        UsermetaError: PATCH_INVALID, for operations that are malformed, none, or too many.
    """
    given = {document: getattr(request, document) for document in _documents_in(cast("Hashable", type(request)))}
    count = sum(map(len, given.values()))
    if not 0 < count <= MAX_OPERATIONS:
        text = f"holds {count} operations; 1 to {MAX_OPERATIONS} are allowed"
        raise invalid(next(iter(given)), text, reason=Reason.PATCH_INVALID)
    patches = {
        document: [_operation(each, document, index) for index, each in enumerate(operations)]
        for document, operations in given.items()
        if operations
    }
    return {document: _edit(Patch.of(operations, document), limits) for document, operations in patches.items()}


def _edit(patch: Patch, limits: Limits) -> Edit:
    return lambda before: patch.apply(before, limits)


_OPS: Final[Mapping[int, Op]] = {
    PatchOperation.OP_ADD: Op.ADD,
    PatchOperation.OP_REMOVE: Op.REMOVE,
    PatchOperation.OP_REPLACE: Op.REPLACE,
    PatchOperation.OP_MOVE: Op.MOVE,
    PatchOperation.OP_COPY: Op.COPY,
    PatchOperation.OP_TEST: Op.TEST,
    PatchOperation.OP_INCREMENT: Op.INCREMENT,
}


def _operation(message: PatchOperation, field: str, index: int) -> Operation:
    op = _OPS.get(message.op)
    if op is None:
        raise invalid(f"{field}[{index}].op", "is not an operation", reason=Reason.PATCH_INVALID)
    return Operation(
        op,
        message.path,
        message.from_path if message.HasField("from_path") else None,
        to_json(message.value, f"{field}[{index}].value") if message.HasField("value") else MISSING,
    )


def profile_of(user: Message, fields: Collection[str]) -> ProfileValues:
    """Return the profile fields that are populated in a `user`, of those that may be written.

    Raises:
        UsermetaError: FIELD_INVALID, with a violation for each malformed one.
    """
    values = {field.name: value for field, value in user.ListFields() if field.name in fields}
    check_profile(values, "user.")
    return values


def sign_up_update_of(
    sign_up: Message, mask: FieldMask, fields: Collection[str], documents: Collection[Document]
) -> tuple[ProfileValues, Mapping[Document, JsonObject]]:
    """Return what an update of a sign-up changes (AIP-134): profile fields, and documents, replaced whole.

    Args:
        sign_up: the new values.
        mask: which to take; without one those that are populated, for `*` all.
        fields: the profile fields that the caller may write.
        documents: the documents that the caller may write.

    Raises:
        UsermetaError: FIELD_INVALID, for a mask that an update does not change, or a malformed value.
    """
    allowed = frozenset({*fields, *documents})
    masked = masked_of(mask, allowed)
    given = documents_of(sign_up, "sign_up.")
    if masked is None:
        values = {field.name: value for field, value in sign_up.ListFields() if field.name in fields}
        chosen = given
    else:
        values = {name: getattr(sign_up, name) for name in masked if name in fields}
        chosen = {document: given.get(document, {}) for document in documents if document in masked}
    check_profile(values, "sign_up.")
    return values, chosen


def masked_of(mask: FieldMask, allowed: frozenset[str]) -> frozenset[str] | None:
    """Return the fields that an update mask names, all for `*`, None when there is no mask.

    Raises:
        UsermetaError: FIELD_INVALID, for what an update does not change.
    """
    unknown = [path for path in mask.paths if path not in allowed and path != "*"]
    if unknown:
        names = ", ".join(sorted(allowed))
        raise invalid("update_mask", f"'{unknown[0]}' cannot be updated; these can: {names}")
    if not mask.paths:
        return None
    return allowed if "*" in mask.paths else frozenset(mask.paths)


def update_of(user: Message, mask: FieldMask, fields: frozenset[str]) -> ProfileValues:
    """Return what an update changes (AIP-134): the masked fields, all for `*`, the populated ones without a mask.

    Output-only fields of the user are ignored (AIP-203), documents are not: they have methods of their own.

    Raises:
        UsermetaError: FIELD_INVALID, for a mask or a document that an update does not change, or a malformed value.
    """
    masked = masked_of(mask, fields)
    if masked is None:
        for document, _ in _structs(user):
            raise invalid(f"user.{document}", "is changed by the metadata methods, not by UpdateUser")
        return profile_of(user, fields)
    values = {name: getattr(user, name) for name in masked}
    check_profile(values, "user.")
    return values


def read_mask_of(mask: FieldMask, message: type[Message]) -> frozenset[str] | None:
    """Return the fields that a read mask names, None for all (AIP-157).

    Raises:
        UsermetaError: FIELD_INVALID, for what is no top-level field.
    """
    known = message.DESCRIPTOR.fields_by_name
    for path in mask.paths:
        if path not in known and path != "*":
            raise invalid("read_mask", f"'{path}' is not a top-level field of the user")
    return None if not mask.paths or "*" in mask.paths else frozenset(mask.paths)


def not_on_an_item(item: Any, index: int) -> None:  # noqa: ANN401  # any of the many mutating requests
    """Check that an item of a batch leaves to the batch what is the batch's.

    Raises:
        UsermetaError: FIELD_INVALID, for a `request_id` or `validate_only` of its own.
    """
    for name in ("request_id", "validate_only"):
        if getattr(item, name):
            raise invalid(f"requests[{index}].{name}", "is for the batch as a whole")
