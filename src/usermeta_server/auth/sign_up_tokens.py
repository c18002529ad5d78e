"""Sign-up tokens, `sut_ID_MAC`: bound to their sign-up by a MAC, so that nothing needs to be kept of them.

They expire with their sign-up, which the use cases see to; nothing can be told from a token that isn't ours.
"""

import hashlib
import hmac
import re
from typing import Final

from usermeta_server import base64url
from usermeta_server.caller import Principal, PrincipalKind
from usermeta_server.errors import Reason, UsermetaError

PREFIX: Final = "sut_"
_TOKEN: Final = re.compile(r"sut_([0-9a-v]{26})_([A-Za-z0-9_-]{43})", re.ASCII)


class SignUpTokens:
    """Makes sign-up tokens and recognises them."""

    def __init__(self, key: bytes) -> None:
        """Authenticate with a key that only the store has."""
        self._key = key

    def make(self, sign_up_id: str) -> str:
        """Return the token of a sign-up."""
        return f"{PREFIX}{sign_up_id.removeprefix('signup_')}_{self._mac(sign_up_id)}"

    def authenticate(self, token: str) -> Principal:
        """Return whom a token stands for: the holder of its sign-up.

        Raises:
            UsermetaError: CREDENTIAL_INVALID.
        """
        match = _TOKEN.fullmatch(token)
        sign_up_id = f"signup_{match[1]}" if match else ""
        if match is None or not hmac.compare_digest(match[2], self._mac(sign_up_id)):
            raise UsermetaError(Reason.CREDENTIAL_INVALID)
        return Principal(PrincipalKind.SIGN_UP, sign_up_id)

    def _mac(self, sign_up_id: str) -> str:
        digest = hmac.digest(self._key, sign_up_id.encode(), hashlib.sha256)
        return base64url.encode(digest)
