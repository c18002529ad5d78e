"""The use cases about secret keys: make, list, revoke."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from usermeta_server.auth.secret_keys import KeyRing, new_secret
from usermeta_server.caller import Principal
from usermeta_server.core.profile import check_profile
from usermeta_server.core.writes import Intent, Writes
from usermeta_server.errors import Reason, UsermetaError, invalid
from usermeta_server.ids import Stamp
from usermeta_server.model import Scope, SecretKey
from usermeta_server.store.contract import Draft, Reader, Reads


def check_display_name(display_name: str) -> None:
    """Check the name of a new key.

    Raises:
        UsermetaError: FIELD_INVALID, for one that is missing or malformed.
    """
    if not display_name:
        raise invalid("display_name", "is required")
    check_profile({"display_name": display_name})


class NewKey(NamedTuple):
    """A key that was made, and its secret, shown once (empty afterwards)."""

    key: SecretKey
    secret: str


class SecretKeys:
    """The use cases about secret keys."""

    def __init__(self, store: Reader, writes: Writes, ring: KeyRing) -> None:
        """Make them with the ring that authenticates by the keys."""
        self._store = store
        self._writes = writes
        self._ring = ring

    async def create(
        self, principal: Principal, display_name: str, scopes: Collection[Scope], expire_time: int, intent: Intent
    ) -> NewKey:
        """Make a key that works until `expire_time` (microseconds; 0 is for ever).

        Raises:
            UsermetaError: SCOPE_INSUFFICIENT, when the caller's own key has less; FIELD_INVALID, for a name that is
                missing or malformed, or a key that would have expired already.
        """
        check_display_name(display_name)
        highest = max(scopes)
        if principal.scope is None or principal.scope < highest:
            raise UsermetaError(Reason.SCOPE_INSUFFICIENT, metadata={"required_scope": highest.name.lower()})

        def change(draft: Draft, stamp: Stamp) -> NewKey:
            if expire_time and expire_time <= draft.wall:
                raise invalid("expire_time", "must be in the future")
            key_id, secret, digest = new_secret(stamp.now) if stamp.real else ("", "", b"")
            key = SecretKey(key_id, display_name, tuple(sorted(set(scopes))), digest, stamp.now, expire_time, 0)
            draft.secret_keys.put(key.id, key)
            return NewKey(key, secret)

        async def recall(outcome: str) -> NewKey:
            return NewKey(self._ring.get(outcome), "")

        return await self._writes.perform(intent, Reads(), change, name=lambda new: new.key.id, recall=recall)

    async def list(self, after: str, limit: int) -> Sequence[SecretKey]:
        """Return up to `limit` keys whose id is greater than `after`, oldest first."""
        return await self._store.secret_keys(after, limit)

    async def revoke(self, key_id: str, intent: Intent) -> SecretKey:
        """Revoke a key: when this returns, it is refused. A key that is revoked already stays as it is.

        Raises:
            UsermetaError: SECRET_KEY_NOT_FOUND; LAST_ADMIN_KEY, when no other admin key would stay for good.
        """
        lasting = self._ring.lasting_admins()

        def change(draft: Draft, stamp: Stamp) -> SecretKey:
            key = draft.secret_keys.get(key_id)
            if key is None:
                raise UsermetaError(Reason.SECRET_KEY_NOT_FOUND)
            if key.revoke_time:
                return key
            others = (draft.secret_keys.get(each) for each in lasting if each != key_id)
            if key.is_lasting_admin and not any(other and other.is_lasting_admin for other in others):
                raise UsermetaError(Reason.LAST_ADMIN_KEY)
            revoked = key._replace(revoke_time=stamp.now)
            draft.secret_keys.put(key_id, revoked)
            return revoked

        async def recall(outcome: str) -> SecretKey:
            return self._ring.get(outcome)

        return await self._writes.perform(
            intent, Reads(secret_keys=(key_id, *lasting)), change, name=lambda key: key.id, recall=recall
        )
