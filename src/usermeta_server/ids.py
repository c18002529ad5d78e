"""Ids and etags: made here, never by a store, so that every store has the same."""

import base64
import secrets
import time
from typing import NamedTuple

from usermeta_server.model import Actor


def new_id(prefix: str) -> str:
    """Return `prefix_` and 26 characters: sortable by time, unguessable.

    48 bits of milliseconds and 80 random bits, as a ULID has them, in base32hex, whose order is the bytes' order.
    """
    milliseconds = time.time_ns() // 1_000_000
    raw = milliseconds.to_bytes(6, "big") + secrets.token_bytes(10)
    return f"{prefix}_{base64.b32hexencode(raw).rstrip(b'=').decode().lower()}"


class Stamp(NamedTuple):
    """What only a real write makes: times, ids, etags. A write that is only validated gets blanks.

    `actor` and `request_id` say whose write it is, for history.
    """

    now: int
    real: bool
    actor: Actor
    request_id: str

    def new_id(self, prefix: str) -> str:
        """Return a new id."""
        return new_id(prefix) if self.real else ""

    def new_etag(self) -> str:
        """Return a new etag: random, so that it never returns, not even after a backup was restored."""
        return secrets.token_urlsafe(12) if self.real else ""
