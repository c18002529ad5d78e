"""Page tokens (AIP-158): opaque, authenticated, and good for one list only."""

import base64
import binascii
import hashlib
import hmac
from typing import Final

import orjson

from usermeta_server.core.documents import Json
from usermeta_server.errors import Reason, UsermetaError, invalid

_MAC_SIZE: Final = 16


class PageTokens:
    """Makes page tokens and reads them back."""

    def __init__(self, key: bytes) -> None:
        """Authenticate with a key that only the store has."""
        self._key = key

    def make(self, of_list: str, cursor: Json) -> str:
        """Return the token of a place in a list.

        Args:
            of_list: what the token is bound to: the method, and what else makes the list the one that it is.
            cursor: the place, as JSON.
        """
        payload = orjson.dumps(cursor)
        return base64.urlsafe_b64encode(self._mac(of_list, payload) + payload).rstrip(b"=").decode()

    def read(self, of_list: str, token: str) -> Json:
        """Return the place that a token of this list names.

        Raises:
            UsermetaError: PAGE_TOKEN_INVALID, when it was damaged, or is another list's.
        """
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as error:
            raise _refused() from error
        mac, payload = raw[:_MAC_SIZE], raw[_MAC_SIZE:]
        if not hmac.compare_digest(mac, self._mac(of_list, payload)):
            raise _refused()
        cursor: Json = orjson.loads(payload)
        return cursor

    def _mac(self, of_list: str, payload: bytes) -> bytes:
        message = hashlib.sha256(of_list.encode()).digest() + payload
        return hashlib.blake2b(message, key=self._key, digest_size=_MAC_SIZE).digest()


def _refused() -> UsermetaError:
    return invalid("page_token", "is not a token of this list", reason=Reason.PAGE_TOKEN_INVALID)
