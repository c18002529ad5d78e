"""What services keep encoded is kept by who may read it: nobody is handed what was encoded for another."""

from collections.abc import Callable
from typing import Final

import pytest

from tests.support import USER
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.frontend.v1 import frontend_service_pb2 as frontend_pb
from usermeta_server.caller import Audience, Caller, Principal, PrincipalKind
from usermeta_server.core.watch import ChangeEvent, Event, SnapshotEvent, WatchBatch
from usermeta_server.model import Actor, Change, ChangeKind, Position, Scope
from usermeta_server.services.changes import Changes
from usermeta_server.services.messages import ReadMask
from usermeta_server.services.replies import Replies

RECORD: Final = USER._replace(
    external_id="idp|needle", public_metadata='{"plan":"pro"}', private_metadata='{"needle":1}'
)
CHANGE: Final = Change(
    *(Position(2, b"12345678"), 2, 1, RECORD.id, ChangeKind.METADATA_WRITTEN, Actor("backend", "secret_key:key_1"), ""),
    *(("private_metadata",), RECORD, RECORD, False),
)
BACKEND: Final = Caller(Audience.BACKEND, "", Principal(PrincipalKind.SECRET_KEY, "key_1", Scope.ADMIN))
OTHERS: Final = {
    "the user": Caller(Audience.FRONTEND, "", Principal(PrincipalKind.USER, RECORD.id, user_id=RECORD.id)),
    "another user": Caller(Audience.FRONTEND, "", Principal(PrincipalKind.USER, "user_2", user_id="user_2")),
    "anyone": Caller(Audience.FRONTEND, "", Principal(PrincipalKind.ANONYMOUS)),
}


def in_a_list(changes: Changes, caller: Caller, mask: ReadMask = None) -> bytes:
    """Return a change as ListUserChanges has it."""
    return changes.message(caller, CHANGE, mask).SerializeToString()


def in_a_watch(changes: Changes, caller: Caller, mask: ReadMask = None) -> bytes:
    """Return a change as WatchUsers has it."""
    return _watched(ChangeEvent(CHANGE), changes, caller, mask)


def in_a_snapshot(changes: Changes, caller: Caller, mask: ReadMask = None) -> bytes:
    """Return a user as the snapshot of WatchUsers has it."""
    return _watched(SnapshotEvent(RECORD), changes, caller, mask)


def _watched(event: Event, changes: Changes, caller: Caller, mask: ReadMask) -> bytes:
    (response,) = changes.responses(caller, WatchBatch([event], "token"), "before", mask)
    return response.data


Encode = Callable[[Changes, Caller, ReadMask], bytes]
ENCODING: Final[list[Encode]] = [in_a_list, in_a_watch, in_a_snapshot]


@pytest.mark.parametrize("encode", ENCODING)
@pytest.mark.parametrize("who", OTHERS)
def test_a_frontend_is_not_handed_a_change_that_was_encoded_for_a_backend(encode: Encode, who: str) -> None:
    """The backend's message has fields that no frontend may read: for one it cannot be filled at all."""
    changes = Changes(1 << 20)
    assert b"needle" in encode(changes, BACKEND, None)
    with pytest.raises(KeyError):
        encode(changes, OTHERS[who], None)


@pytest.mark.parametrize("encode", ENCODING)
def test_what_was_encoded_for_a_mask_serves_that_mask_only(encode: Encode) -> None:
    changes = Changes(1 << 20)
    for mask, holds in ((None, True), (frozenset({"id"}), False)) * 2:
        assert (b"needle" in encode(changes, BACKEND, mask)) is holds


def test_an_event_is_encoded_once_for_all_backends() -> None:
    changes = Changes(1 << 20)
    other = BACKEND._replace(principal=Principal(PrincipalKind.SECRET_KEY, "key_2", Scope.READ))
    batch = WatchBatch([ChangeEvent(CHANGE)], "token")
    first, second = ([*changes.responses(caller, batch, "before")] for caller in (BACKEND, other))
    assert first == second
    assert len(changes._events) == 1


@pytest.mark.parametrize("mask", [None, frozenset({"id", "private_metadata"})])
@pytest.mark.parametrize("who", OTHERS)
def test_a_frontend_is_not_handed_a_reply_that_was_encoded_for_a_backend(who: str, mask: ReadMask) -> None:
    replies = Replies(pb.GetUserResponse, "user", 1 << 20)
    assert b"needle" in replies.of(pb.GetUserResponse, BACKEND, RECORD, mask).data
    with pytest.raises(KeyError):
        replies.of(pb.GetUserResponse, OTHERS[who], RECORD, mask)


def test_nobody_is_handed_a_reply_that_was_encoded_for_the_user() -> None:
    replies = Replies(frontend_pb.GetUserResponse, "user", 1 << 20)
    assert replies.of(frontend_pb.GetUserResponse, OTHERS["the user"], RECORD).data
    for who in ("another user", "anyone"):
        with pytest.raises(KeyError):
            replies.of(frontend_pb.GetUserResponse, OTHERS[who], RECORD)
