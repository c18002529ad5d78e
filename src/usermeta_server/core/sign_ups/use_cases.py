"""The use cases about sign-ups."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from usermeta_server import policy
from usermeta_server.auth.session_tokens import SessionTokens
from usermeta_server.auth.sign_up_tokens import SignUpTokens
from usermeta_server.caller import Caller, Identity
from usermeta_server.clock import TOLERANCE
from usermeta_server.core import profile
from usermeta_server.core.documents import Limits, seal_all
from usermeta_server.core.revision import check_etags
from usermeta_server.core.sign_ups.requirements import SignUpRules
from usermeta_server.core.sign_ups.revision import close, new_sign_up, revise
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
from usermeta_server.policy import AllowedWrite, View, Viewer, WriteGrant
from usermeta_server.store.contract import Draft, Reads
from usermeta_server.store.predicates import FOLDS
from usermeta_server.store.store import Store
from usermeta_server.values import JsonObject

_NEW_FOR: Final = 600 * SECOND
"""How long after its completion a sign-up still tells of its user and gives a session, in microseconds."""

_SWEEPER: Final = Actor("operator", "sweeper")

Values = Mapping[str, str | bool]
Documents = Mapping[Document, JsonObject]


class NewSignUp(NamedTuple):
    """A sign-up that was made, what its maker may read of it, and its token, shown once (empty afterwards)."""

    sign_up: ShownSignUp
    view: View
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
            UsermetaError: ACCESS_DENIED; IDENTIFIER_TAKEN, when that identity is a user already; CREDENTIAL_INVALID,
                when it can be none, for its subject is not of the form of an external id; what limits raise.
        """
        grant = policy.grant_sign_up(caller, {*values, *documents})
        identity = caller.principal.identity and _taken_over(caller.principal.identity)
        claimed = profile.identifiers({"external_id": identity.external_id}) if identity else ()

        def change(draft: Draft, stamp: Stamp) -> NewSignUp:
            write = AllowedWrite(grant, {**values, **self._sealed(documents)})
            vouched = policy.vouched_for(write, identity) if identity else write
            made = new_sign_up(draft, stamp, vouched, self._rules.idle)
            if any(draft.identifiers.get(each) for each in claimed):
                raise taken("external_id")
            token = self._sign_up_tokens.make(made.id) if stamp.real else ""
            return _created(grant, self._shown(made, draft.wall), token)

        async def recall(outcome: str) -> NewSignUp:
            sign_up = await self._store.sign_up(outcome)
            return _created(grant, self._admit(Viewer.BACKEND, sign_up, self._store.wall_time()))

        return await self._writes.perform(
            intent, Reads(identifiers=claimed), change, name=lambda new: new.sign_up.record.id, recall=recall
        )

    async def get(self, caller: Caller, sign_up_id: str) -> ShownSignUp:
        """Return a sign-up that a call is about.

        Raises:
            UsermetaError: ACCESS_DENIED, SIGN_UP_NOT_FOUND; CREDENTIAL_EXPIRED, when the caller holds a token that
                outlived it.
        """
        viewer = policy.admit_to_sign_up(caller, sign_up_id)
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
            UsermetaError: ACCESS_DENIED, SIGN_UP_NOT_FOUND, SIGN_UP_CLOSED, ETAG_MISMATCH, and what limits raise.
        """
        values, documents = changes
        viewer = policy.admit_to_sign_up(caller, sign_up_id)
        grant = policy.grant_sign_up_write(caller, sign_up_id, {*values, *documents})

        def change(draft: Draft, stamp: Stamp) -> ShownSignUp:
            shown = self._admit(viewer, draft.sign_ups.get(sign_up_id), draft.wall)
            step(shown, Action.UPDATE)
            _check_etag(viewer, shown.record, expected_etag)
            write = AllowedWrite(grant, {**values, **self._sealed(documents)})
            revised = revise(draft, stamp, shown.record, write, self._rules)
            return self._shown(revised, draft.wall)

        return await self._perform(caller, sign_up_id, change, intent)

    async def reject(self, caller: Caller, sign_up_id: str, expected_etag: str, intent: Intent) -> ShownSignUp:
        """Close an open sign-up for good.

        Raises:
            UsermetaError: ACCESS_DENIED, SIGN_UP_NOT_FOUND, SIGN_UP_CLOSED, ETAG_MISMATCH.
        """
        viewer = policy.admit_to_sign_up(caller, sign_up_id)

        def change(draft: Draft, stamp: Stamp) -> ShownSignUp:
            shown = self._admit(viewer, draft.sign_ups.get(sign_up_id), draft.wall)
            after = step(shown, Action.REJECT)
            if shown.record.state is after:
                return shown
            _check_etag(viewer, shown.record, expected_etag)
            return self._shown(close(draft, stamp, shown.record, after), draft.wall)

        return await self._perform(caller, sign_up_id, change, intent)

    async def _perform(
        self, caller: Caller, sign_up_id: str, change: Callable[[Draft, Stamp], ShownSignUp], intent: Intent
    ) -> ShownSignUp:
        async def recall(outcome: str) -> ShownSignUp:
            return await self.get(caller, outcome)

        return await self._writes.perform(
            intent, Reads(sign_ups=(sign_up_id,)), change, name=lambda _: sign_up_id, recall=recall
        )

    async def complete(self, caller: Caller, sign_up_id: str, expected_etag: str, intent: Intent) -> Completion:
        """Make the user that a sign-up becomes, exactly once; again, return the same user.

        Raises:
            UsermetaError: ACCESS_DENIED, SIGN_UP_NOT_FOUND, SIGN_UP_INCOMPLETE, SIGN_UP_NOT_ATTESTED, SIGN_UP_CLOSED,
                ETAG_MISMATCH, FIELD_INVALID, IDENTIFIER_TAKEN; USER_NOT_FOUND, when the user has been deleted since.
        """
        return await until_settled(
            lambda: self._store.sign_up(sign_up_id),
            lambda seen: self._complete_seen(caller, seen, sign_up_id, expected_etag, intent),
        )

    async def _complete_seen(
        self, caller: Caller, seen: SignUp | None, sign_up_id: str, expected_etag: str, intent: Intent
    ) -> Completion:
        viewer = policy.admit_to_sign_up(caller, sign_up_id)
        claimed = profile.identifiers(seen._asdict()) if seen else ()
        user_id = seen.created_user_id if seen else ""

        def change(draft: Draft, stamp: Stamp) -> Completion:
            sign_up = draft.sign_ups.get(sign_up_id)
            shown = self._admit(viewer, sign_up, draft.wall)
            if sign_up != seen:
                raise MovedError
            after = step(shown, Action.COMPLETE)
            if shown.status is SignUpStatus.COMPLETE:
                user = draft.users.get(user_id)
                return self._completion(viewer, shown.record, user, draft.wall, real=stamp.real)
            if viewer is Viewer.SELF and self._rules.attested:
                raise UsermetaError(Reason.SIGN_UP_NOT_ATTESTED)
            _check_etag(viewer, shown.record, expected_etag)
            # It may be from before their forms were as they are.
            profile.check_profile({kind: getattr(shown.record, kind) for kind in FOLDS}, "sign_up.")
            copy = policy.completion_of(caller, shown.record)
            made = new_user(draft, stamp, copy, kind=ChangeKind.SIGN_UP_COMPLETED)
            claim(draft, made, claimed, "sign_up", policy.SIGN_UP_VISIBLE[viewer])
            closed = close(draft, stamp, shown.record, after, made.id)
            return self._completion(viewer, closed, made, draft.wall, real=stamp.real)

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
        ids = await self._store.due_sign_ups(self._store.wall_time(), limit)

        def change(draft: Draft) -> None:
            stamp = Stamp(draft.now, True, _SWEEPER, "")  # noqa: FBT003  # a tuple
            for sign_up_id in ids:
                sign_up = draft.sign_ups.get(sign_up_id)
                if sign_up is None or sign_up.sweep_time > draft.wall:
                    continue
                if sign_up.state is SignUpState.OPEN:
                    close(draft, stamp, sign_up, SignUpState.ABANDONED)
                else:
                    draft.sign_ups.put(sign_up_id, None)

        if ids:
            await self._store.write(Reads(sign_ups=tuple(ids)), change)
        return len(ids)

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


def _created(grant: WriteGrant[SignUp], sign_up: ShownSignUp, token: str = "") -> NewSignUp:
    return NewSignUp(sign_up, policy.created_sign_up_view(grant, sign_up), token)


def _check_etag(viewer: Viewer, sign_up: SignUp, expected: str) -> None:
    current = sign_up.etag if viewer is Viewer.BACKEND else sign_up.visible_etag
    check_etags({"sign_up": expected}, lambda _: current)


def _taken_over(identity: Identity) -> Identity:
    """Return what of an outside identity a sign-up can have.

    What its issuer says for an address and is none is left out: the person can't mend it, but can give one.

    Raises:
        UsermetaError: CREDENTIAL_INVALID, when its subject is not of the form of an external id.
    """
    if not _is_well_formed("external_id", identity.external_id):
        raise UsermetaError(Reason.CREDENTIAL_INVALID)
    return identity if _is_well_formed("email_address", identity.email_address) else identity._replace(email_address="")


def _is_well_formed(field: str, value: str) -> bool:
    try:
        profile.check_profile({field: value})
    except UsermetaError:
        return False
    return True
