"""Changes and watch events as bytes, each made once for all who are told of it."""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Final, TypeAlias

from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1.document_pb2 import Document as DocumentMessage
from usermeta.backend.v1.user_change_pb2 import UserChange
from usermeta.backend.v1.user_pb2 import User as UserMessage
from usermeta_server import policy
from usermeta_server.caller import Caller
from usermeta_server.core.watch import ChangeEvent, Event, LeftEvent, SnapshotEvent, WatchBatch
from usermeta_server.lru import LruMap
from usermeta_server.model import Change, ChangeKind, Document, User
from usermeta_server.services.encoded import Encoded, encoded, joined
from usermeta_server.services.messages import ReadMask, fill, put_time
from usermeta_server.services.packing import Room
from usermeta_server.services.reading import reading
from usermeta_server.services.requests import enum_values

_DOCUMENTS: Final[Mapping[DocumentMessage.ValueType, Document]] = {
    DocumentMessage.DOCUMENT_PUBLIC_METADATA: Document.PUBLIC,
    DocumentMessage.DOCUMENT_PRIVATE_METADATA: Document.PRIVATE,
    DocumentMessage.DOCUMENT_UNSAFE_METADATA: Document.UNSAFE,
}

_MAX_RESPONSE: Final = 1 << 20
"""Bytes of one response of a watch: what a client that does not read costs, about."""

_Response: TypeAlias = Encoded[pb.WatchUsersResponse]


@reading
def documents_named(values: Collection[DocumentMessage.ValueType]) -> tuple[Document, ...]:
    """Return the documents that a request names, all when it names none.

    Raises:
        UsermetaError: FIELD_INVALID, for unknown ones.
    """
    named = enum_values(values, _DOCUMENTS, "documents", "is not a document")
    return tuple(dict.fromkeys(named)) or tuple(Document)


class Changes:
    """Encodes changes for backends, and keeps those encoded last, by who may read what of them."""

    def __init__(self, limit: int) -> None:
        """Keep up to `limit` bytes (about)."""
        self._users: LruMap[tuple[policy.Viewer, ReadMask, str, int], bytes] = LruMap(limit)
        self._events: LruMap[tuple[policy.Viewer, ReadMask, int], tuple[Change, _Response]] = LruMap(limit)

    def message(self, caller: Caller, change: Change, mask: ReadMask = None) -> UserChange:
        """Return a change as a message; of the users before and after it the mask's fields."""
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
            message.before.MergeFromString(self._user(caller, change.before, mask))
        if change.after is not None:
            message.after.MergeFromString(self._user(caller, change.after, mask))
        return message

    def responses(self, caller: Caller, batch: WatchBatch, before: str, mask: ReadMask = None) -> Iterator[_Response]:
        """Yield the responses that tell of a batch, one unless that would pass 1 MiB.

        Of several, all but the last have the token `before`, of what was sent earlier: so a write is never split by
        going on with a token.
        """
        parts: list[_Response] = []
        room = Room(_MAX_RESPONSE)
        for event in batch.events:
            part = self._event(caller, event, mask)
            if not room.take(part) and parts:
                yield joined([*parts, _token(before)])
                parts, room = [], Room(_MAX_RESPONSE)
                room.take(part)
            parts.append(part)
        yield joined([*parts, _token(batch.resume_token)])

    def _event(self, caller: Caller, event: Event, mask: ReadMask) -> _Response:
        """Return a response with nothing but one event: put together they are one response with all of them."""
        if not isinstance(event, ChangeEvent):
            return _response(_MESSAGES[type(event)](self, caller, event, mask))
        change = event.change
        key = (policy.viewer_of(caller, change.user_id), mask, change.id)
        kept = self._events.get(key)
        if kept is None or kept[0] is not change:
            kept = (change, _response(pb.WatchUsersEvent(change=self.message(caller, change, mask))))
            self._events.put(key, kept, len(kept[1].data))
        return kept[1]

    def _snapshot(self, caller: Caller, event: SnapshotEvent, mask: ReadMask) -> pb.WatchUsersEvent:
        message = pb.WatchUsersEvent()
        message.snapshot_user.change_id = event.user.version
        message.snapshot_user.user.MergeFromString(self._user(caller, event.user, mask))
        return message

    def _left(self, _: Caller, event: LeftEvent, __: ReadMask) -> pb.WatchUsersEvent:
        return pb.WatchUsersEvent(left_filter=pb.LeftFilter(user_id=event.user_id, change_id=event.change_id))

    def _user(self, caller: Caller, user: User, mask: ReadMask) -> bytes:
        key = (policy.viewer_of(caller, user.id), mask, user.id, user.version)
        kept = self._users.get(key)
        if kept is None:
            message = UserMessage()
            fill(message, policy.view(caller, user), mask)
            kept = message.SerializeToString()
            self._users.put(key, kept, len(kept))
        return kept


_MESSAGES: Final[Mapping[type, Callable[..., pb.WatchUsersEvent]]] = {
    SnapshotEvent: Changes._snapshot,  # noqa: SLF001  # this class's own table
    LeftEvent: Changes._left,  # noqa: SLF001  # as above
}


def _token(resume_token: str) -> _Response:
    return encoded(pb.WatchUsersResponse(resume_token=resume_token))


def _response(event: pb.WatchUsersEvent) -> _Response:
    return encoded(pb.WatchUsersResponse(events=[event]))
