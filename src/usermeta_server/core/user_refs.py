"""Whom a request is about: a user by its id, or whoever has an identifier by the time of the write."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, TypeAlias, TypeVar

from usermeta_server.core.writes import MovedError, until_settled
from usermeta_server.model import Identifier, User
from usermeta_server.store.contract import Draft, Reader, Reads

T = TypeVar("T")


UserRef: TypeAlias = str | Identifier
"""A user as a request names it: by its id, or by an identifier, which is looked up."""


class Subject(NamedTuple):
    """The user that a write is about: its id, empty when nobody is, and the identifier by which it was looked up."""

    user_id: str
    found_by: Identifier | None = None


async def look_up(store: Reader, ref: UserRef) -> Subject:
    """Return whom a reference means by now."""
    if isinstance(ref, str):
        return Subject(ref)
    user = await store.user_by(ref)
    return Subject(user.id if user else "", ref)


def acting_on(store: Reader, ref: UserRef, act: Callable[[Subject], Awaitable[T]]) -> Awaitable[T]:
    """Return what a write returns that is given the user whom a reference means.

    It has to declare `reads_of` and to ask for the user by `user_in`; it is done again when the identifier has become
    another user's in between.
    """
    return act(Subject(ref)) if isinstance(ref, str) else until_settled(lambda: look_up(store, ref), act)


def acting_on_all(
    store: Reader, refs: Sequence[UserRef], act: Callable[[Sequence[Subject]], Awaitable[T]]
) -> Awaitable[T]:
    """Return what a write of many users returns; see `acting_on`."""
    named = [Subject(ref) for ref in refs if isinstance(ref, str)]
    if len(named) == len(refs):
        return act(named)
    return until_settled(lambda: asyncio.gather(*(look_up(store, ref) for ref in refs)), act)


def reads_of(user_id: str, found_by: Identifier | None) -> Reads:
    """Return what a mutation has to declare that calls `user_in` for a `Subject`."""
    return Reads(users=(user_id,), identifiers=(found_by,) if found_by else ())


def user_in(draft: Draft, user_id: str, found_by: Identifier | None) -> User | None:
    """Return the user of a `Subject` as it is by now, None when there is none.

    Raises:
        MovedError: the identifier is another user's by now than when it was looked up.
    """
    if found_by is not None and (draft.identifiers.get(found_by) or "") != user_id:
        raise MovedError
    return draft.users.get(user_id)
