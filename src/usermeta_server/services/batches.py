"""Replies that hold many users: they end early rather than pass 3 MiB."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from usermeta_server.model import User

MAX_REPLY: Final = 3 << 20
"""Bytes that a reply may have: clients receive 4 MiB unless told otherwise."""


class Batch(NamedTuple):
    """What became of a batch of ids, each part in the order of the request."""

    replies: Sequence[bytes]
    missing: Sequence[str]
    deferred: Sequence[str]


def gather(user_ids: Sequence[str], users: Mapping[str, User], reply: Callable[[User], bytes]) -> Batch:
    """Make the parts of a batch's reply, as many users as fit and the ids of the others."""
    replies: list[bytes] = []
    missing: list[str] = []
    deferred: list[str] = []
    room = MAX_REPLY - sum(len(user_id) + 8 for user_id in user_ids)
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
