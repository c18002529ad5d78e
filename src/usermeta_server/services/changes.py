"""Changes and watch events as bytes, each made once for all who are told of it."""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Final

from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1.document_pb2 import Document as DocumentMessage
from usermeta.backend.v1.user_change_pb2 import UserChange
from usermeta_server import policy
from usermeta_server.caller import Caller
from usermeta_server.core.watch import Batch, ChangeEvent, Event, LeftEvent, SnapshotEvent
from usermeta_server.lru import LruMap
from usermeta_server.model import Change, ChangeKind, Document, User
from usermeta_server.services.messages import fill, put_time
from usermeta_server.services.reading import reading
from usermeta_server.services.requests import enum_values

_DOCUMENTS: Final[Mapping[DocumentMessage.ValueType, Document]] = {
    DocumentMessage.DOCUMENT_PUBLIC_METADATA: Document.PUBLIC,
    DocumentMessage.DOCUMENT_PRIVATE_METADATA: Document.PRIVATE,
    DocumentMessage.DOCUMENT_UNSAFE_METADATA: Document.UNSAFE,
}

_MAX_RESPONSE: Final = 1 << 20
"""Bytes of one response of a watch: what a client that does not read costs, about."""


@reading
def documents_named(values: Collection[DocumentMessage.ValueType]) -> tuple[Document, ...]:
    """Return the documents that a request names, all when it names none.

    Raises:
        UsermetaError: FIELD_INVALID, for unknown ones.
    """
    named = enum_values(values, _DOCUMENTS, "documents", "is not a document")
    return tuple(dict.fromkeys(named)) or tuple(Document)


class Changes:
    """Encodes changes for backends, and keeps those encoded last."""

    def __init__(self, limit: int) -> None:
        """Keep up to `limit` bytes (about)."""
        self._users: LruMap[tuple[str, int], bytes] = LruMap(limit)
        self._events: LruMap[int, tuple[Change, bytes]] = LruMap(limit)

    def message(self, caller: Caller, change: Change) -> UserChange:
        """Return a change as a message."""
        message = UserChange(
            change_id=change.id,
            user_id=change.user_id,
            kind=UserChange.Kind.ValueType(change.kind),
            request_id=change.request_id,
            changed_fields=change.parts,
            erased=change.erased,
        )
        message.actor.audience, message.actor.principal = change.actor
        put_time(message.time, change.time)
        # What a user was is not told when it is erased: a watcher that comes later could not be told either.
        if change.before is not None and change.kind is not ChangeKind.DELETED:
            message.before.MergeFromString(self._user(caller, change.before))
        if change.after is not None:
            message.after.MergeFromString(self._user(caller, change.after))
        return message

    def responses(self, caller: Caller, batch: Batch, before: str) -> Iterator[bytes]:
        """Yield the responses that tell of a batch, one unless that would pass 1 MiB.

        Of several, all but the last have the token `before`, of what was sent earlier: so a write is never split by
        going on with a token.
        """
        parts: list[bytes] = []
        room = _MAX_RESPONSE
        for event in batch.events:
            part = self._event(caller, event)
            room -= len(part)
            if room < 0 and parts:
                yield b"".join((*parts, _token(before)))
                parts, room = [], _MAX_RESPONSE - len(part)
            parts.append(part)
        yield b"".join((*parts, _token(batch.resume_token)))

    def _event(self, caller: Caller, event: Event) -> bytes:
        """Return a response with nothing but one event: put together they are one response with all of them."""
        if not isinstance(event, ChangeEvent):
            return _response(_MESSAGES[type(event)](self, caller, event))
        kept = self._events.get(event.change.id)
        if kept is None or kept[0] is not event.change:
            kept = (event.change, _response(pb.WatchUsersEvent(change=self.message(caller, event.change))))
            self._events.put(event.change.id, kept, len(kept[1]))
        return kept[1]

    def _snapshot(self, caller: Caller, event: SnapshotEvent) -> pb.WatchUsersEvent:
        message = pb.WatchUsersEvent()
        message.snapshot_user.change_id = event.user.version
        message.snapshot_user.user.MergeFromString(self._user(caller, event.user))
        return message

    def _left(self, _: Caller, event: LeftEvent) -> pb.WatchUsersEvent:
        return pb.WatchUsersEvent(left_filter=pb.LeftFilter(user_id=event.user_id, change_id=event.change_id))

    def _user(self, caller: Caller, user: User) -> bytes:
        kept = self._users.get((user.id, user.version))
        if kept is None:
            response = pb.GetUserResponse()
            fill(response.user, policy.view(caller, user))
            kept = response.user.SerializeToString()
            self._users.put((user.id, user.version), kept, len(kept))
        return kept


_MESSAGES: Final[Mapping[type, Callable[..., pb.WatchUsersEvent]]] = {
    SnapshotEvent: Changes._snapshot,  # noqa: SLF001  # this class's own table
    LeftEvent: Changes._left,  # noqa: SLF001  # as above
}


def _token(resume_token: str) -> bytes:
    return pb.WatchUsersResponse(resume_token=resume_token).SerializeToString()


def _response(event: pb.WatchUsersEvent) -> bytes:
    return pb.WatchUsersResponse(events=[event]).SerializeToString()
