"""The policy: who may call what, and who may read and write which part of a user.

Three tables and nothing else decide. What no table lists is refused. Only this module makes a `View`
(without which no reply about a user can be built) and a `WriteGrant` (without which no document can be written).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from enum import Enum, Flag, StrEnum, unique
from operator import attrgetter
from typing import Any, Final, NamedTuple, final

from usermeta_server.caller import Audience, Caller, Principal, PrincipalKind
from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.model import Document, Scope, ShownSignUp, SignUp, User


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


@unique
class ProfileAudience(StrEnum):
    """Whom the frontend shows profiles to: the operator's setting."""

    ANYONE = "anyone"
    SIGNED_IN = "signed_in"
    OFF = "off"


_RW = Access.READ | Access.WRITE

DOCUMENTS: Final[Mapping[Viewer, Mapping[Document, Access]]] = {
    Viewer.BACKEND: {Document.PRIVATE: _RW, Document.PUBLIC: _RW, Document.UNSAFE: _RW},
    Viewer.SELF: {Document.PRIVATE: Access.NONE, Document.PUBLIC: Access.READ, Document.UNSAFE: _RW},
    Viewer.ANYONE: {Document.PRIVATE: Access.NONE, Document.PUBLIC: Access.READ, Document.UNSAFE: Access.NONE},
}
"""The table of the three documents."""

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
    viewer: frozenset(
        {*FIELDS[viewer], *(document for document, access in DOCUMENTS[viewer].items() if Access.READ in access)}
    )
    for viewer in Viewer
}
"""For each viewer the names of all it may read, documents too."""

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
    viewer: frozenset(
        {
            *SIGN_UP_FIELDS[viewer],
            *(document for document, access in SIGN_UP_DOCUMENTS[viewer].items() if Access.READ in access),
        }
    )
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

WRITABLE_FIELDS: Final[Mapping[Viewer, frozenset[str]]] = {
    Viewer.BACKEND: frozenset(
        {*_ANYONE_FIELDS, "email_address", "email_address_verified", "external_id", "banned"},
    ),
    Viewer.SELF: frozenset(_ANYONE_FIELDS),
    Viewer.ANYONE: frozenset(),
}
"""What is not a document: for each viewer, the fields that it may write."""


@unique
class Traffic(StrEnum):
    """What kind of work a method is, by which limits tell calls apart."""

    READS = "reads"
    WRITES = "writes"
    STREAMS = "streams"


class MethodRule(NamedTuple):
    """Who may call a method: kinds of principal, and the scope that one of a backend needs; and what work it is."""

    audience: Audience
    principals: frozenset[PrincipalKind]
    scope: Scope | None = None
    traffic: Traffic = Traffic.WRITES


_VERBS: Final = {
    **dict.fromkeys(("Get", "BatchGet", "List", "Count"), Traffic.READS),
    "Watch": Traffic.STREAMS,
}
"""By which verb the name of a method begins (AIP-131, AIP-132, AIP-231) that does not write."""


_BACKEND_METHODS: Final[Mapping[str, Scope]] = {
    "CreateUser": Scope.WRITE,
    "GetUser": Scope.READ,
    "BatchGetUsers": Scope.READ,
    "UpdateUser": Scope.WRITE,
    "DeleteUser": Scope.WRITE,
    "MergeUserMetadata": Scope.WRITE,
    "ReplaceUserMetadata": Scope.WRITE,
    "PatchUserMetadata": Scope.WRITE,
    "BatchMergeUserMetadata": Scope.WRITE,
    "GetSignUp": Scope.READ,
    "ListSignUps": Scope.READ,
    "UpdateSignUp": Scope.WRITE,
    "CompleteSignUp": Scope.WRITE,
    "RejectSignUp": Scope.WRITE,
    "ListUsers": Scope.READ,
    "CountUsers": Scope.READ,
    "CreateMetadataIndex": Scope.ADMIN,
    "ListMetadataIndexes": Scope.ADMIN,
    "DeleteMetadataIndex": Scope.ADMIN,
    "ListUserChanges": Scope.READ,
    "RestoreUserMetadata": Scope.WRITE,
    "WatchUsers": Scope.READ,
    "CreateSessionToken": Scope.WRITE,
    "CreateSecretKey": Scope.ADMIN,
    "ListSecretKeys": Scope.ADMIN,
    "RevokeSecretKey": Scope.ADMIN,
}
_BACKEND: Final = frozenset({PrincipalKind.SECRET_KEY, PrincipalKind.OPERATOR})
_USER: Final = frozenset({PrincipalKind.USER, PrincipalKind.IDENTITY})
_HOLDER: Final = frozenset({PrincipalKind.SIGN_UP})
_FRONTEND_METHODS: Final[Mapping[str, frozenset[PrincipalKind]]] = {
    "CreateSignUp": frozenset({PrincipalKind.ANONYMOUS, PrincipalKind.IDENTITY}),
    "GetSignUp": _HOLDER,
    "UpdateSignUp": _HOLDER,
    "CompleteSignUp": _HOLDER,
    "GetUser": _USER,
    "WatchUser": _USER,
    "UpdateUser": _USER,
    "MergeUserMetadata": _USER,
    "ReplaceUserMetadata": _USER,
    "PatchUserMetadata": _USER,
}
_PROFILE_METHODS: Final = ("GetProfile", "BatchGetProfiles")
_PROFILE_PRINCIPALS: Final[Mapping[ProfileAudience, frozenset[PrincipalKind]]] = {
    ProfileAudience.ANYONE: _USER | {PrincipalKind.ANONYMOUS},
    ProfileAudience.SIGNED_IN: _USER,
    ProfileAudience.OFF: frozenset(),
}


def method_rules(profiles: ProfileAudience) -> Mapping[str, MethodRule]:
    """Return the rule of every method, by its full path (`/package.Service/Method`)."""
    backend = "/usermeta.backend.v1.BackendService/"
    frontend = "/usermeta.frontend.v1.FrontendService/"
    rules = {backend + name: MethodRule(Audience.BACKEND, _BACKEND, scope) for name, scope in _BACKEND_METHODS.items()}
    for name, principals in _FRONTEND_METHODS.items():
        rules[frontend + name] = MethodRule(Audience.FRONTEND, principals)
    for name in _PROFILE_METHODS:
        rules[frontend + name] = MethodRule(Audience.FRONTEND, _PROFILE_PRINCIPALS[profiles])
    return {path: rule._replace(traffic=_traffic_of(path.rpartition("/")[2])) for path, rule in rules.items()}


def _traffic_of(name: str) -> Traffic:
    return next((traffic for verb, traffic in _VERBS.items() if name.startswith(verb)), Traffic.WRITES)


def authorize(rule: MethodRule, principal: Principal) -> None:
    """Check that a principal may call a method at all.

    Raises:
        UsermetaError: ACCESS_DENIED, when nobody may; CREDENTIAL_MISSING; CREDENTIAL_INVALID, for a credential
            of the wrong kind; SCOPE_INSUFFICIENT.
    """
    if principal.kind not in rule.principals:
        if not rule.principals:
            raise UsermetaError(Reason.ACCESS_DENIED)
        anonymous = principal.kind is PrincipalKind.ANONYMOUS
        raise UsermetaError(Reason.CREDENTIAL_MISSING if anonymous else Reason.CREDENTIAL_INVALID)
    if rule.scope is not None and (principal.scope is None or principal.scope < rule.scope):
        raise UsermetaError(Reason.SCOPE_INSUFFICIENT, metadata={"required_scope": rule.scope.name.lower()})


class _Seal(Enum):
    """What proves that a view or a grant was made here."""

    POLICY = "policy"


@final
class View:
    """What one viewer may read of one user or sign-up, by field name. Documents are canonical JSON."""

    __slots__ = ("_readers", "_record", "viewer")

    def __init__(
        self, seal: _Seal, viewer: Viewer, readers: Mapping[str, Callable[[Any], object]], record: object
    ) -> None:
        """Make a view of a record through a viewer's table; only the policy holds the seal."""
        _check_seal(seal)
        self.viewer = viewer
        self._readers = readers
        self._record = record

    def read(self, name: str) -> Any:  # noqa: ANN401  # of each field's own type
        """Return a field.

        Raises:
            KeyError: the viewer may not read it.
        """
        return self._readers[name](self._record)

    def read_all(self, names: Sequence[str]) -> list[object]:
        """Return fields, in the order of their names; raises as `read` does."""
        readers, record = self._readers, self._record
        return [readers[name](record) for name in names]

    @property
    def fields(self) -> Mapping[str, object]:
        """All that the viewer may read."""
        return {name: read(self._record) for name, read in self._readers.items()}


@final
class WriteGrant:
    """The policy's word that a caller may write these documents of this user."""

    __slots__ = ("documents", "user_id", "viewer")

    def __init__(self, seal: _Seal, viewer: Viewer, user_id: str, documents: frozenset[Document]) -> None:
        """Make a grant; only the policy holds the seal."""
        _check_seal(seal)
        self.viewer = viewer
        self.user_id = user_id
        self.documents = documents


def _check_seal(seal: object) -> None:
    if seal is not _Seal.POLICY:
        raise UsermetaError(Reason.ACCESS_DENIED)


def viewer_of(caller: Caller, user_id: str) -> Viewer:
    """Return in what relation a caller stands to a user."""
    if caller.audience is Audience.BACKEND:
        return Viewer.BACKEND
    return Viewer.SELF if user_id and caller.principal.user_id == user_id else Viewer.ANYONE


def sign_up_viewer_of(caller: Caller, sign_up_id: str) -> Viewer:
    """Return in what relation a caller stands to a sign-up."""
    if caller.audience is Audience.BACKEND:
        return Viewer.BACKEND
    holds = caller.principal.kind is PrincipalKind.SIGN_UP and caller.principal.id == sign_up_id
    return Viewer.SELF if holds else Viewer.ANYONE


def admit(caller: Caller, user: User | None) -> User:
    """Return the user that a call is about, if the caller may go on: a session acts as its user, or not at all.

    Raises:
        UsermetaError: USER_NOT_FOUND; also for the session of another, who had the id before, and for an outside
            identity that is the user's no more; USER_BANNED, when the user's own session calls.
    """
    if user is None:
        raise UsermetaError(Reason.USER_NOT_FOUND)
    if viewer_of(caller, user.id) is Viewer.SELF:
        principal = caller.principal
        if principal.kind is PrincipalKind.USER and not _is_session_of(principal, user):
            raise UsermetaError(Reason.USER_NOT_FOUND)
        if principal.identity and principal.identity.external_id != user.external_id:
            raise UsermetaError(Reason.USER_NOT_FOUND)
        if user.banned:
            raise UsermetaError(Reason.USER_BANNED)
    return user


def _is_session_of(principal: Principal, user: User) -> bool:
    """Tell whether a session began as this user's, not as that of another who had the same id."""
    if principal.create_version is None:  # from before sessions said it
        return principal.issue_time >= user.create_time
    return principal.create_version == user.create_version


def _readable(documents: Mapping[Document, Access]) -> tuple[Document, ...]:
    return tuple(document for document, access in documents.items() if Access.READ in access)


_WRITABLE: Final[Mapping[Viewer, frozenset[Document]]] = {
    viewer: frozenset(document for document, access in documents.items() if Access.WRITE in access)
    for viewer, documents in DOCUMENTS.items()
}


def _etags_reader(documents: tuple[Document, ...]) -> Callable[[User], Mapping[Document, str]]:
    readers = {document: attrgetter(f"{document}_etag") for document in documents}
    return lambda user: {document: read(user) for document, read in readers.items()}


def _user_readers(viewer: Viewer) -> Mapping[str, Callable[[User], object]]:
    documents = _readable(DOCUMENTS[viewer])
    readers: dict[str, Callable[[User], object]] = {
        **FIELDS[viewer],
        **{document: attrgetter(document) for document in documents},
    }
    if viewer is not Viewer.ANYONE:
        readers["metadata_etags"] = _etags_reader(documents)
    return readers


_USER_READERS: Final = {viewer: _user_readers(viewer) for viewer in Viewer}
_SIGN_UP_READERS: Final[Mapping[Viewer, Mapping[str, Callable[[ShownSignUp], object]]]] = {
    viewer: {
        **SIGN_UP_FIELDS[viewer],
        **{document: attrgetter(f"record.{document}") for document in _readable(SIGN_UP_DOCUMENTS[viewer])},
    }
    for viewer in Viewer
}


def _view(viewer: Viewer, user: User) -> View:
    return View(_Seal.POLICY, viewer, _USER_READERS[viewer], user)


def view(caller: Caller, user: User) -> View:
    """Return what a caller may read of a user."""
    return _view(viewer_of(caller, user.id), user)


def profile(user: User) -> View:
    """Return what anyone may read of a user."""
    return _view(Viewer.ANYONE, user)


def sign_up_documents(viewer: Viewer) -> tuple[Document, ...]:
    """Return the documents of a sign-up that a viewer may write."""
    return tuple(each for each, access in SIGN_UP_DOCUMENTS[viewer].items() if Access.WRITE in access)


def sign_up_view(caller: Caller, sign_up: ShownSignUp) -> View:
    """Return what a caller may read of a sign-up; who has just made one holds it."""
    viewer = Viewer.BACKEND if caller.audience is Audience.BACKEND else Viewer.SELF
    return View(_Seal.POLICY, viewer, _SIGN_UP_READERS[viewer], sign_up)


def created_user_view(caller: Caller, sign_up: SignUp, user: User) -> View:
    """Return what a caller may read of the user that a sign-up became: the holder of its token is that person.

    Raises:
        UsermetaError: ACCESS_DENIED, when the user is another, or the caller holds another token.
    """
    if sign_up_viewer_of(caller, sign_up.id) is not Viewer.SELF or sign_up.created_user_id != user.id:
        raise UsermetaError(Reason.ACCESS_DENIED)
    return _view(Viewer.SELF, user)


def grant_write(caller: Caller, user_id: str, documents: Collection[Document]) -> WriteGrant:
    """Allow a caller to write documents of a user.

    Raises:
        UsermetaError: ACCESS_DENIED, when the table does not let this caller write every one of them.
    """
    viewer = viewer_of(caller, user_id)
    if not _WRITABLE[viewer].issuperset(documents):
        raise UsermetaError(Reason.ACCESS_DENIED)
    return WriteGrant(_Seal.POLICY, viewer, user_id, frozenset(documents))
