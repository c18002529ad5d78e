"""Whom a request is about: a user by its id, or whoever has an identifier by the time of the write."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, TypeVar

from usermeta_server.core.writes import MovedError, until_settled
from usermeta_server.model import Identifier, User
from usermeta_server.store.base import Reads, Store, Transaction

T = TypeVar("T")


class UserRef(NamedTuple):
    """A user as a request names it: by its id, or by an identifier.

    With an identifier (`found_by`) the id is empty until it is looked up, and stays so when nobody has it.
    """

    user_id: str
    found_by: Identifier | None = None


async def look_up(store: Store, ref: UserRef) -> UserRef:
    """Return a reference with the id of its user."""
    if ref.found_by is None:
        return ref
    user = await store.user_by(ref.found_by)
    return ref._replace(user_id=user.id if user else "")


def acting_on(store: Store, ref: UserRef, act: Callable[[UserRef], Awaitable[T]]) -> Awaitable[T]:
    """Return what a write of a user returns, which is given the reference with the user's id.

    It has to declare `reads_of` and to ask for the user by `user_in`; it is done again when the identifier has become
    another user's in between.
    """
    return act(ref) if ref.found_by is None else until_settled(lambda: look_up(store, ref), act)


def acting_on_all(
    store: Store, refs: Sequence[UserRef], act: Callable[[Sequence[UserRef]], Awaitable[T]]
) -> Awaitable[T]:
    """Return what a write of many users returns; see `acting_on`."""
    if all(ref.found_by is None for ref in refs):
        return act(refs)
    return until_settled(lambda: asyncio.gather(*(look_up(store, ref) for ref in refs)), act)


def reads_of(user_id: str, found_by: Identifier | None) -> Reads:
    """Return what a mutation has to declare to call `user_in`."""
    return Reads(users=(user_id,), identifiers=(found_by,) if found_by else ())


def user_in(transaction: Transaction, user_id: str, found_by: Identifier | None) -> User | None:
    """Return the user that was referred to as it is by now, None when there is none.

    Raises:
        MovedError: the identifier is another user's by now than when it was looked up.
    """
    if found_by is not None and (transaction.identifiers.get(found_by) or "") != user_id:
        raise MovedError
    return transaction.users.get(user_id)
