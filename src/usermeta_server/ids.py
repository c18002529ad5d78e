"""Ids and etags: made here, never by a store, so that every store has the same."""

import base64
import secrets
from typing import Final, NamedTuple

from usermeta_server.model import Actor


class _Random:
    """Bytes of the system's generator, asked for in large pieces: a call costs the same for four as for a thousand."""

    def __init__(self) -> None:
        self._pool = b""
        self._used = 0

    def bytes(self, size: int) -> bytes:
        """Return so many random bytes; none is ever given out twice."""
        if self._used + size > len(self._pool):
            self._pool = secrets.token_bytes(_POOL)
            self._used = 0
        self._used += size
        return self._pool[self._used - size : self._used]


_POOL: Final = 4096
_random = _Random()


def random_bytes(size: int) -> bytes:
    """Return random bytes: for ids, etags and nonces, which are needed by the thousand."""
    return _random.bytes(size)


def new_id(prefix: str, now: int) -> str:
    """Return `prefix_` and 26 characters: sortable by the time `now` (microseconds), unguessable.

    48 bits of milliseconds and 80 random bits, as a ULID has them, in base32hex, whose order is the bytes' order.
    """
    raw = (now // 1000).to_bytes(6, "big") + random_bytes(10)
    return f"{prefix}_{base64.b32hexencode(raw).rstrip(b'=').decode().lower()}"


class Stamp(NamedTuple):
    """What only a real write makes: times, ids, etags. A write that is only validated gets blanks.

    `now` is the transaction's, the time that orders: what expires goes by `Draft.wall`. `actor` and `request_id`
    say whose write it is, for history.
    """

    now: int
    real: bool
    actor: Actor
    request_id: str

    def new_id(self, prefix: str) -> str:
        """Return a new id."""
        return new_id(prefix, self.now) if self.real else ""

    def new_etag(self) -> str:
        """Return a new etag: random, so that it never returns, not even after a backup was restored."""
        return base64.urlsafe_b64encode(random_bytes(12)).decode() if self.real else ""
