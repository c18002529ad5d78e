"""Replies that hold many users: they end early rather than pass 3 MiB."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, TypeVar

from google.protobuf.message import Message

from usermeta_server.model import User

MAX_REPLY: Final = 3 << 20
"""Bytes that a reply may have: clients receive 4 MiB unless told otherwise."""

_FRAME: Final = 8
"""Bytes that an element costs besides its own, about."""

M = TypeVar("M", bound=Message)


class Batch(NamedTuple):
    """What became of a batch of ids, each part in the order of the request."""

    replies: Sequence[bytes]
    missing: Sequence[str]
    deferred: Sequence[str]


def fitting(messages: Iterable[M]) -> list[M]:
    """Return as many messages of a list, from its first one on, as fit into a reply; one at the least."""
    page: list[M] = []
    room = MAX_REPLY
    for message in messages:
        room -= message.ByteSize() + _FRAME
        if room < 0 and page:
            break
        page.append(message)
    return page


def fitting_bytes(elements: Iterable[bytes]) -> list[bytes]:
    """Return as many encoded elements of a list, from its first one on, as fit into a reply; one at the least."""
    page: list[bytes] = []
    room = MAX_REPLY
    for element in elements:
        room -= len(element)
        if room < 0 and page:
            break
        page.append(element)
    return page


def gather(user_ids: Sequence[str], users: Mapping[str, User], reply: Callable[[User], bytes]) -> Batch:
    """Make the parts of a batch's reply, as many users as fit and the ids of the others."""
    replies: list[bytes] = []
    missing: list[str] = []
    deferred: list[str] = []
    room = MAX_REPLY - sum(len(user_id) + _FRAME for user_id in user_ids)
    for user_id in user_ids:
        user = users.get(user_id)
        if user is None:
            missing.append(user_id)
            continue
        if not deferred:
            made = reply(user)
            room -= len(made)
            if room >= 0:
                replies.append(made)
                continue
        deferred.append(user_id)
    return Batch(replies, missing, deferred)
