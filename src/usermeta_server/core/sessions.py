"""The use case that makes session tokens."""

from typing import NamedTuple

from usermeta_server.auth.session_tokens import SessionTokens
from usermeta_server.core.writes import Intent, Writes
from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.ids import Stamp
from usermeta_server.store.contract import Draft, Reader, Reads


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

    async def create(self, user_id: str, ttl: int, intent: Intent) -> Session:
        """Make a token with which a frontend acts as the user for `ttl` microseconds.

        Raises:
            UsermetaError: USER_NOT_FOUND, USER_BANNED.
        """

        def change(draft: Draft, stamp: Stamp) -> Session:
            user = draft.users.get(user_id)
            if user is None:
                raise UsermetaError(Reason.USER_NOT_FOUND)
            if user.banned:
                raise UsermetaError(Reason.USER_BANNED)
            if not stamp.real:
                return Session("", 0)
            return Session(*self._tokens.issue(user, draft.wall, ttl))

        async def recall(outcome: str) -> Session:
            if await self._store.user(user_id) is None:
                raise UsermetaError(Reason.USER_NOT_FOUND)
            return Session("", int(outcome))

        return await self._writes.perform(
            intent, Reads(users=(user_id,)), change, name=lambda session: str(session.expire_time), recall=recall
        )
