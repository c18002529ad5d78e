"""Responses that hold many of something, pages and batches: they end early rather than pass 3 MiB."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from google.protobuf.message import Message

from usermeta_server.services.encoded import Encoded, encoded, joined

MAX_REPLY: Final = 3 << 20
"""Bytes that a reply may have: clients receive 4 MiB unless told otherwise."""

_FRAME: Final = 8
"""Bytes that an id costs besides its own, about."""

M = TypeVar("M", bound=Message)
T = TypeVar("T")


class Room:
    """What is left of the bytes that a response may have."""

    __slots__ = ("_left",)

    def __init__(self, size: int = MAX_REPLY) -> None:
        """Begin with all of it."""
        self._left = size

    def take(self, part: Encoded[Any]) -> bool:
        """Take the room of a part, and tell whether there was so much; if not, there is none left for any other."""
        self._left -= len(part.data)
        return self._left >= 0


def paged(
    response: Callable[..., M],
    found: Sequence[T],
    size: int,
    encode: Callable[[T], Encoded[M]],
    token_after: Callable[[T], str],
) -> Encoded[M]:
    """Return a page of a list: as much of what was found as fits, one at the least.

    Args:
        response: the class of the response, which has a `next_page_token`.
        found: what the page may hold, and one more if there is more.
        size: how many the page may hold.
        encode: gives a response that holds one of them and nothing else.
        token_after: gives the token of the page that follows one of them.
    """
    room = Room()
    page: list[Encoded[M]] = []
    for each in found[:size]:
        part = encode(each)
        if not room.take(part) and page:
            break
        page.append(part)
    more = len(page) < len(found)
    return joined([*page, encoded(response(next_page_token=token_after(found[len(page) - 1]) if more else ""))])


def gathered(
    response: Callable[..., M], user_ids: Sequence[str], found: Mapping[str, T], encode: Callable[[T], Encoded[M]]
) -> Encoded[M]:
    """Return what was found by a batch of ids, in their order: as many as fit, and the ids of the others.

    Args:
        response: the class of the response, which has `missing_user_ids` and `deferred_user_ids`.
        user_ids: the ids of the request.
        found: what there is, by id.
        encode: as for `paged`.
    """
    room = Room(MAX_REPLY - sum(len(user_id) + _FRAME for user_id in user_ids))
    parts: list[Encoded[M]] = []
    missing: list[str] = []
    deferred: list[str] = []
    for user_id in user_ids:
        if user_id not in found:
            missing.append(user_id)
        elif not deferred and room.take(part := encode(found[user_id])):
            parts.append(part)
        else:
            deferred.append(user_id)
    return joined([*parts, encoded(response(missing_user_ids=missing, deferred_user_ids=deferred))])
