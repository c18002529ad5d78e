"""Replies that hold one user, kept as bytes: what most calls return, and most of what they would cost.

A reply is kept with the record that it was made of, and serves whoever is to be told of an equal one: the record that
the store has at hand is the very same, one that a search found is the same again.
"""

from typing import Final, NamedTuple

from google.protobuf.message import Message

from usermeta_server import policy
from usermeta_server.caller import Caller
from usermeta_server.lru import LruMap
from usermeta_server.model import User
from usermeta_server.policy import View, Viewer
from usermeta_server.services.messages import Encoded, Encoder

_OVERHEAD: Final = 700
"""Bytes that a kept reply costs besides its own, about."""


class _Reply(NamedTuple):
    """A record, and the reply that was made of it."""

    user: User
    encoded: Encoded


class Replies:
    """Makes replies of one message type, that has one user in one field, and keeps those used last."""

    def __init__(self, message: type[Message], field: str, limit: int) -> None:
        """Keep up to `limit` bytes (about)."""
        self._encoder = Encoder(message, field)
        self._kept: LruMap[tuple[Viewer, str], _Reply] = LruMap(limit)

    def of(self, caller: Caller, user: User) -> bytes:
        """Return the reply to a caller that holds a user."""
        kept = self._kept.get((policy.viewer_of(caller, user.id), user.id))
        return _serving(kept, user) or self._make(policy.view(caller, user), user, kept)

    def of_profile(self, user: User) -> bytes:
        """Return the reply to anyone that holds a user."""
        kept = self._kept.get((Viewer.ANYONE, user.id))
        return _serving(kept, user) or self._make(policy.profile(user), user, kept)

    def _make(self, view: View, user: User, before: _Reply | None) -> bytes:
        encoded = self._encoder.encode(view, before.encoded if before else None)
        self._kept.put((view.viewer, user.id), _Reply(user, encoded), len(encoded.data) + _OVERHEAD)
        return encoded.data


def _serving(kept: _Reply | None, user: User) -> bytes | None:
    return kept.encoded.data if kept is not None and (kept.user is user or kept.user == user) else None
