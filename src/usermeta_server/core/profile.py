"""The profile: what a user has that is not a document; the form of each field, and what must be unique."""

import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Final, TypeVar
from urllib.parse import urlsplit

from usermeta_server.errors import invalid, together
from usermeta_server.model import MAX_EXTERNAL_ID, Identifier, IdentifierKind, User
from usermeta_server.store.query import fold

V = TypeVar("V")

ProfileValues = Mapping[str, str | bool]
"""New values of profile fields, by field name."""

MAX_NAME: Final = 256
"""Characters of a name."""
MAX_IMAGE_URL: Final = 2048
"""Bytes of an image's URL."""
MAX_EMAIL_ADDRESS: Final = 254
"""Bytes of an email address (RFC 5321, as corrected by erratum 1690)."""

_USER_ID: Final = re.compile(r"user_[A-Za-z0-9_-]{1,123}", re.ASCII)
_EMAIL_ADDRESS: Final = re.compile(r"[^@\s]+@[^@\s]+")


def _text_flaw(value: str) -> str | None:
    if any(unicodedata.category(character) == "Cc" for character in value):
        return "must not hold control characters"
    return "must not begin or end with a space" if value.strip() != value else None


def _name_flaw(value: str) -> str | None:
    if len(value) > MAX_NAME:
        return f"has {len(value)} characters; {MAX_NAME} are allowed"
    return _text_flaw(value)


def _external_id_flaw(value: str) -> str | None:
    size = len(value.encode())
    if size > MAX_EXTERNAL_ID:
        return f"has {size} bytes; {MAX_EXTERNAL_ID} are allowed"
    return _text_flaw(value)


def _email_address_flaw(value: str) -> str | None:
    size = len(value.encode())
    if size > MAX_EMAIL_ADDRESS:
        return f"has {size} bytes; {MAX_EMAIL_ADDRESS} are allowed"
    return _text_flaw(value) or (None if _EMAIL_ADDRESS.fullmatch(value) else "must be an email address")


def _image_url_flaw(value: str) -> str | None:
    size = len(value.encode())
    if size > MAX_IMAGE_URL:
        return f"has {size} bytes; {MAX_IMAGE_URL} are allowed"
    try:
        parts = urlsplit(value)
    except ValueError:
        return "must be an https URL"
    if parts.scheme != "https" or not parts.hostname or re.search(r"\s", value):
        return "must be an https URL"
    return _text_flaw(value)


_FLAWS: Final[Mapping[str, Callable[[str], str | None]]] = {
    "username": _name_flaw,
    "display_name": _name_flaw,
    "first_name": _name_flaw,
    "last_name": _name_flaw,
    "external_id": _external_id_flaw,
    "email_address": _email_address_flaw,
    "image_url": _image_url_flaw,
}
"""For each text field what is wrong with a value, if anything. An empty value is always right: it unsets the field."""


def flaw(name: str, value: str) -> str | None:
    """Return what is wrong with a value of a text field, None if nothing is."""
    return _FLAWS[name](value) if value else None


def check_profile(values: ProfileValues, prefix: str = "") -> None:
    """Check the form of new values, all at once.

    Args:
        values: the new values.
        prefix: what their fields' paths in the request begin with, say `user.`.

    Raises:
        UsermetaError: FIELD_INVALID, with a violation for each bad field.
    """
    flawed = [
        invalid(f"{prefix}{name}", found)
        for name, value in values.items()
        if isinstance(value, str) and (found := flaw(name, value))
    ]
    if flawed:
        raise together(flawed)


def check_user_id(user_id: str) -> None:
    """Check the form of an id that a caller wants a new user to have.

    Raises:
        UsermetaError: FIELD_INVALID.
    """
    if not _USER_ID.fullmatch(user_id):
        raise invalid("user_id", "must be 'user_' and 1 to 123 letters, digits, '_' or '-'")


def with_verification(address: str, values: Mapping[str, V]) -> Mapping[str, V | bool]:
    """Return new values in which an email address other than the present one is not verified unless they say so."""
    if fold(str(values.get("email_address", address))) == fold(address):
        return values
    return {"email_address_verified": False, **values}


def identifier(kind: IdentifierKind, value: str) -> Identifier:
    """Return an identifier in the form in which it is unique."""
    return Identifier(kind, value if kind is IdentifierKind.EXTERNAL_ID else fold(value))


def identifiers(values: Mapping[str, object]) -> tuple[Identifier, ...]:
    """Return the identifiers among profile values, without those that are unset."""
    return tuple(identifier(kind, str(value)) for kind in IdentifierKind if (value := values.get(kind)))


def identifiers_of(user: User) -> tuple[Identifier, ...]:
    """Return the identifiers that a user has."""
    return identifiers({kind: getattr(user, kind) for kind in IdentifierKind})
