"""The profile: what a user has that is not a document; the form of each field, and what must be unique."""

import re
from collections.abc import Callable, Container, Mapping
from typing import Final
from urllib.parse import urlsplit

from usermeta_server.errors import invalid, together
from usermeta_server.model import MAX_EXTERNAL_ID, Identifier, IdentifierKind, User
from usermeta_server.store.predicates import FOLDS
from usermeta_server.unicode import CONTROLS, HIDDEN, DomainError, a_labels, first_of, fold

ProfileValues = Mapping[str, str | bool]
"""New values of profile fields, by field name."""

MAX_NAME: Final = 256
"""Characters of a name."""
MAX_IMAGE_URL: Final = 2048
"""Bytes of an image's URL."""
MAX_EMAIL_ADDRESS: Final = 254
"""Bytes of an email address (RFC 5321, as corrected by erratum 1690)."""

_USER_ID: Final = re.compile(r"user_[A-Za-z0-9_-]{1,123}", re.ASCII)
_EMAIL_ADDRESS: Final = re.compile(r"([^@\s]+)@([^@\s]+)")
_JOINERS: Final = "\u200c\u200d"
"""What a domain of some scripts needs within a word; IDNA knows where (RFC 5892, appendix A)."""


def _text_flaw(value: str, refused: Container[str] = CONTROLS) -> str | None:
    found = first_of(value, refused)
    if found is not None:
        what = "control characters" if first_of(found, CONTROLS) else "characters that cannot be seen"
        return f"must not hold {what}, such as U+{ord(found):04X}"
    seen = value if value.isascii() else "".join(filter(fold, value))  # without what is ignorable
    return "must not begin or end with a space" if seen.strip() != seen else None


def _username_flaw(value: str) -> str | None:
    return _name_flaw(value, HIDDEN) or (None if fold(value) else "must hold a character that can be seen")


def _name_flaw(value: str, refused: Container[str] = CONTROLS) -> str | None:
    """Return what is wrong with a name; format characters are part of some (joiners, directions)."""
    if len(value) > MAX_NAME:
        return f"has {len(value)} characters; {MAX_NAME} are allowed"
    return _text_flaw(value, refused)


def _external_id_flaw(value: str) -> str | None:
    size = len(value.encode())
    if size > MAX_EXTERNAL_ID:
        return f"has {size} bytes; {MAX_EXTERNAL_ID} are allowed"
    return _text_flaw(value)


def _email_address_flaw(value: str) -> str | None:
    size = len(value.encode())
    if size > MAX_EMAIL_ADDRESS:
        return f"has {size} bytes; {MAX_EMAIL_ADDRESS} are allowed"
    parts = _EMAIL_ADDRESS.fullmatch(value)
    if not parts:
        return _text_flaw(value) or "must be an email address"
    local, domain = parts.groups()
    hidden = _text_flaw(local + domain.translate(dict.fromkeys(map(ord, _JOINERS))), HIDDEN)
    if hidden or not fold(local):
        return hidden or "must hold a character that can be seen before the '@'"
    try:
        a_labels(domain)
    except DomainError as error:
        return f"must have a valid domain: {error}"
    return None


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
    return _text_flaw(value, HIDDEN)


_FLAWS: Final[Mapping[str, Callable[[str], str | None]]] = {
    "username": _username_flaw,
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


def identifier(kind: IdentifierKind, value: str) -> Identifier:
    """Return an identifier in the form in which it is unique."""
    folding = FOLDS.get(kind)
    return Identifier(kind, folding(value) if folding else value)


def identifiers(values: Mapping[str, object]) -> tuple[Identifier, ...]:
    """Return the identifiers among profile values, without those that are unset or have nothing that can be seen."""
    found = (identifier(kind, str(values.get(kind, ""))) for kind in IdentifierKind)
    return tuple(each for each in found if each.key)


def identifiers_of(user: User) -> tuple[Identifier, ...]:
    """Return the identifiers that a user has."""
    return identifiers({kind: getattr(user, kind) for kind in IdentifierKind})
