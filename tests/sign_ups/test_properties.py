"""Random sequences of calls about sign-ups, against a model: no call ever changes the documents of a user."""

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from uuid import uuid4

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.store.sqlite import engine_of
from tests.support import settings
from usermeta_server import policy
from usermeta_server.app import App, open_app
from usermeta_server.caller import ANONYMOUS, Audience, Caller, Identity, Principal, PrincipalKind
from usermeta_server.core.documents import load
from usermeta_server.core.metadata import MetadataWrite
from usermeta_server.core.sign_ups import Completion
from usermeta_server.core.writes import Intent
from usermeta_server.errors import UsermetaError
from usermeta_server.model import Actor, Document, Scope, ShownSignUp, User
from usermeta_server.values import JsonObject

BACKEND: Final = Caller(Audience.BACKEND, "any", Principal(PrincipalKind.SECRET_KEY, "key", scope=Scope.WRITE))

addresses = st.sampled_from(["", "a@x", "A@X", "b@x"])
identities = st.sampled_from(["", "idp|a", "idp|b"])
documents = st.dictionaries(st.sampled_from(["k", "l"]), st.integers(0, 3) | st.none() | st.booleans(), max_size=2)
which = st.integers(0, 5)
sides = st.booleans()


def intent_of(who: object, method: str, request_id: str = "", canonical: bytes = b"") -> Intent:
    """Return the intent of a call by somebody."""
    return Intent(Actor("test", str(who)), method, request_id, canonical)


def _identity(external_id: str) -> Identity:
    return Identity("i", external_id, external_id, "", email_address_verified=False, expire_time=1 << 60)


@dataclass
class Person:
    """What the model knows of a user."""

    address: str
    external_id: str
    documents: dict[Document, JsonObject]


@dataclass
class Attempt:
    """What the model knows of a sign-up; `fresh` until a day has passed."""

    id: str
    address: str
    external_id: str
    documents: dict[Document, JsonObject] = field(default_factory=lambda: {each: {} for each in Document})
    status: str = "open"
    user_id: str = ""
    fresh: bool = True

    @property
    def holder(self) -> Caller:
        """Who holds its token."""
        return Caller(Audience.FRONTEND, "any", Principal(PrincipalKind.SIGN_UP, self.id))

    def refusal(self, *, held: bool) -> str:
        """Return why it cannot be changed by its holder or by a backend; empty if it can."""
        if self.status == "open":
            return ""
        return "CREDENTIAL_EXPIRED" if held and self.status == "abandoned" else "SIGN_UP_CLOSED"

    def is_of(self, person: "Person") -> bool:
        """Tell whether it was begun under a person's identity."""
        return bool(self.external_id) and self.external_id == person.external_id

    def close(self, status: str) -> None:
        """Close it: it keeps no documents."""
        self.status = status
        self.documents = {each: {} for each in Document}


class SignUpMachine(RuleBasedStateMachine):
    """The service beside its model; every rule is one call."""

    def __init__(self) -> None:
        """Begin with an empty store."""
        super().__init__()
        self.attempts: list[Attempt] = []
        self.people: dict[str, Person] = {}
        self.done: list[tuple[Attempt, Caller, str]] = []
        self.patch = pytest.MonkeyPatch()
        self.folder = TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.opening = open_app(settings(Path(self.folder.name)))
        self.app: App = self.runner.run(self.opening.__aenter__())

    def teardown(self) -> None:
        """Close the store."""
        self.runner.run(self.opening.__aexit__(None, None, None))
        self.runner.close()
        self.folder.cleanup()
        self.patch.undo()

    def call(self, call: Any, refusal: str) -> Any:  # noqa: ANN401  # any use case's result
        """Await a call, which must be refused for this reason, or succeed if that is empty."""
        if not refusal:
            return self.runner.run(call)
        with pytest.raises(UsermetaError) as caught:
            self.runner.run(call)
        assert caught.value.reason.name == refusal
        return None

    def pick(self, index: int) -> Attempt:
        """Return one of the attempts."""
        return self.attempts[index % len(self.attempts)]

    @rule(address=addresses, external_id=identities, unsafe=documents)
    def create(self, address: str, external_id: str, unsafe: JsonObject) -> None:
        """Begin a sign-up, of nobody or under an identity."""
        identity = (
            Identity("i", external_id, external_id, "", email_address_verified=False, expire_time=1 << 60)
            if external_id
            else None
        )
        principal = Principal(PrincipalKind.IDENTITY, external_id, identity=identity) if identity else ANONYMOUS
        caller = Caller(Audience.FRONTEND, "any", principal)
        taken = external_id and any(each.external_id == external_id for each in self.people.values())
        call = self.app.use_cases.sign_ups.create(
            caller,
            {"email_address": address},
            {Document.UNSAFE: unsafe},
            intent_of(principal, "create"),
        )
        made = self.call(call, "IDENTIFIER_TAKEN" if taken else "")
        if made:
            attempt = Attempt(made.sign_up.record.id, address, external_id)
            attempt.documents[Document.UNSAFE] = unsafe
            self.attempts.append(attempt)

    @precondition(lambda self: self.attempts)
    @rule(index=which, address=addresses, new=documents, document=st.sampled_from(Document), held=sides)
    def update(self, index: int, address: str, new: JsonObject, document: Document, *, held: bool) -> None:
        """Correct a sign-up as its holder, or attach a document as a backend."""
        attempt = self.pick(index)
        document = Document.UNSAFE if held else document
        caller = attempt.holder if held else BACKEND
        changes = ({"email_address": address}, {document: new})
        call = self.app.use_cases.sign_ups.update(caller, attempt.id, changes, "", intent_of(caller, "update"))
        if not self.call(call, attempt.refusal(held=held)):
            return
        attempt.address = address
        attempt.documents[document] = new

    @precondition(lambda self: self.attempts)
    @rule(index=which, held=sides)
    def complete(self, index: int, *, held: bool) -> None:
        """Complete a sign-up, for the first time or again."""
        attempt = self.pick(index)
        caller, request_id = (attempt.holder if held else BACKEND), str(uuid4())
        done: Completion | None = self.call(self._completing(attempt, caller, request_id), self._refusal(attempt, held))
        if done is None:
            return
        if attempt.status == "open":
            self.people[done.user.id] = Person(attempt.address, attempt.external_id, attempt.documents)
            attempt.user_id = done.user.id
            attempt.close("complete")
        self.done.append((attempt, caller, request_id))
        self._check(attempt, done, held)

    @precondition(lambda self: self.done)
    @rule(index=which)
    def replay(self, index: int) -> None:
        """Repeat a completion with its request id."""
        attempt, caller, request_id = self.done[index % len(self.done)]
        refusal = "" if attempt.user_id in self.people else "USER_NOT_FOUND"
        done = self.call(self._completing(attempt, caller, request_id), refusal)
        if done is not None:
            self._check(attempt, done, caller is not BACKEND)

    @precondition(lambda self: self.attempts)
    @rule(index=which)
    def reject(self, index: int) -> None:
        """Reject a sign-up."""
        attempt = self.pick(index)
        refusal = "" if attempt.status == "rejected" else attempt.refusal(held=False)
        call = self.app.use_cases.sign_ups.reject(BACKEND, attempt.id, "", intent_of(BACKEND, "reject"))
        if self.call(call, refusal) and attempt.status == "open":
            attempt.close("rejected")

    @precondition(lambda self: self.people)
    @rule(index=which, document=st.sampled_from(Document), new=documents)
    def write(self, index: int, document: Document, new: JsonObject) -> None:
        """Replace a document of a user: the only call that may change one."""
        user_id = list(self.people)[index % len(self.people)]
        grant = policy.grant_write(BACKEND, user_id, [document])
        write = MetadataWrite(BACKEND, grant, {document: lambda _: new}, {})
        self.runner.run(self.app.use_cases.metadata.write(write, intent_of(BACKEND, "write")))
        self.people[user_id].documents[document] = new

    @precondition(lambda self: self.people)
    @rule(index=which)
    def delete(self, index: int) -> None:
        """Delete a user."""
        user_id = list(self.people)[index % len(self.people)]
        self.runner.run(self.app.use_cases.users.delete(user_id, "", intent_of(BACKEND, "delete")))
        gone = self.people.pop(user_id)
        self.attempts = [each for each in self.attempts if each.status == "complete" or not each.is_of(gone)]
        for attempt in self.attempts:
            if attempt.user_id == user_id:
                attempt.address = attempt.external_id = ""

    @rule(swept=sides)
    def let_a_day_pass(self, *, swept: bool) -> None:
        """What is open is abandoned by then, swept or not; sessions and request ids have had their time."""
        real = time.time_ns
        self.patch.setattr(time, "time_ns", lambda: real() + 86_400 * 10**9)
        self.done.clear()
        for attempt in self.attempts:
            attempt.fresh = False
            if attempt.status == "open":
                attempt.status = "abandoned"
                attempt.documents = attempt.documents if not swept else {each: {} for each in Document}
        if swept:
            self.runner.run(self.app.use_cases.sign_ups.sweep())
            for attempt in self.attempts:
                if attempt.status == "abandoned":
                    attempt.close("abandoned")

    @invariant()
    def users_are_as_the_model_has_them(self) -> None:
        """Nothing but a write ever changes a document of a user."""
        users = self.runner.run(self.app.store.users(list(self.people)))
        assert {user_id: _person(user) for user_id, user in users.items()} == self.people
        rows: Any = self.runner.run(engine_of(self.app.store)._fetch("SELECT count(*) FROM users", ()))
        assert next(iter(rows))[0] == len(self.people)

    @invariant()
    def sign_ups_are_as_the_model_has_them(self) -> None:
        """Each in its state, with its documents or without."""
        shown = self.runner.run(self.app.use_cases.sign_ups.list("", 1000))
        assert {each.record.id: _attempt(each) for each in shown} == {
            each.id: (each.status, each.user_id, each.address, each.external_id, each.documents)
            for each in self.attempts
        }

    def _completing(self, attempt: Attempt, caller: Caller, request_id: str) -> Any:  # noqa: ANN401  # a coroutine
        intent = intent_of(caller.principal, "complete", request_id, attempt.id.encode())
        return self.app.use_cases.sign_ups.complete(caller, attempt.id, "", intent)

    def _refusal(self, attempt: Attempt, held: bool) -> str:  # noqa: FBT001  # as in the rules
        if attempt.status == "complete":
            return "" if attempt.user_id in self.people else "USER_NOT_FOUND"
        if attempt.status != "open":
            return attempt.refusal(held=held)
        if not attempt.address:
            return "SIGN_UP_INCOMPLETE"
        addresses = {each.address.casefold() for each in self.people.values()}
        external_ids = {each.external_id for each in self.people.values()} - {""}
        taken = attempt.address.casefold() in addresses or attempt.external_id in external_ids
        return "IDENTIFIER_TAKEN" if taken else ""

    def _check(self, attempt: Attempt, done: Completion, held: bool) -> None:  # noqa: FBT001  # as in the rules
        assert done.user.id == attempt.user_id
        assert _person(done.user) == self.people[attempt.user_id]
        assert bool(done.session_token) == (held and attempt.fresh)
        assert done.shows_user == attempt.fresh


def _person(user: User) -> Person:
    return Person(user.email_address, user.external_id, {each: load(user.document(each)) for each in Document})


def _attempt(shown: ShownSignUp) -> tuple[str, str, str, str, dict[Document, JsonObject]]:
    status = shown.status.name.lower()
    record = shown.record
    kept = {each: load(getattr(record, each)) for each in Document}
    open_status = "open" if status in {"ready", "missing_requirements"} else status
    return open_status, record.created_user_id, record.email_address, record.external_id, kept


TestSignUps = SignUpMachine.TestCase
TestSignUps.settings = hypothesis_settings(max_examples=25, stateful_step_count=20)
