"""The use cases about sign-ups."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from usermeta_server import policy
from usermeta_server.auth.session_tokens import SessionTokens
from usermeta_server.auth.sign_up_tokens import SignUpTokens
from usermeta_server.caller import Caller, Identity
from usermeta_server.clock import TOLERANCE
from usermeta_server.core import profile
from usermeta_server.core.documents import JsonObject, Limits, seal_all
from usermeta_server.core.revision import check_etags
from usermeta_server.core.sign_ups.requirements import SignUpRules
from usermeta_server.core.sign_ups.revision import close, revise
from usermeta_server.core.sign_ups.states import Action, status_of, step
from usermeta_server.core.users import claim, new_user, taken
from usermeta_server.core.writes import Intent, MovedError, Writes, until_settled
from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.ids import Stamp
from usermeta_server.model import (
    HOUR,
    SECOND,
    Actor,
    ChangeKind,
    Document,
    ShownSignUp,
    SignUp,
    SignUpState,
    SignUpStatus,
    User,
)
from usermeta_server.policy import Viewer
from usermeta_server.store.base import Reads, Store, Transaction
from usermeta_server.store.query import FOLDS
from usermeta_server.unicode import fold_email_address

_NEW_FOR: Final = 600 * SECOND
"""How long after its completion a sign-up still tells of its user and gives a session, in microseconds."""

_SWEEPER: Final = Actor("operator", "sweeper")

Values = Mapping[str, str | bool]
Documents = Mapping[Document, JsonObject]


class NewSignUp(NamedTuple):
    """A sign-up that was made, and its token, shown once (empty afterwards)."""

    sign_up: ShownSignUp
    token: str


class Completion(NamedTuple):
    """A completed sign-up, the user that it became, and for its holder a session token, if there is to be one.

    Unless it `shows_user` its holder is told only the user's id: it is a while ago, or the user is banned.
    """

    sign_up: SignUp
    user: User
    session_token: str
    shows_user: bool


class SignUps:
    """The use cases about sign-ups."""

    def __init__(
        self,
        store: Store,
        writes: Writes,
        limits: Limits,
        rules: SignUpRules,
        tokens: tuple[SignUpTokens, SessionTokens],
    ) -> None:
        """Make them with the operator's rules, and the issuers of sign-up tokens and session tokens."""
        self._store = store
        self._writes = writes
        self._limits = limits
        self._rules = rules
        self._sign_up_tokens, self._session_tokens = tokens

    async def create(self, caller: Caller, values: Values, documents: Documents, intent: Intent) -> NewSignUp:
        """Begin a sign-up, under the identity of the caller if it has one.

        Raises:
            UsermetaError: IDENTIFIER_TAKEN, when that identity is a user already; CREDENTIAL_INVALID, when it can be
                none, for its subject is not of the form of an external id; what limits raise.
        """
        identity = caller.principal.identity
        if identity and not _is_well_formed("external_id", identity.external_id):
            raise UsermetaError(Reason.CREDENTIAL_INVALID)
        claimed = profile.identifiers({"external_id": identity.external_id}) if identity else ()

        def change(transaction: Transaction, stamp: Stamp) -> NewSignUp:
            made = self._new(transaction, stamp, {**values, **self._sealed(documents)}, identity)
            if any(transaction.identifiers.get(each) for each in claimed):
                raise taken("external_id")
            token = self._sign_up_tokens.make(made.id) if stamp.real else ""
            return NewSignUp(self._shown(made, transaction.wall), token)

        async def recall(outcome: str) -> NewSignUp:
            return NewSignUp(await self.get(caller, outcome, Viewer.BACKEND), "")

        return await self._writes.perform(
            intent, Reads(identifiers=claimed), change, name=lambda new: new.sign_up.record.id, recall=recall
        )

    async def get(self, caller: Caller, sign_up_id: str, viewer: Viewer | None = None) -> ShownSignUp:
        """Return a sign-up that a call is about.

        Raises:
            UsermetaError: SIGN_UP_NOT_FOUND; CREDENTIAL_EXPIRED, when the caller holds a token that outlived it.
        """
        viewer = viewer or policy.sign_up_viewer_of(caller, sign_up_id)
        return self._admit(viewer, await self._store.sign_up(sign_up_id), self._store.wall_time())

    async def list(self, after: str, limit: int) -> Sequence[ShownSignUp]:
        """Return up to `limit` sign-ups whose id is greater than `after`, oldest first."""
        now = self._store.wall_time()
        return [self._shown(each, now) for each in await self._store.sign_ups(after, limit)]

    async def update(
        self, caller: Caller, sign_up_id: str, changes: tuple[Values, Documents], expected_etag: str, intent: Intent
    ) -> ShownSignUp:
        """Change fields and documents of an open sign-up; a document is replaced whole.

        Raises:
            UsermetaError: SIGN_UP_NOT_FOUND, SIGN_UP_CLOSED, ETAG_MISMATCH, and what limits raise.
        """
        viewer = policy.sign_up_viewer_of(caller, sign_up_id)
        values, documents = changes

        def change(transaction: Transaction, stamp: Stamp) -> ShownSignUp:
            shown = self._admit(viewer, transaction.sign_ups.get(sign_up_id), transaction.wall)
            step(shown, Action.UPDATE)
            _check_etag(viewer, shown.record, expected_etag)
            sealed = self._sealed(documents)
            revised = revise(transaction, stamp, shown.record, {**values, **sealed}, self._rules)
            return self._shown(revised, transaction.wall)

        return await self._perform(caller, sign_up_id, change, intent)

    async def reject(self, caller: Caller, sign_up_id: str, expected_etag: str, intent: Intent) -> ShownSignUp:
        """Close an open sign-up for good.

        Raises:
            UsermetaError: SIGN_UP_NOT_FOUND, SIGN_UP_CLOSED, ETAG_MISMATCH.
        """

        def change(transaction: Transaction, stamp: Stamp) -> ShownSignUp:
            shown = self._admit(Viewer.BACKEND, transaction.sign_ups.get(sign_up_id), transaction.wall)
            after = step(shown, Action.REJECT)
            if shown.record.state is after:
                return shown
            _check_etag(Viewer.BACKEND, shown.record, expected_etag)
            return self._shown(close(transaction, stamp, shown.record, after), transaction.wall)

        return await self._perform(caller, sign_up_id, change, intent)

    async def _perform(
        self, caller: Caller, sign_up_id: str, change: Callable[[Transaction, Stamp], ShownSignUp], intent: Intent
    ) -> ShownSignUp:
        async def recall(outcome: str) -> ShownSignUp:
            return await self.get(caller, outcome)

        return await self._writes.perform(
            intent, Reads(sign_ups=(sign_up_id,)), change, name=lambda _: sign_up_id, recall=recall
        )

    async def complete(self, caller: Caller, sign_up_id: str, expected_etag: str, intent: Intent) -> Completion:
        """Make the user that a sign-up becomes, exactly once; again, return the same user.

        Raises:
            UsermetaError: SIGN_UP_NOT_FOUND, SIGN_UP_INCOMPLETE, SIGN_UP_NOT_ATTESTED, SIGN_UP_CLOSED, ETAG_MISMATCH,
                FIELD_INVALID, IDENTIFIER_TAKEN; USER_NOT_FOUND, when the user has been deleted since.
        """
        return await until_settled(
            lambda: self._store.sign_up(sign_up_id),
            lambda seen: self._complete_seen(caller, seen, sign_up_id, expected_etag, intent),
        )

    async def _complete_seen(
        self, caller: Caller, seen: SignUp | None, sign_up_id: str, expected_etag: str, intent: Intent
    ) -> Completion:
        viewer = policy.sign_up_viewer_of(caller, sign_up_id)
        claimed = profile.identifiers(seen._asdict()) if seen else ()
        user_id = seen.created_user_id if seen else ""

        def change(transaction: Transaction, stamp: Stamp) -> Completion:
            sign_up = transaction.sign_ups.get(sign_up_id)
            shown = self._admit(viewer, sign_up, transaction.wall)
            if sign_up != seen:
                raise MovedError
            after = step(shown, Action.COMPLETE)
            if shown.status is SignUpStatus.COMPLETE:
                user = transaction.users.get(user_id)
                return self._completion(viewer, shown.record, user, transaction.wall, real=stamp.real)
            if viewer is Viewer.SELF and self._rules.attested:
                raise UsermetaError(Reason.SIGN_UP_NOT_ATTESTED)
            _check_etag(viewer, shown.record, expected_etag)
            # It may be from before their forms were as they are.
            profile.check_profile({kind: getattr(shown.record, kind) for kind in FOLDS}, "sign_up.")
            made = new_user(transaction, stamp, _copied(shown.record), kind=ChangeKind.SIGN_UP_COMPLETED)
            claim(transaction, made, claimed, "sign_up", policy.SIGN_UP_VISIBLE[viewer])
            closed = close(transaction, stamp, shown.record, after, made.id)
            return self._completion(viewer, closed, made, transaction.wall, real=stamp.real)

        async def recall(outcome: str) -> Completion:
            sign_up, now = await self._store.sign_up(outcome), self._store.wall_time()
            shown = self._admit(viewer, sign_up, now)
            user = await self._store.user(shown.record.created_user_id)
            return self._completion(viewer, shown.record, user, now, real=not intent.validate_only)

        reads = Reads(sign_ups=(sign_up_id,), identifiers=claimed, users=(user_id,) if user_id else ())
        return await self._writes.perform(intent, reads, change, name=lambda _: sign_up_id, recall=recall)

    async def sweep(self, limit: int = 50) -> int:
        """Close what was abandoned and delete what was closed long ago, up to `limit` of them; return how many.

        Few at a time: they share one transaction, for whose end everybody else's writes wait.
        """
        ids = await self._store.sign_ups_to_sweep(self._store.wall_time(), limit)

        def change(transaction: Transaction) -> None:
            stamp = Stamp(transaction.now, True, _SWEEPER, "")  # noqa: FBT003  # a tuple
            for sign_up_id in ids:
                sign_up = transaction.sign_ups.get(sign_up_id)
                if sign_up is None or sign_up.sweep_time > transaction.wall:
                    continue
                if sign_up.state is SignUpState.OPEN:
                    close(transaction, stamp, sign_up, SignUpState.ABANDONED)
                else:
                    transaction.sign_ups.put(sign_up_id, None)

        if ids:
            await self._store.write(Reads(sign_ups=tuple(ids)), change)
        return len(ids)

    def _new(
        self, transaction: Transaction, stamp: Stamp, values: Mapping[str, str | bool], identity: Identity | None
    ) -> SignUp:
        abandon_time = transaction.wall + self._rules.idle if stamp.real else 0
        blank = SignUp(
            id=stamp.new_id("signup"),
            version=transaction.next_version(),
            state=SignUpState.OPEN,
            username="",
            email_address="",
            email_address_verified=False,
            first_name="",
            last_name="",
            external_id="",
            public_metadata="{}",
            private_metadata="{}",
            unsafe_metadata="{}",
            etag=stamp.new_etag(),
            visible_etag=stamp.new_etag(),
            created_user_id="",
            abandon_time=abandon_time,
            create_time=stamp.now,
            update_time=stamp.now,
            visible_update_time=stamp.now,
            close_time=0,
            sweep_time=abandon_time,
        )
        made = blank._replace(**dict[str, Any]({**values, **_vouched_for(identity, values)}))
        transaction.sign_ups.put(made.id, made)
        return made

    def _sealed(self, documents: Documents) -> Mapping[str, str]:
        return seal_all(documents, "sign_up.", self._limits)

    def _shown(self, sign_up: SignUp, now: int) -> ShownSignUp:
        missing = self._rules.requirements.missing(sign_up) if sign_up.state is SignUpState.OPEN else ()
        return ShownSignUp(sign_up, status_of(sign_up, missing, now), self._rules.requirements.names, missing)

    def _admit(self, viewer: Viewer, sign_up: SignUp | None, now: int) -> ShownSignUp:
        shown = self._shown(sign_up, now) if sign_up else None
        if viewer is not Viewer.BACKEND and (shown is None or shown.status is SignUpStatus.ABANDONED):
            raise UsermetaError(Reason.CREDENTIAL_EXPIRED)
        if shown is None:
            raise UsermetaError(Reason.SIGN_UP_NOT_FOUND)
        return shown

    def _completion(self, viewer: Viewer, sign_up: SignUp, user: User | None, now: int, *, real: bool) -> Completion:
        if user is None or user.create_version > sign_up.version:  # deleted, its id perhaps given to another since
            raise UsermetaError(Reason.USER_NOT_FOUND)
        shows_user = not user.banned and -TOLERANCE <= now - sign_up.close_time <= _NEW_FOR
        token = ""
        if viewer is Viewer.SELF and shows_user and real:
            token, _ = self._session_tokens.issue(user, now, HOUR)
        return Completion(sign_up, user, token, shows_user)


def _check_etag(viewer: Viewer, sign_up: SignUp, expected: str) -> None:
    current = sign_up.etag if viewer is Viewer.BACKEND else sign_up.visible_etag
    check_etags({"sign_up": expected}, lambda _: current)


def _copied(sign_up: SignUp) -> dict[str, str | bool]:
    """Return what a user has of its sign-up: every field that both have and that is not about the record itself."""
    fields = (*_COPIED, *Document)
    return {name: getattr(sign_up, name) for name in fields}


_COPIED: Final = ("username", "email_address", "email_address_verified", "first_name", "last_name", "external_id")


def _vouched_for(identity: Identity | None, values: Mapping[str, str | bool]) -> dict[str, str | bool]:
    """Return what a trusted issuer says of the person: who they are, their address unless they gave another.

    What it says for an address and is none is left out: the person can't mend it, but can give one.
    """
    if identity is None:
        return {}
    said = identity.email_address if _is_well_formed("email_address", identity.email_address) else ""
    address = str(values.get("email_address", said))
    verified = (
        identity.email_address_verified and bool(said) and fold_email_address(address) == fold_email_address(said)
    )
    return {"external_id": identity.external_id, "email_address": address, "email_address_verified": verified}


def _is_well_formed(field: str, value: str) -> bool:
    try:
        profile.check_profile({field: value})
    except UsermetaError:
        return False
    return True
