"""The use case that makes session tokens."""

from typing import NamedTuple

from usermeta_server.auth.session_tokens import SessionTokens
from usermeta_server.core.user_refs import Subject, UserRef, acting_on, reads_of, user_in
from usermeta_server.core.writes import Intent, Writes
from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.ids import Stamp
from usermeta_server.store.contract import Draft, Reader


class Session(NamedTuple):
    """A session: its token, shown once (empty afterwards), and when that stops working (microseconds)."""

    token: str
    expire_time: int


class Sessions:
    """Makes session tokens."""

    def __init__(self, store: Reader, writes: Writes, tokens: SessionTokens) -> None:
        """Make it with the issuer of the tokens."""
        self._store = store
        self._writes = writes
        self._tokens = tokens

    async def create(self, user: UserRef, ttl: int, intent: Intent) -> Session:
        """Make a token with which a frontend acts as the user for `ttl` microseconds.

        Raises:
            UsermetaError: USER_NOT_FOUND, USER_BANNED.
        """
        return await acting_on(self._store, user, lambda found: self._create(found, ttl, intent))

    async def _create(self, subject: Subject, ttl: int, intent: Intent) -> Session:
        def change(draft: Draft, stamp: Stamp) -> Session:
            user = user_in(draft, *subject)
            if user is None:
                raise UsermetaError(Reason.USER_NOT_FOUND)
            if user.banned:
                raise UsermetaError(Reason.USER_BANNED)
            if not stamp.real:
                return Session("", 0)
            return Session(*self._tokens.issue(user, draft.wall, ttl))

        async def recall(outcome: str) -> Session:
            expire_time, _, user_id = outcome.partition(" ")
            if await self._store.user(user_id) is None:
                raise UsermetaError(Reason.USER_NOT_FOUND)
            return Session("", int(expire_time))

        return await self._writes.perform(
            intent,
            reads_of(*subject),
            change,
            name=lambda session: f"{session.expire_time} {subject.user_id}",
            recall=recall,
        )
