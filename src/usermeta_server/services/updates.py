"""What a request changes of a profile or a sign-up (AIP-134), and which fields it asks for (AIP-157).

Each function gives the reading of it, and names the fields that it refuses.
"""

from collections.abc import Collection, Mapping
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from usermeta_server.core.profile import ProfileValues, check_profile
from usermeta_server.errors import invalid, together
from usermeta_server.model import Document
from usermeta_server.services.edits import check_documents, documents_of, structs_of
from usermeta_server.services.messages import ReadMask
from usermeta_server.services.reading import read, reading
from usermeta_server.values import JsonObject


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
    check_documents(sign_up, "sign_up.")


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
    given = [invalid(f"user.{document}", text) for document in structs_of(user) if not mask.paths]
    if given:
        raise together(given)


@reading
def read_mask_of(request: Any, message: type[Message]) -> ReadMask:  # noqa: ANN401  # any request with a read_mask
    """Return the fields that a request asks for of each `message`.

    Raises:
        UsermetaError: FIELD_INVALID, for each path that is no top-level field.
    """
    if not request.HasField("read_mask"):
        return None
    mask = request.read_mask
    if unknown := _unknown(mask, message.DESCRIPTOR.fields_by_name):
        text = "is not a top-level field of the user"
        raise together([invalid("read_mask", f"'{path}' {text}") for path in unknown])
    return None if not mask.paths or "*" in mask.paths else frozenset(mask.paths)
