"""The tables: which parts of users and sign-ups each viewer may read and write. What no table lists is refused."""

from collections.abc import Callable, Mapping
from enum import Flag, StrEnum, unique
from operator import attrgetter
from typing import Final

from usermeta_server.model import Document, ShownSignUp, User


@unique
class Viewer(StrEnum):
    """In what relation a caller stands to the user that a call is about."""

    BACKEND = "backend"
    SELF = "frontend, the user themself"
    ANYONE = "frontend, anyone else or signed out"


class Access(Flag):
    """What a viewer may do with a document."""

    NONE = 0
    READ = 1
    WRITE = 2


_RW = Access.READ | Access.WRITE

DOCUMENTS: Final[Mapping[Viewer, Mapping[Document, Access]]] = {
    Viewer.BACKEND: {Document.PRIVATE: _RW, Document.PUBLIC: _RW, Document.UNSAFE: _RW},
    Viewer.SELF: {Document.PRIVATE: Access.NONE, Document.PUBLIC: Access.READ, Document.UNSAFE: _RW},
    Viewer.ANYONE: {Document.PRIVATE: Access.NONE, Document.PUBLIC: Access.READ, Document.UNSAFE: Access.NONE},
}
"""The table of the three documents."""


def documents_with(access: Access, documents: Mapping[Document, Access]) -> tuple[Document, ...]:
    """Return the documents of a row that allow an access."""
    return tuple(document for document, allowed in documents.items() if access in allowed)


PRIVATE_DOCUMENTS: Final = tuple(
    document
    for document in Document
    if not any(Access.READ in DOCUMENTS[viewer][document] for viewer in (Viewer.SELF, Viewer.ANYONE))
)
"""The documents that no frontend reads."""

_ANYONE_FIELDS: Final = ("username", "first_name", "last_name", "image_url")
_SELF_FIELDS: Final = ("id", *_ANYONE_FIELDS, "email_address", "email_address_verified", "create_time")
_BACKEND_FIELDS: Final = (*_SELF_FIELDS, "external_id", "banned", "etag", "update_time")

FIELDS: Final[Mapping[Viewer, Mapping[str, Callable[[User], object]]]] = {
    Viewer.BACKEND: {name: attrgetter(name) for name in _BACKEND_FIELDS},
    Viewer.SELF: {
        **{name: attrgetter(name) for name in _SELF_FIELDS},
        "etag": attrgetter("visible_etag"),
        "update_time": attrgetter("visible_update_time"),
    },
    Viewer.ANYONE: {**{name: attrgetter(name) for name in _ANYONE_FIELDS}, "user_id": attrgetter("id")},
}
"""What is not a document: for each viewer, the fields it may read and where each comes from."""

VISIBLE: Final[Mapping[Viewer, frozenset[str]]] = {
    viewer: frozenset({*FIELDS[viewer], *documents_with(Access.READ, DOCUMENTS[viewer])}) for viewer in Viewer
}
"""For each viewer the names of all it may read, documents too."""

WRITABLE_FIELDS: Final[Mapping[Viewer, frozenset[str]]] = {
    Viewer.BACKEND: frozenset(
        {*_ANYONE_FIELDS, "email_address", "email_address_verified", "external_id", "banned"},
    ),
    Viewer.SELF: frozenset(_ANYONE_FIELDS),
    Viewer.ANYONE: frozenset(),
}
"""What is not a document: for each viewer, the fields that it may write."""

WRITABLE: Final[Mapping[Viewer, frozenset[str]]] = {
    viewer: WRITABLE_FIELDS[viewer].union(documents_with(Access.WRITE, DOCUMENTS[viewer])) for viewer in Viewer
}
"""For each viewer the names of all it may write, documents too."""

SIGN_UP_DOCUMENTS: Final[Mapping[Viewer, Mapping[Document, Access]]] = {
    Viewer.BACKEND: DOCUMENTS[Viewer.BACKEND],
    Viewer.SELF: {Document.PRIVATE: Access.NONE, Document.PUBLIC: Access.NONE, Document.UNSAFE: _RW},
    Viewer.ANYONE: dict.fromkeys(Document, Access.NONE),
}
"""The table of a sign-up's documents; SELF is who holds its token."""

_HOLDER_FIELDS: Final = (
    "id",
    "username",
    "email_address",
    "first_name",
    "last_name",
    "created_user_id",
    "abandon_time",
    "create_time",
)
_SHOWN: Final = ("status", "required_fields", "missing_fields")

SIGN_UP_FIELDS: Final[Mapping[Viewer, Mapping[str, Callable[[ShownSignUp], object]]]] = {
    Viewer.BACKEND: {
        **{name: attrgetter(name) for name in _SHOWN},
        **{name: attrgetter(f"record.{name}") for name in _HOLDER_FIELDS},
        **{
            name: attrgetter(f"record.{name}")
            for name in ("external_id", "email_address_verified", "etag", "update_time")
        },
    },
    Viewer.SELF: {
        **{name: attrgetter(name) for name in _SHOWN},
        **{name: attrgetter(f"record.{name}") for name in _HOLDER_FIELDS},
        "etag": attrgetter("record.visible_etag"),
        "update_time": attrgetter("record.visible_update_time"),
    },
    Viewer.ANYONE: {},
}
"""What of a sign-up is not a document: for each viewer, the fields it may read and where each comes from."""

SIGN_UP_VISIBLE: Final[Mapping[Viewer, frozenset[str]]] = {
    viewer: frozenset({*SIGN_UP_FIELDS[viewer], *documents_with(Access.READ, SIGN_UP_DOCUMENTS[viewer])})
    for viewer in Viewer
}
"""For each viewer the names of all it may read of a sign-up, documents too."""

_HOLDER_WRITES: Final = frozenset({"username", "email_address", "first_name", "last_name"})

SIGN_UP_WRITABLE_FIELDS: Final[Mapping[Viewer, frozenset[str]]] = {
    Viewer.BACKEND: _HOLDER_WRITES | {"external_id", "email_address_verified"},
    Viewer.SELF: _HOLDER_WRITES,
    Viewer.ANYONE: frozenset(),
}
"""What of a sign-up is not a document: for each viewer, the fields that it may write."""

SIGN_UP_WRITABLE: Final[Mapping[Viewer, frozenset[str]]] = {
    viewer: SIGN_UP_WRITABLE_FIELDS[viewer].union(documents_with(Access.WRITE, SIGN_UP_DOCUMENTS[viewer]))
    for viewer in Viewer
}
"""For each viewer the names of all it may write of a sign-up, documents too."""


def sign_up_documents(viewer: Viewer) -> tuple[Document, ...]:
    """Return the documents of a sign-up that a viewer may write."""
    return documents_with(Access.WRITE, SIGN_UP_DOCUMENTS[viewer])


COPIED: Final = (
    "username",
    "email_address",
    "email_address_verified",
    "first_name",
    "last_name",
    "external_id",
    *Document,
)
"""What a user has of the sign-up that it was: all that both have, but what is about the record itself."""
