"""What a request does to documents: each function gives the reading of it, and names the fields that it refuses."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cache, partial
from typing import Any, Final, cast

from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from usermeta.type.v1.patch_pb2 import PatchOperation
from usermeta_server.core.documents import (
    MAX_OPERATIONS,
    Limits,
    Op,
    Operation,
    Patch,
    Step,
    check_representable,
    merge_patch,
    step_of,
)
from usermeta_server.core.metadata import Edit
from usermeta_server.errors import Reason, all_of, each_of, invalid
from usermeta_server.model import Document
from usermeta_server.services.reading import reading
from usermeta_server.services.structs import to_json, to_object
from usermeta_server.values import MISSING, JsonObject


def _documents(message: Message, prefix: str = "") -> Mapping[Document, JsonObject]:
    return each_of(lambda document, struct: to_object(struct, f"{prefix}{document}"), structs_of(message))


def structs_of(message: Message) -> dict[Document, Struct]:
    """Return the documents that are set in a message, as they are there."""
    names = _documents_in(cast("Hashable", type(message)))
    return {document: getattr(message, document) for document in names if message.HasField(document)}


@cache
def _documents_in(message: Any) -> tuple[Document, ...]:  # noqa: ANN401  # the stubs deny that it is hashable
    """Return the documents that a message has fields for."""
    return tuple(each for each in Document if each in message.DESCRIPTOR.fields_by_name)


def check_documents(message: Message, prefix: str = "") -> None:
    """Refuse what the documents of a message can never hold.

    Such a write fails in any case, within its transaction, where the limits have their place among the checks.
    """

    def check(document: Document, struct: Struct) -> None:
        # What a merge makes of nothing: a key that it removes may be any.
        check_representable(merge_patch({}, to_object(struct, f"{prefix}{document}")), f"{prefix}{document}")

    each_of(check, structs_of(message))


documents_of = reading(_documents, also=check_documents)
"""Gives the documents that are set in a message, whose fields' paths in the request begin with a prefix.

Refused is a Value without a kind, FIELD_INVALID.
"""


def _merges(request: Message) -> Mapping[Document, Edit]:
    return _edits(_documents(request), lambda patch: lambda before: merge_patch(before, patch))


merges_of = reading(_merges, also=check_documents)
"""Gives the edits of a merge request (RFC 7396); refused is one without a document, or with a Value without a kind."""


def _replacements(request: Message) -> Mapping[Document, Edit]:
    return _edits(_documents(request), lambda new: lambda _: new)


replacements_of = reading(_replacements, also=check_documents)
"""Gives the edits of a replace request; refuses as `merges_of` does."""


def _edits(documents: Mapping[Document, JsonObject], edit: Callable[[JsonObject], Edit]) -> Mapping[Document, Edit]:
    if not documents:
        raise invalid("metadata", "at least one document is required")
    return {document: edit(value) for document, value in documents.items()}


@reading
def patches_of(request: Message, limits: Limits) -> Mapping[Document, Edit]:
    """Return the edits of a patch request (RFC 6902); none, when it has no operation.

    Raises:
        UsermetaError: PATCH_INVALID, for operations that are malformed, or too many.
    """
    names = _documents_in(cast("Hashable", type(request)))
    given = {document: operations for document in names if (operations := getattr(request, document))}
    count = sum(map(len, given.values()))
    if count > MAX_OPERATIONS:
        text = f"holds {count} operations; at most {MAX_OPERATIONS} are allowed"
        raise invalid(next(iter(given)), text, reason=Reason.PATCH_INVALID)
    return {document: _edit(patch, limits) for document, patch in each_of(_patch, given).items()}


def _patch(field: str, messages: Sequence[PatchOperation]) -> Patch:
    return Patch(field, all_of([partial(_step, each, field, index) for index, each in enumerate(messages)]))


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


def _step(message: PatchOperation, field: str, index: int) -> Step:
    op = _OPS.get(message.op)
    if op is None:
        where = {"field": field, "index": index}
        raise invalid(f"{field}[{index}].op", "is not an operation", reason=Reason.PATCH_INVALID, **where)
    operation = Operation(
        op,
        message.path if message.HasField("path") else None,
        message.from_path if message.HasField("from_path") else None,
        to_json(message.value, f"{field}[{index}].value") if message.HasField("value") else MISSING,
    )
    return step_of(operation, field, index)
