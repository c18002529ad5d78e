"""Replies that hold one user, kept as bytes: what most calls return, and most of what they would cost.

A reply is kept with the very record that it was made of. A record never changes, and the store hands out a
new one after every write, so a reply is right exactly as long as its record is the current one. What was kept of a
user before a write serves to make the reply after it.
"""

from typing import Any, Final, NamedTuple

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from usermeta_server import policy
from usermeta_server.audience import Caller
from usermeta_server.core.documents import OpenedDocuments
from usermeta_server.lru import LruMap
from usermeta_server.model import User
from usermeta_server.policy import View, Viewer
from usermeta_server.services.messages import Encoder, Parts
from usermeta_server.services.wire import delimited, tag_of

_OVERHEAD: Final = 300
"""Bytes that a kept reply costs besides its own, about."""
_PARTS: Final = 4
"""How many times its bytes a reply takes that is kept in parts too, about."""


class _Kept(NamedTuple):
    """A reply, the record that it was made of, and its parts, which only users that are written have."""

    user: User
    reply: bytes
    parts: Parts | None


class Replies:
    """Makes replies of one message type, that has one user in one field, and keeps those used last."""

    def __init__(self, message: type[Message], field: str, documents: OpenedDocuments, limit: int) -> None:
        """Keep up to `limit` bytes (about)."""
        descriptor: Any = message.DESCRIPTOR.fields_by_name[field]
        self._encoder = Encoder(GetMessageClass(descriptor.message_type), documents)
        self._tag = tag_of(descriptor.number)
        self._kept: LruMap[tuple[Viewer, str], _Kept] = LruMap(limit)

    def of(self, caller: Caller, user: User) -> bytes:
        """Return the reply to a caller that holds a user."""
        place = (policy.viewer_of(caller, user.id), user.id)
        kept = self._kept.get(place)
        if kept is not None and kept.user is user:
            return kept.reply
        return self._make(place, policy.view(caller, user), user, kept)

    def of_profile(self, user: User) -> bytes:
        """Return the reply to anyone that holds a user."""
        place = (Viewer.ANYONE, user.id)
        kept = self._kept.get(place)
        if kept is not None and kept.user is user:
            return kept.reply
        return self._make(place, policy.profile(user), user, kept)

    def _make(self, place: tuple[Viewer, str], view: View, user: User, before: _Kept | None) -> bytes:
        parts = self._encoder.encode_parts(view, before.parts) if before else None
        reply = self._tag + delimited(parts.join() if parts else self._encoder.encode(view))
        weight = _OVERHEAD + len(reply) * (_PARTS if parts else 1)
        self._kept.put(place, _Kept(user, reply, parts), weight)
        return reply
