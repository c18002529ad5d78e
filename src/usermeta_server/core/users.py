"""The use cases about users themselves: make, find, change, erase."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from usermeta_server import policy
from usermeta_server.caller import Caller, PrincipalKind
from usermeta_server.core import erasure, profile
from usermeta_server.core.documents import Limits, seal_all
from usermeta_server.core.profile import ProfileValues
from usermeta_server.core.revision import change_of, check_etags, revise, tombstone_of
from usermeta_server.core.user_refs import Subject, UserRef, acting_on, acting_on_all, look_up, reads_of, user_in
from usermeta_server.core.writes import Intent, MovedError, Writes, until_settled
from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.ids import Stamp
from usermeta_server.model import ChangeKind, Document, Identifier, IdentifierKind, User
from usermeta_server.policy import AllowedWrite
from usermeta_server.store.contract import Draft, Reader, Reads
from usermeta_server.values import JsonObject

T = TypeVar("T")


class Users:
    """The use cases about users themselves."""

    def __init__(self, store: Reader, writes: Writes, limits: Limits) -> None:
        """Make them with the limits that every document keeps."""
        self._store = store
        self._writes = writes
        self._limits = limits

    async def create(
        self,
        caller: Caller,
        given: tuple[ProfileValues, Mapping[Document, JsonObject]],
        user_id: str,
        intent: Intent,
    ) -> User:
        """Make a user of fields and documents, with an id of the caller's choice or, if that is empty, a new one.

        Raises:
            UsermetaError: ACCESS_DENIED, IDENTIFIER_TAKEN, and what the limits of documents raise.
        """
        values, documents = given
        grant = policy.grant_write(caller, "", {*values, *documents})
        claimed = profile.identifiers(values)

        def change(draft: Draft, stamp: Stamp) -> User:
            texts = seal_all(documents, "user.", self._limits)
            if user_id and draft.users.get(user_id) is not None:
                raise taken("user_id")
            user = new_user(draft, stamp, AllowedWrite(grant, {**values, **texts}), user_id)
            claim(draft, user, claimed)
            return user

        reads = Reads(users=(user_id,) if user_id else (), identifiers=claimed)
        return await self._writes.perform(intent, reads, change, name=lambda user: user.id, recall=self._recall)

    async def get(self, caller: Caller, user_id: str) -> User:
        """Return a user that a call is about.

        Raises:
            UsermetaError: USER_NOT_FOUND, USER_BANNED.
        """
        user = self._store.cached_user(user_id) or await self._store.user(user_id)
        return policy.admit(caller, user)

    async def get_by(self, identifier: Identifier) -> User:
        """Return the user that has an identifier.

        Raises:
            UsermetaError: USER_NOT_FOUND.
        """
        user = await self._store.user_by(identifier)
        if user is None:
            raise UsermetaError(Reason.USER_NOT_FOUND)
        return user

    def acting_on(self, ref: UserRef, act: Callable[[Subject], Awaitable[T]]) -> Awaitable[T]:
        """Return what a write of a user returns; see `user_refs.acting_on`."""
        return acting_on(self._store, ref, act)

    def acting_on_all(self, refs: Sequence[UserRef], act: Callable[[Sequence[Subject]], Awaitable[T]]) -> Awaitable[T]:
        """Return what a write of many users returns; see `user_refs.acting_on`."""
        return acting_on_all(self._store, refs, act)

    async def get_profile(self, caller: Caller, user_id: str) -> User:
        """Return a user for its profile; a caller with a session must be a user who may act.

        Raises:
            UsermetaError: USER_NOT_FOUND, USER_BANNED.
        """
        await self._admit_session(caller)
        user = self._store.cached_user(user_id) or await self._store.user(user_id)
        if user is None:
            raise UsermetaError(Reason.USER_NOT_FOUND)
        return user

    async def get_profiles(self, caller: Caller, user_ids: Collection[str]) -> Mapping[str, User]:
        """Return those of the users that exist, by id, for their profiles; see `get_profile`."""
        await self._admit_session(caller)
        return await self._store.users(user_ids)

    async def _admit_session(self, caller: Caller) -> None:
        if caller.principal.kind is not PrincipalKind.ANONYMOUS:
            await self.get(caller, caller.principal.user_id)

    async def get_many(self, user_ids: Collection[str]) -> Mapping[str, User]:
        """Return those of the users that exist, by id."""
        return await self._store.users(user_ids)

    async def update(
        self, caller: Caller, user_id: str, values: ProfileValues, expected_etag: str, intent: Intent
    ) -> User:
        """Change profile fields, and return the user after it.

        Raises:
            UsermetaError: ACCESS_DENIED, USER_NOT_FOUND, USER_BANNED, ETAG_MISMATCH, IDENTIFIER_TAKEN.
        """
        write = AllowedWrite(policy.grant_write(caller, user_id, values), values)
        return await until_settled(
            lambda: self._identifiers_of(user_id),
            lambda seen: self._update(caller, (write, seen), expected_etag, intent),
        )

    async def _identifiers_of(self, user_id: str) -> Collection[Identifier]:
        user = self._store.cached_user(user_id) or await self._store.user(user_id)
        return profile.identifiers_of(user) if user else ()

    async def _update(
        self,
        caller: Caller,
        given: tuple[AllowedWrite[User], Collection[Identifier]],
        expected_etag: str,
        intent: Intent,
    ) -> User:
        write, seen = given
        user_id = write.record_id
        etag = policy.FIELDS[policy.viewer_of(caller, user_id)]["etag"]
        claimed = profile.identifiers(write.values)

        def change(draft: Draft, stamp: Stamp) -> User:
            user = policy.admit(caller, draft.users.get(user_id))
            before = _settled(user, seen)
            check_etags({"profile": expected_etag}, lambda _: str(etag(user)))
            revised = revise(draft, stamp, user, policy.withdraw_verification(write, user.email_address))
            claim(draft, revised, claimed)
            _release(draft, user, before.difference(profile.identifiers_of(revised)))
            return revised

        async def recall(outcome: str) -> User:
            return await self.get(caller, outcome)

        reads = Reads(users=(user_id,), identifiers=(*claimed, *seen))
        return await self._writes.perform(intent, reads, change, name=lambda user: user.id, recall=recall)

    async def delete(self, user: UserRef, expected_etag: str, intent: Intent) -> None:
        """Erase a user.

        Raises:
            UsermetaError: USER_NOT_FOUND, ETAG_MISMATCH.
        """

        async def look() -> tuple[Subject, Collection[Identifier]]:
            subject = await look_up(self._store, user)
            return subject, await self._identifiers_of(subject.user_id)

        await until_settled(look, lambda seen: self._delete(*seen, expected_etag, intent))

    async def _delete(self, subject: Subject, seen: Collection[Identifier], expected_etag: str, intent: Intent) -> None:
        user_id = subject.user_id

        def change(draft: Draft, stamp: Stamp) -> None:
            user = user_in(draft, *subject)
            if user is None:
                raise UsermetaError(Reason.USER_NOT_FOUND)
            held = _settled(user, seen)
            check_etags({"profile": expected_etag}, lambda _: user.etag)
            erase(draft, stamp, user)
            _release(draft, user, held)

        async def recall(_: str) -> None:
            return None

        reads = Reads(users=(user_id,), identifiers=(*reads_of(*subject).identifiers, *seen))
        await self._writes.perform(intent, reads, change, name=lambda _: user_id, recall=recall)

    async def _recall(self, user_id: str) -> User:
        user = await self._store.user(user_id)
        if user is None:
            raise UsermetaError(Reason.USER_NOT_FOUND)
        return user


def new_user(
    draft: Draft,
    stamp: Stamp,
    write: AllowedWrite[User],
    user_id: str = "",
    kind: ChangeKind = ChangeKind.CREATED,
) -> User:
    """Write a new user with the allowed fields and documents; what is not given is unset or `{}`.

    Raises:
        UsermetaError: ACCESS_DENIED, when the write was allowed for a user that there is.
    """
    values = write.values_for("")
    version = draft.next_version()
    blank = User(
        id=user_id or stamp.new_id("user"),
        version=version,
        external_id="",
        username="",
        email_address="",
        email_address_verified=False,
        first_name="",
        last_name="",
        image_url="",
        banned=False,
        public_metadata="{}",
        private_metadata="{}",
        unsafe_metadata="{}",
        public_metadata_etag=stamp.new_etag(),
        private_metadata_etag=stamp.new_etag(),
        unsafe_metadata_etag=stamp.new_etag(),
        etag=stamp.new_etag(),
        visible_etag=stamp.new_etag(),
        create_time=stamp.now,
        update_time=stamp.now,
        visible_update_time=stamp.now,
        create_version=version,
    )
    user = blank._replace(**dict[str, Any](values))
    draft.users.put(user.id, user)
    given = [name for name in values if values[name] != getattr(blank, name)]
    draft.record(change_of(stamp, kind, None, user, given))
    return user


def erase(draft: Draft, stamp: Stamp, user: User) -> None:
    """Write that a user is no more, and forget what is said of it anywhere."""
    version = draft.next_version()
    draft.users.put(user.id, None)
    draft.record(tombstone_of(stamp, user, version))
    draft.erase(erasure.of_user(user, version))


def claim(
    draft: Draft,
    user: User,
    identifiers: Collection[Identifier],
    message: str = "user",
    shown: Collection[str] = tuple(IdentifierKind),
) -> None:
    """Write that these identifiers, which the request has in fields of `message`, are a user's.

    So is, if nobody has it, any other that the user's texts are: one that was another user's before.

    Raises:
        UsermetaError: IDENTIFIER_TAKEN, when one is another user's; it names the field if that is one of those `shown`
            to the caller.
    """
    for identifier in identifiers:
        holder = draft.identifiers.get(identifier)
        if holder is not None and holder != user.id:
            raise taken(f"{message}.{identifier.kind}" if identifier.kind in shown else message)
    for identifier in profile.identifiers_of(user):
        if draft.identifiers.get(identifier) is None:
            draft.identifiers.put(identifier, user.id)


def _settled(user: User, seen: Collection[Identifier]) -> frozenset[Identifier]:
    """Return the identifiers that a user's texts are, having checked that the transaction has read them.

    Raises:
        MovedError: they are others by now.
    """
    identifiers = frozenset(profile.identifiers_of(user))
    if not identifiers.issubset(seen):
        raise MovedError
    return identifiers


def _release(draft: Draft, user: User, identifiers: Collection[Identifier]) -> None:
    """Give up those of the identifiers that are a user's. What their texts are may be another's (see `refold`)."""
    for identifier in identifiers:
        if draft.identifiers.get(identifier) == user.id:
            draft.identifiers.put(identifier, None)


def taken(field: str) -> UsermetaError:
    """Return the error for an identifier that is another user's."""
    return UsermetaError(Reason.IDENTIFIER_TAKEN, f"{field} belongs to another user.", {"field": field})
