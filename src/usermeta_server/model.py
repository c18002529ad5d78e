"""The records that the service keeps. All are immutable; a write makes a new one.

They are named tuples because a store's row is one without conversion, and because copying one with
`_replace` costs a microsecond, on a path that runs for every write.
"""

from enum import IntEnum, StrEnum, unique
from typing import Final, NamedTuple

SECOND: Final = 1_000_000
"""Microseconds, the unit of every time here."""
HOUR: Final = 3600 * SECOND
MAX_EXTERNAL_ID: Final = 256
"""Bytes of an external id."""


@unique
class Document(StrEnum):
    """One of a user's three JSON documents; the value is its field's name everywhere."""

    PUBLIC = "public_metadata"
    PRIVATE = "private_metadata"
    UNSAFE = "unsafe_metadata"


@unique
class IdentifierKind(StrEnum):
    """What a user can be found by besides its id; the value is its field's name everywhere."""

    EXTERNAL_ID = "external_id"
    USERNAME = "username"
    EMAIL_ADDRESS = "email_address"


class Identifier(NamedTuple):
    """An identifier in the form in which it is unique (`core.profile.identifier` folds it)."""

    kind: IdentifierKind
    key: str


@unique
class Scope(IntEnum):
    """What a secret key may do. A higher scope includes the lower ones."""

    READ = 1
    WRITE = 2
    ADMIN = 3


class User(NamedTuple):
    """A user. Empty strings are unset; times are microseconds since the Unix epoch; documents are canonical JSON.

    `visible_etag` and `visible_update_time` are what the user themself is shown: they move only when
    something that the user may read does. `create_version` is the version at which the user was made, which tells it
    from another that had the same id; 0 for users from before it was kept, of whom there was one for each id.
    """

    id: str
    version: int
    external_id: str
    username: str
    email_address: str
    email_address_verified: bool
    first_name: str
    last_name: str
    image_url: str
    banned: bool
    public_metadata: str
    private_metadata: str
    unsafe_metadata: str
    public_metadata_etag: str
    private_metadata_etag: str
    unsafe_metadata_etag: str
    etag: str
    visible_etag: str
    create_time: int
    update_time: int
    visible_update_time: int
    create_version: int = 0

    def document(self, document: Document) -> str:
        """Return a document as canonical JSON."""
        text: str = getattr(self, document)
        return text

    def document_etag(self, document: Document) -> str:
        """Return a document's etag."""
        etag: str = getattr(self, f"{document}_etag")
        return etag


@unique
class SignUpStatus(IntEnum):
    """Where a sign-up stands; the values are those of `usermeta.type.v1.SignUpStatus`."""

    MISSING_REQUIREMENTS = 1
    READY = 2
    COMPLETE = 3
    REJECTED = 4
    ABANDONED = 5


@unique
class SignUpState(StrEnum):
    """What is kept of a sign-up's status: the rest follows from the time and from what is missing."""

    OPEN = "open"
    COMPLETE = "complete"
    REJECTED = "rejected"
    ABANDONED = "abandoned"


class SignUp(NamedTuple):
    """A sign-up, as a `User` is kept: empty strings are unset, times microseconds, documents canonical JSON.

    `abandon_time` is when an open one counts as abandoned; `close_time` is 0 until it is closed; `sweep_time` is when
    something is to be done about it without anybody asking: an open one to be closed, a closed one to be deleted.
    These three are the real clock's; the others order.
    """

    id: str
    version: int
    state: SignUpState
    username: str
    email_address: str
    email_address_verified: bool
    first_name: str
    last_name: str
    external_id: str
    public_metadata: str
    private_metadata: str
    unsafe_metadata: str
    etag: str
    visible_etag: str
    created_user_id: str
    abandon_time: int
    create_time: int
    update_time: int
    visible_update_time: int
    close_time: int
    sweep_time: int


class ShownSignUp(NamedTuple):
    """A sign-up with what follows from the settings and the time: its status, and the names of what it must have."""

    record: SignUp
    status: SignUpStatus
    required_fields: tuple[str, ...]
    missing_fields: tuple[str, ...]


@unique
class IndexState(StrEnum):
    """How far an index is: only one that is ready is used."""

    BUILDING = "building"
    READY = "ready"


class MetadataIndex(NamedTuple):
    """An index on a path of a document: the document, then keys. `progress` is the last user that building has done."""

    path: tuple[str, ...]
    id: int
    state: IndexState
    progress: str


class Actor(NamedTuple):
    """Who writes: an audience (`backend`, `frontend`, or `operator` for the command line) and a principal's name."""

    audience: str
    principal: str


@unique
class ChangeKind(IntEnum):
    """What kind of write a change is; the values are those of `usermeta.backend.v1.UserChange.Kind`."""

    CREATED = 1
    SIGN_UP_COMPLETED = 2
    PROFILE_UPDATED = 3
    METADATA_WRITTEN = 4
    BANNED = 5
    UNBANNED = 6
    DELETED = 7


MAKING: Final = frozenset({ChangeKind.CREATED, ChangeKind.SIGN_UP_COMPLETED})
"""The changes with which a user begins."""


class Position(NamedTuple):
    """A place in the log of changes: that of a change.

    `sequence` orders the changes of all users as they were committed; `nonce` (8 random bytes) tells a change from one
    of the same number in another log, as a restored backup has.
    """

    sequence: int
    nonce: bytes


BEGINNING: Final = Position(0, b"")
"""The place before the first change."""


class Change(NamedTuple):
    """What one committed write did to one user.

    `position` is its place in the log, the beginning until it is committed; `id` is the user's version after it, which
    orders the changes of this user; `parts` are the names of what changed. `before` and `after` are None where there is
    no user, and where they are not kept or were erased. `last` is false where the next change is of the same write.
    """

    position: Position
    id: int
    time: int
    user_id: str
    kind: ChangeKind
    actor: Actor
    request_id: str
    parts: tuple[str, ...]
    before: User | None
    after: User | None
    erased: bool
    last: bool = True


class SecretKey(NamedTuple):
    """A secret key as it is kept: the secret only as its SHA-256 digest. A time of 0 is unset."""

    id: str
    display_name: str
    scopes: tuple[Scope, ...]
    digest: bytes
    create_time: int
    expire_time: int
    revoke_time: int

    @property
    def is_lasting_admin(self) -> bool:
        """Whether it may do everything, and will for as long as nobody revokes it."""
        return Scope.ADMIN in self.scopes and not self.revoke_time and not self.expire_time


class SigningKey(NamedTuple):
    """A private key that signs session tokens, as PKCS #8 PEM; the newest one signs, all verify."""

    id: str
    private_pem: str
    create_time: int


class RequestKey(NamedTuple):
    """What a remembered request is found by: ids of different principals never meet."""

    principal: str
    request_id: str


REMEMBERED_FOR: Final = 24 * HOUR
"""How long a request id is remembered, in microseconds."""


class RememberedRequest(NamedTuple):
    """What is kept of a request that succeeded: enough to recognise a replay, and none of its contents.

    `digest` is a keyed hash of the canonical request; `outcome` names what it made or changed; `version` is the last
    one that was given out by then; `user_ids` are the users that it names, with any of which it is forgotten.
    """

    method: str
    digest: bytes
    outcome: str
    expire_time: int
    version: int = 0
    user_ids: tuple[str, ...] = ()
