"""Page tokens (AIP-158) and resume tokens: opaque, authenticated, and good for one list or one watch only."""

import hashlib
import hmac
from typing import Final

import orjson

from usermeta_server import base64url
from usermeta_server.errors import Reason, invalid
from usermeta_server.values import Json

_MAC_SIZE: Final = 16


class Tokens:
    """Makes tokens of places and reads them back."""

    def __init__(self, key: bytes, field: str, reason: Reason) -> None:
        """Authenticate with a key that only the store has; refuse what a request has in `field` for a reason."""
        self._key = key
        self._field = field
        self._reason = reason

    def make(self, of: str, place: Json) -> str:
        """Return the token of a place.

        Args:
            of: what the token is bound to: the method, and what else makes the list or the watch the one that it is.
            place: the place, as JSON.
        """
        payload = orjson.dumps(place)
        return base64url.encode(self._mac(of, payload) + payload)

    def read(self, of: str, token: str) -> Json:
        """Return the place that a token names.

        Raises:
            UsermetaError: the token was damaged, or is bound to something else; with the reason given at the start.
        """
        refused = invalid(self._field, "is damaged, or a token of something else", reason=self._reason)
        try:
            raw = base64url.decode(token)
        except ValueError as error:
            raise refused from error
        mac, payload = raw[:_MAC_SIZE], raw[_MAC_SIZE:]
        if not hmac.compare_digest(mac, self._mac(of, payload)):
            raise refused
        place: Json = orjson.loads(payload)
        return place

    def _mac(self, of: str, payload: bytes) -> bytes:
        message = hashlib.sha256(of.encode()).digest() + payload
        return hashlib.blake2b(message, key=self._key, digest_size=_MAC_SIZE).digest()
