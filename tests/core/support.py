"""What the tests of the use cases share: the use cases without a service, callers, and how errors are read."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

import pytest

from tests.support import BACKEND_CALLER, Clock
from usermeta_server import policy
from usermeta_server.app import App
from usermeta_server.caller import Audience, Caller, Identity, Principal, PrincipalKind
from usermeta_server.core.documents import load, merge_patch
from usermeta_server.core.metadata import Edit, MetadataWrite
from usermeta_server.core.profile import identifier
from usermeta_server.core.sign_ups import NewSignUp
from usermeta_server.core.user_refs import Subject, UserRef
from usermeta_server.core.writes import Intent, Writes
from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.model import Actor, Document, Identifier, IdentifierKind, Scope, User
from usermeta_server.store.condition import Condition
from usermeta_server.store.contract import Mutation, Reads, Writer
from usermeta_server.values import JsonObject

T = TypeVar("T")

INTENT: Final = Intent(Actor("backend", "test"), "test")
TRIAL: Final = INTENT._replace(validate_only=True)
NOBODY: Final = Caller(Audience.FRONTEND, "test", Principal(PrincipalKind.ANONYMOUS))
OPERATOR: Final = BACKEND_CALLER.principal


def asked(request_id: str, canonical: bytes = b"", principal: str = "test") -> Intent:
    """Return the intent of a request that has an id."""
    return Intent(Actor("backend", principal), "test", request_id, canonical)


def frontend(kind: PrincipalKind, **about: Any) -> Caller:  # noqa: ANN401  # any field of a principal
    """Return somebody who calls from a frontend."""
    return Caller(Audience.FRONTEND, "test", Principal(kind, **about))


def session_of(user: User) -> Caller:
    """Return a user who calls with a session of ours."""
    return frontend(PrincipalKind.USER, id=user.id, user_id=user.id, create_version=user.create_version)


def holder_of(sign_up_id: str) -> Caller:
    """Return who holds a sign-up."""
    return frontend(PrincipalKind.SIGN_UP, id=sign_up_id)


def newcomer(external_id: str, email_address: str = "", *, verified: bool = False) -> Caller:
    """Return somebody whom an outside issuer vouches for and who is no user."""
    identity = Identity("idp", external_id, external_id, email_address, verified, 1 << 60)
    return frontend(PrincipalKind.IDENTITY, id=external_id, identity=identity)


def named(kind: IdentifierKind, value: str) -> Identifier:
    """Return an identifier as a request names a user by it."""
    return identifier(kind, value)


def username(value: str) -> Identifier:
    """Return a username as a request names a user by it."""
    return identifier(IdentifierKind.USERNAME, value)


def merging(patch: JsonObject) -> Edit:
    """Return the edit of a merge."""
    return lambda before: merge_patch(before, patch)


def writing(
    user_id: str,
    edits: Mapping[Document, Edit],
    etags: Mapping[Document, str] | None = None,
    caller: Caller | None = None,
) -> MetadataWrite:
    """Return a write of documents of a user, by a backend unless somebody else calls."""
    by = caller or BACKEND_CALLER
    return MetadataWrite(by, policy.grant_write(by, user_id, edits), edits, etags or {})


def found(subject: Subject, edits: Mapping[Document, Edit]) -> MetadataWrite:
    """Return a backend's write of documents of a user that was looked up."""
    return writing(subject.user_id, edits)._replace(found_by=subject.found_by)


async def refusal(call: Awaitable[object], reason: Reason) -> UsermetaError:
    """Await a call that must be refused for a reason, and return its error."""
    with pytest.raises(UsermetaError) as caught:
        await call
    assert caught.value.reason is reason
    return caught.value


class Meanwhile:
    """A store in which somebody else writes between what a use case looks up and its own write, once."""

    def __init__(self, store: Writer, first: Callable[[], Awaitable[object]]) -> None:
        """Do this before the first write."""
        self._store = store
        self._before = [first]

    @property
    def condition(self) -> Condition:
        """See `Writer`."""
        return self._store.condition

    async def write(self, reads: Reads, mutation: Mutation[T], *, dry_run: bool = False) -> T:
        """See `Writer`."""
        while self._before:
            await self._before.pop()()
        return await self._store.write(reads, mutation, dry_run=dry_run)


class Core:
    """The use cases on a store in memory whose clock the test turns."""

    def __init__(self, app: App, clock: Clock) -> None:
        """Put the parts together; the fixture makes them."""
        self.app = app
        self.clock = clock
        self.store = app.store
        self.users, self.metadata, self.sign_ups = app.use_cases[:3]
        self.sessions, self.keys = app.use_cases.sessions, app.use_cases.secret_keys
        self.search, self.history = app.use_cases.search, app.use_cases.history

    def racing(self, first: Callable[[], Awaitable[object]]) -> Writes:
        """Return writes before the first of which somebody else writes."""
        return Writes(Meanwhile(self.store, first), b"key")

    async def user(self, user_id: str = "", intent: Intent = INTENT, /, **given: str | bool | JsonObject) -> User:
        """Make a user with these fields; an object stands for a document."""
        values = {name: value for name, value in given.items() if not isinstance(value, dict)}
        documents = {Document(name): value for name, value in given.items() if isinstance(value, dict)}
        return await self.users.create(BACKEND_CALLER, (values, documents), user_id, intent)

    async def update(self, user_id: str, etag: str = "", intent: Intent = INTENT, /, **values: str | bool) -> User:
        """Change fields of a user, as a backend does."""
        return await self.users.update(BACKEND_CALLER, user_id, values, etag, intent)

    async def write(self, user: User, intent: Intent = INTENT, /, **patches: JsonObject) -> User:
        """Merge patches into documents of a user, as a backend does."""
        edits = {Document(name): merging(patch) for name, patch in patches.items()}
        return await self.metadata.write(writing(user.id, edits), intent)

    async def sign_up(self, intent: Intent = INTENT, /, **values: str) -> NewSignUp:
        """Begin a sign-up, as anybody may."""
        return await self.sign_ups.create(NOBODY, values, {}, intent)

    async def now(self, user: User) -> User:
        """Return a user as it is by now."""
        return await self.users.get(BACKEND_CALLER, user.id)

    async def key(self, scope: Scope = Scope.ADMIN, expire_time: int = 0, intent: Intent = INTENT) -> str:
        """Make a secret key and return its id."""
        return (await self.keys.create(OPERATOR, "a key", (scope,), expire_time, intent)).key.id

    async def has(self, ref: UserRef) -> bool:
        """Tell whether there is such a user."""
        return await (self.store.user(ref) if isinstance(ref, str) else self.store.user_by(ref)) is not None


def document(user: User, name: Document = Document.PUBLIC) -> JsonObject:
    """Return a document of a user."""
    return load(user.document(name))
