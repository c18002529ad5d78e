"""Replies that hold one user, kept as bytes: what most calls return, and most of what they would cost.

A reply is kept with the record that it was made of, and serves whoever is to be told of an equal one: the record that
the store has at hand is the very same, one that a search found is the same again.
"""

from typing import Any, Final

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from usermeta_server import policy
from usermeta_server.audience import Caller
from usermeta_server.lru import LruMap
from usermeta_server.model import User
from usermeta_server.policy import View, Viewer
from usermeta_server.services.messages import Encoder, delimited

_OVERHEAD: Final = 300
"""Bytes that a kept reply costs besides its own, about."""


class Replies:
    """Makes replies of one message type, that has one user in one field, and keeps those used last."""

    def __init__(self, message: type[Message], field: str, limit: int) -> None:
        """Keep up to `limit` bytes (about)."""
        descriptor: Any = message.DESCRIPTOR.fields_by_name[field]
        self._encoder = Encoder(GetMessageClass(descriptor.message_type), limit)
        self._tag = bytes((descriptor.number << 3 | 2,))
        self._kept: LruMap[tuple[Viewer, str], tuple[User, bytes]] = LruMap(limit)

    def of(self, caller: Caller, user: User) -> bytes:
        """Return the reply to a caller that holds a user."""
        return self._kept_for(policy.viewer_of(caller, user.id), user) or self._make(policy.view(caller, user), user)

    def of_profile(self, user: User) -> bytes:
        """Return the reply to anyone that holds a user."""
        return self._kept_for(Viewer.ANYONE, user) or self._make(policy.profile(user), user)

    def _kept_for(self, viewer: Viewer, user: User) -> bytes | None:
        kept = self._kept.get((viewer, user.id))
        return kept[1] if kept is not None and (kept[0] is user or kept[0] == user) else None

    def _make(self, view: View, user: User) -> bytes:
        reply = self._tag + delimited(self._encoder.encode(view))
        self._kept.put((view.viewer, user.id), (user, reply), len(reply) + _OVERHEAD)
        return reply
