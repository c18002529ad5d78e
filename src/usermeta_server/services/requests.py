"""What handlers read from requests, checked: each function names the fields that it refuses."""

import re
import uuid
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from functools import cache, partial
from typing import Any, Final, NamedTuple, TypeVar, cast

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from usermeta.type.v1.patch_pb2 import PatchOperation
from usermeta_server.audience import Caller, PrincipalKind
from usermeta_server.core.documents import (
    MAX_OPERATIONS,
    MISSING,
    Json,
    JsonObject,
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
from usermeta_server.core.profile import ProfileValues, check_profile, check_user_id
from usermeta_server.core.query import parse_filter
from usermeta_server.core.tokens import Tokens
from usermeta_server.core.watch import WatchFilter
from usermeta_server.core.writes import Intent
from usermeta_server.errors import Reason, all_of, each_of, invalid, together
from usermeta_server.model import SECOND, Actor, Document
from usermeta_server.services.reading import read, reading
from usermeta_server.services.structs import to_json, to_object

K = TypeVar("K")
T = TypeVar("T")
M = TypeVar("M", bound=Message)

MAX_BATCH: Final = 100
"""How many users one request may name."""
_MAX_ID: Final = 128
DEFAULT_PAGE_SIZE: Final = 50
MAX_PAGE_SIZE: Final = 1000

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)


@reading
def intent_of(request: Any, caller: Caller) -> Intent:  # noqa: ANN401  # any of the many mutating requests
    """Return what makes this request repeatable and triable.

    Raises:
        UsermetaError: FIELD_INVALID, for a request id that is no UUID, or of a caller without a credential.
    """
    actor = Actor(caller.audience, str(caller.principal))
    if not request.request_id:
        return Intent(actor, caller.method, validate_only=request.validate_only)
    if caller.principal.kind is PrincipalKind.ANONYMOUS:
        raise invalid("request_id", "is for callers with a credential")
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


def _required(value: T, field: str) -> T:
    if not value:
        raise invalid(field, "is required")
    return value


@reading
def required(value: str, field: str) -> str:
    """Return a text that must be there.

    Raises:
        UsermetaError: FIELD_INVALID, when it is empty.
    """
    return _required(value, field)


@reading
def change_id_of(change_id: int) -> int:
    """Return the id of a change.

    Raises:
        UsermetaError: FIELD_INVALID, for none.
    """
    return _required(max(change_id, 0), "change_id")


@reading
def new_user_id_of(user_id: str) -> str:
    """Return the id that a new user is to have, empty for one of our making.

    Raises:
        UsermetaError: FIELD_INVALID, for one that no user can have.
    """
    if user_id:
        check_user_id(user_id)
    return user_id


def _batch(items: Sequence[T], field: str, check: Callable[[int, T], object]) -> Sequence[T]:
    """Return the items of a batch, 1 to 100, of which each passes a check."""
    if not 0 < len(items) <= MAX_BATCH:
        raise invalid(field, f"holds {len(items)}; 1 to {MAX_BATCH} are allowed")
    all_of([partial(check, index, item) for index, item in enumerate(items)])
    return items


@reading
def ids_of(user_ids: Sequence[str], field: str) -> Sequence[str]:
    """Return the ids of a batch.

    Raises:
        UsermetaError: FIELD_INVALID, for none, more than 100, or those that no user can have.
    """

    def check(index: int, user_id: str) -> None:
        if len(user_id.encode()) > _MAX_ID:
            raise invalid(f"{field}[{index}]", f"has more than {_MAX_ID} bytes")

    return _batch(user_ids, field, check)


@reading
def items_of(requests: Sequence[M]) -> Sequence[M]:
    """Return the items of a batch of writes, which leave to the batch what is the batch's.

    Raises:
        UsermetaError: FIELD_INVALID, for none, more than 100, or a `request_id` or `validate_only` on an item.
    """

    def check(index: int, item: Any) -> None:  # noqa: ANN401  # any of the many mutating requests
        names = [name for name in ("request_id", "validate_only") if getattr(item, name)]
        if names:
            text = "is for the batch as a whole"
            raise together([invalid(f"requests[{index}].{name}", text) for name in names])

    return _batch(requests, "requests", check)


@reading
def page_size_of(page_size: int) -> int:
    """Return how many a page holds (AIP-158): too many is as many as may be.

    Raises:
        UsermetaError: FIELD_INVALID, for a negative one.
    """
    if page_size < 0:
        raise invalid("page_size", "must not be negative")
    return min(page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)


class Page(NamedTuple):
    """A page that is asked for: how many it holds, and the place after which it begins (None: the beginning)."""

    size: int
    after: Json


@reading
def page_of(request: Any, tokens: Tokens, of_list: str) -> Page:  # noqa: ANN401  # any of the requests for a list
    """Return the page of a list that a request asks for.

    Raises:
        UsermetaError: FIELD_INVALID, for a negative size; PAGE_TOKEN_INVALID, for a token that is not of this list.
    """
    return Page(*read(page_size_of(request.page_size), _place_of(request.page_token, tokens, of_list)))


@reading
def _place_of(token: str, tokens: Tokens, of_list: str) -> Json:
    return tokens.read(of_list, token) if token else None


@reading
def resume_token_of(resume_token: str, *, snapshot: bool) -> str:
    """Return where a watch goes on.

    Raises:
        UsermetaError: FIELD_INVALID, for a token together with a snapshot.
    """
    if resume_token and snapshot:
        raise invalid("include_snapshot", "goes without a resume_token: a snapshot goes on with its own")
    return resume_token


filter_of = reading(parse_filter)
"""Gives what a filter means; refused is FILTER_INVALID."""

watch_filter_of = reading(WatchFilter.of)
"""Gives which users a watch is about; refused is FILTER_INVALID."""


@reading
def time_of(message: Message, field: str) -> int:
    """Return the time in a field, in microseconds since the epoch; 0 when there is none.

    Raises:
        UsermetaError: FIELD_INVALID, for a time that is none, or not after the epoch.
    """
    if not message.HasField(field):
        return 0
    seconds, nanos = getattr(message, field).seconds, getattr(message, field).nanos
    if not 0 < seconds < _YEAR_10000 or not 0 <= nanos < SECOND * 1000:
        raise invalid(field, "must be a time between 1970 and 9999")
    return int(seconds * SECOND + nanos // 1000)


_YEAR_10000: Final = 253_402_300_800


def enum_values(values: Iterable[K], known: Mapping[K, T], field: str, text: str) -> tuple[T, ...]:
    """Return what the values of a repeated enum field stand for.

    Raises:
        UsermetaError: FIELD_INVALID, with `text` for each unknown one.
    """
    values = tuple(values)
    unknown = [invalid(f"{field}[{index}]", text) for index, value in enumerate(values) if value not in known]
    if unknown:
        raise together(unknown)
    return tuple(known[value] for value in values)


def _documents(message: Message, prefix: str = "") -> Mapping[Document, JsonObject]:
    return each_of(lambda document, struct: to_object(struct, f"{prefix}{document}"), _structs(message))


def _structs(message: Message) -> dict[Document, Struct]:
    names = _documents_in(cast("Hashable", type(message)))
    return {document: getattr(message, document) for document in names if message.HasField(document)}


@cache
def _documents_in(message: Any) -> tuple[Document, ...]:  # noqa: ANN401  # the stubs deny that it is hashable
    """Return the documents that a message has fields for."""
    return tuple(each for each in Document if each in message.DESCRIPTOR.fields_by_name)


def _check_representable(message: Message, prefix: str = "") -> None:
    """Refuse what the documents of a message can never hold.

    Such a write fails in any case, within its transaction, where the limits have their place among the checks.
    """

    def check(document: Document, struct: Struct) -> None:
        # What a merge makes of nothing: a key that it removes may be any.
        check_representable(merge_patch({}, to_object(struct, f"{prefix}{document}")), f"{prefix}{document}")

    each_of(check, _structs(message))


documents_of = reading(_documents, also=_check_representable)
"""Gives the documents that are set in a message, whose fields' paths in the request begin with a prefix.

Refused is a Value without a kind, FIELD_INVALID.
"""


def _merges(request: Message) -> Mapping[Document, Edit]:
    return _edits(_documents(request), lambda patch: lambda before: merge_patch(before, patch))


merges_of = reading(_merges, also=_check_representable)
"""Gives the edits of a merge request (RFC 7396); refused is one without a document, or with a Value without a kind."""


def _replacements(request: Message) -> Mapping[Document, Edit]:
    return _edits(_documents(request), lambda new: lambda _: new)


replacements_of = reading(_replacements, also=_check_representable)
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


@reading
def profile_of(user: Message, fields: Collection[str]) -> ProfileValues:
    """Return the profile fields that are populated in a `user`, of those that may be written.

    Raises:
        UsermetaError: FIELD_INVALID, for malformed ones.
    """
    return _populated(user, fields, "user.")


def _populated(message: Message, fields: Collection[str], prefix: str) -> ProfileValues:
    values = {field.name: value for field, value in message.ListFields() if field.name in fields}
    check_profile(values, prefix)
    return values


def _masked(message: Message, fields: Collection[str], prefix: str) -> ProfileValues:
    values = {name: getattr(message, name) for name in sorted(fields)}
    check_profile(values, prefix)
    return values


def _sign_up_update(
    sign_up: Message, mask: FieldMask, fields: Collection[str], documents: Collection[Document]
) -> tuple[ProfileValues, Mapping[Document, JsonObject]]:
    """Return what an update of a sign-up changes (AIP-134): profile fields, and documents, replaced whole.

    Args:
        sign_up: the new values.
        mask: which to take; without one those that are populated, for `*` all.
        fields: the profile fields that the caller may write.
        documents: the documents that the caller may write.

    Raises:
        UsermetaError: FIELD_INVALID, for a mask that an update does not change, or malformed values.
    """
    masked, given, values = read(
        masked_of(mask, frozenset({*fields, *documents})),
        documents_of(sign_up, "sign_up."),
        _values_of(sign_up, mask, frozenset(fields), "sign_up."),
    )
    return values, given if masked is None else {each: given.get(each, {}) for each in documents if each in masked}


def _check_sign_up(sign_up: Message, *_: object) -> None:
    _check_representable(sign_up, "sign_up.")


sign_up_update_of = reading(_sign_up_update, also=_check_sign_up)
"""Gives what an update of a sign-up changes; see `_sign_up_update`."""


@reading
def _values_of(message: Message, mask: FieldMask, fields: frozenset[str], prefix: str) -> ProfileValues:
    """Return the new values of profile fields: those that a mask names, all for `*`, the populated ones without one."""
    if not mask.paths:
        return _populated(message, fields, prefix)
    return _masked(message, fields if "*" in mask.paths else fields.intersection(mask.paths), prefix)


@reading
def masked_of(mask: FieldMask, allowed: frozenset[str]) -> frozenset[str] | None:
    """Return the fields that an update mask names, all for `*`, None when there is no mask.

    Raises:
        UsermetaError: FIELD_INVALID, for each path that an update does not change.
    """
    if unknown := _unknown(mask, allowed):
        text = f"cannot be updated; these can: {', '.join(sorted(allowed))}"
        raise together([invalid("update_mask", f"'{path}' {text}") for path in unknown])
    if not mask.paths:
        return None
    return allowed if "*" in mask.paths else frozenset(mask.paths)


def _unknown(mask: FieldMask, known: Collection[str]) -> list[str]:
    return [path for path in mask.paths if path not in known and path != "*"]


@reading
def update_of(user: Message, mask: FieldMask, fields: frozenset[str]) -> ProfileValues:
    """Return what an update changes (AIP-134): the masked fields, all for `*`, the populated ones without a mask.

    Output-only fields of the user are ignored (AIP-203), documents are not: they have methods of their own.

    Raises:
        UsermetaError: FIELD_INVALID, for a mask or a document that an update does not change, or malformed values.
    """
    _, _, values = read(masked_of(mask, fields), _no_documents_of(user, mask), _values_of(user, mask, fields, "user."))
    return values


@reading
def _no_documents_of(user: Message, mask: FieldMask) -> None:
    text = "is changed by the metadata methods, not by UpdateUser"
    given = [invalid(f"user.{document}", text) for document in _structs(user) if not mask.paths]
    if given:
        raise together(given)


@reading
def read_mask_of(mask: FieldMask, message: type[Message]) -> frozenset[str] | None:
    """Return the fields that a read mask names, None for all (AIP-157).

    Raises:
        UsermetaError: FIELD_INVALID, for each path that is no top-level field.
    """
    if unknown := _unknown(mask, message.DESCRIPTOR.fields_by_name):
        text = "is not a top-level field of the user"
        raise together([invalid("read_mask", f"'{path}' {text}") for path in unknown])
    return None if not mask.paths or "*" in mask.paths else frozenset(mask.paths)
