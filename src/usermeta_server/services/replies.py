"""Replies that hold one user, kept as bytes: what most calls return, and most of what they would cost.

A reply is kept with the record that it was made of, and serves whoever is to be told of an equal one: the record that
the store has at hand is the very same, one that a search found is the same again.
"""

from typing import Any, Final, NamedTuple, TypeVar

from google.protobuf.message import Message

from usermeta_server import policy
from usermeta_server.caller import Caller
from usermeta_server.lru import LruMap
from usermeta_server.model import User
from usermeta_server.policy import View, Viewer
from usermeta_server.services.encoded import Encoded, encoded
from usermeta_server.services.encoder import EncodedField, Encoder
from usermeta_server.services.messages import ReadMask, fill

M = TypeVar("M", bound=Message)

_OVERHEAD: Final = 700
"""Bytes that a kept reply costs besides its own, about."""


class _Reply(NamedTuple):
    """A record, and the reply that was made of it."""

    user: User
    field: EncodedField
    encoded: Encoded[Any]


class Replies:
    """Makes replies that have one user, and keeps those used last.

    Every response that has a user, or many, has it in the same field, so that the bytes of one are the bytes of all; a
    test holds that. So each method takes first, and only for the type checker, the type that the response is to be of.
    """

    def __init__(self, message: type[Message], field: str, limit: int) -> None:
        """Make them as this message with this one field, and keep up to `limit` bytes (about)."""
        self._message = message
        self._field = field
        self._encoder = Encoder(message, field)
        self._kept: LruMap[tuple[Viewer, str], _Reply] = LruMap(limit)

    def of(self, _: type[M], caller: Caller, user: User, mask: ReadMask = None) -> Encoded[M]:
        """Return the reply to a caller that holds a user, of whom the mask's fields are told, all without one."""
        if mask is not None:
            return self._masked(policy.view(caller, user), mask)
        kept = self._kept.get((policy.viewer_of(caller, user.id), user.id))
        return _serving(kept, user) or self._make(policy.view(caller, user), user, kept)

    def of_profile(self, _: type[M], user: User) -> Encoded[M]:
        """Return the reply to anyone that holds a user."""
        kept = self._kept.get((Viewer.ANYONE, user.id))
        return _serving(kept, user) or self._make(policy.profile(user), user, kept)

    def _make(self, view: View, user: User, before: _Reply | None) -> Encoded[Any]:
        field = self._encoder.encode(view, before.field if before else None)
        reply = _Reply(user, field, Encoded(field.data))
        self._kept.put((view.viewer, user.id), reply, len(field.data) + _OVERHEAD)
        return reply.encoded

    def _masked(self, view: View, mask: ReadMask) -> Encoded[Any]:
        message = self._message()
        user = getattr(message, self._field)
        user.SetInParent()
        fill(user, view, mask)
        return encoded(message)


def _serving(kept: _Reply | None, user: User) -> Encoded[Any] | None:
    return kept.encoded if kept is not None and (kept.user is user or kept.user == user) else None
