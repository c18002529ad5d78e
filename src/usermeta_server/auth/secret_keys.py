"""Secret keys, `sk_ID_SECRET`: found by their id, kept as a SHA-256 digest, compared in constant time.

A plain hash is enough, for the secret is 256 random bits: there is nothing to guess.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from usermeta_server.caller import Principal, PrincipalKind
from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.ids import new_id
from usermeta_server.model import SecretKey
from usermeta_server.store.contract import Committed

_TOKEN: Final = re.compile(r"sk_([0-9a-v]{26})_([A-Za-z0-9_-]{43})", re.ASCII)


class NewSecret(NamedTuple):
    """A new key's id, its secret, and the digest to keep."""

    key_id: str
    secret: str
    digest: bytes


def new_secret(now: int) -> NewSecret:
    """Make a new key at a time (microseconds), which its id is sorted by."""
    key_id = new_id("key", now)
    secret = f"sk_{key_id.removeprefix('key_')}_{secrets.token_urlsafe(32)}"
    return NewSecret(key_id, secret, _digest(secret))


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


class KeyRing:
    """All secret keys, in memory, a projection of the store: it has few, and every call of a backend needs one."""

    def __init__(self, keys: Iterable[SecretKey]) -> None:
        """Hold these keys."""
        self._keys = {key.id: key for key in keys}
        self._listeners: list[Callable[[SecretKey], None]] = []
        # No more than there are keys, for only what is right gets in; any change of a key has all verified again.
        self._verified: dict[str, Principal] = {}

    def subscribe(self, listener: Callable[[SecretKey], None]) -> None:
        """Tell a listener of keys that are revoked."""
        self._listeners.append(listener)

    def __len__(self) -> int:
        """Return how many keys there are, whether they work or not."""
        return len(self._keys)

    def lasting_admins(self) -> tuple[str, ...]:
        """Return the ids of the keys for everything that never expire and are not revoked."""
        return tuple(key.id for key in self._keys.values() if key.is_lasting_admin)

    def apply(self, committed: Committed) -> None:
        """See `contract.Projection`."""
        for key in committed.secret_keys.values():
            if key is not None:
                self.put(key)

    def put(self, key: SecretKey) -> None:
        """Hold a key as it is now."""
        self._keys[key.id] = key
        self._verified.clear()
        if key.revoke_time:
            for listener in self._listeners:
                listener(key)

    def get(self, key_id: str) -> SecretKey:
        """Return a key.

        Raises:
            UsermetaError: SECRET_KEY_NOT_FOUND.
        """
        key = self._keys.get(key_id)
        if key is None:
            raise UsermetaError(Reason.SECRET_KEY_NOT_FOUND)
        return key

    async def authenticate(self, token: str, now: int) -> Principal:
        """Return whom a token stands for at a time (microseconds).

        Raises:
            UsermetaError: CREDENTIAL_INVALID, CREDENTIAL_EXPIRED.
        """
        principal = self._verified.get(token) or self._verify(token)
        principal.check_time(now)
        return principal

    def check(self, principal: Principal) -> None:
        """Check that a key that was right when a call began still is.

        Raises:
            UsermetaError: CREDENTIAL_INVALID.
        """
        key = self._keys.get(principal.id)
        if key is None or key.revoke_time:
            raise UsermetaError(Reason.CREDENTIAL_INVALID)

    def _verify(self, token: str) -> Principal:
        match = _TOKEN.fullmatch(token)
        key = self._keys.get(f"key_{match[1]}") if match else None
        if key is None or not hmac.compare_digest(key.digest, _digest(token)) or key.revoke_time:
            raise UsermetaError(Reason.CREDENTIAL_INVALID)
        principal = Principal(PrincipalKind.SECRET_KEY, key.id, scope=max(key.scopes), expire_time=key.expire_time)
        self._verified[token] = principal
        return principal
