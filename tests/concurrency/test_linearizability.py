"""Reads and writes at once, over a real channel: for each user one order of the calls explains all that callers saw.

Each user has a counter that is only incremented, so that every state has a number of its own and the order can only be
that of the numbers. It explains a history if no call returns less than one that had ended before it began, increments
return more than that and never the same twice, and no call returns an increment that had not begun.
"""

import asyncio
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from tests.rpc.requests import patch
from tests.support import Service, serving, settings
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.frontend.v1 import frontend_service_pb2 as frontend_pb

USERS: Final = 5
CALLERS: Final = 24
CALLS: Final = 50
CACHES: Final = {"no cache": 0, "room for two users": 5_000, "room for all": 1 << 20}
"""Bytes for users at hand, and for replies."""


class Target(NamedTuple):
    """A user, and a session of theirs."""

    service: Service
    user_id: str
    session: str


class Seen(NamedTuple):
    """A call that ended: whether it wrote, the count that it returned, and when it began and ended."""

    wrote: bool
    found: int
    began: int
    ended: int


def counted(user: Any) -> int:  # noqa: ANN401  # any message with a public document
    return int(user.public_metadata.fields["count"].number_value)


async def increment(target: Target) -> int:
    step = {"op": "increment", "path": "/count", "value": 1}
    return counted((await target.service.admin.PatchUserMetadata(patch(target.user_id, public_metadata=[step]))).user)


async def get_user(target: Target) -> int:
    return counted(await target.service.get(target.user_id))


async def batch_get_users(target: Target) -> int:
    request = pb.BatchGetUsersRequest(user_ids=[target.user_id])
    return counted((await target.service.admin.BatchGetUsers(request)).users[0])


async def list_users(target: Target) -> int:
    request = pb.ListUsersRequest(filter=f'id = "{target.user_id}"')
    return counted((await target.service.admin.ListUsers(request)).users[0])


async def get_own_user(target: Target) -> int:
    return counted((await target.service.frontend(target.session).GetUser(frontend_pb.GetUserRequest())).user)


async def get_profile(target: Target) -> int:
    request = frontend_pb.GetProfileRequest(user_id=target.user_id)
    return counted((await target.service.frontend().GetProfile(request)).profile)


async def write_elsewhere(target: Target) -> int:
    """Change what a frontend does not see of the count's user, and return the count that the reply has."""
    step = {"op": "increment", "path": "/other", "value": 1}
    return counted((await target.service.admin.PatchUserMetadata(patch(target.user_id, private_metadata=[step]))).user)


READS: Final[tuple[Callable[[Target], Awaitable[int]], ...]] = (
    get_user,
    batch_get_users,
    list_users,
    get_own_user,
    get_profile,
    write_elsewhere,
)


@pytest.mark.parametrize("cache", CACHES)
async def test_one_order_explains_what_everyone_saw(tmp_path: Path, cache: str) -> None:
    """Whichever way a user is read, by whomever, and whatever of them is kept at hand."""
    events = count()
    history: Mapping[str, list[Seen]] = defaultdict(list)

    async def call(targets: list[Target], chance: random.Random) -> None:
        for _ in range(CALLS):
            target, wrote = chance.choice(targets), chance.random() < 0.4
            way = increment if wrote else chance.choice(READS)
            began = next(events)
            found = await way(target)
            history[target.user_id].append(Seen(wrote, found, began, next(events)))

    async with serving(settings(tmp_path, cache=CACHES[cache])) as service:
        made = [await service.user(public_metadata={"count": 0}) for _ in range(USERS)]
        targets = [Target(service, user.id, await service.session(user.id)) for user in made]
        # Seeded, so that who calls what is the same each time; how the calls meet is up to the machine.
        await asyncio.gather(*(call(targets, random.Random(seed)) for seed in range(CALLERS)))  # noqa: S311
        assert sum(map(len, history.values())) == CALLERS * CALLS
        for target in targets:
            check(history[target.user_id], await get_user(target))


def check(seen: list[Seen], last: int) -> None:
    """Check that the order of the counts explains a history, after which the count is `last`."""
    writes = {each.found: each for each in seen if each.wrote}
    assert sorted(writes) == list(range(1, last + 1)), "an increment was lost, or counted twice"
    for each in seen:
        assert each.found == 0 or writes[each.found].began < each.ended, "what had not begun was seen"
    ended = sorted(seen, key=lambda each: each.ended)
    floor, place = 0, 0
    for each in sorted(seen, key=lambda each: each.began):
        while ended[place].ended < each.began:
            floor = max(floor, ended[place].found)
            place += 1
        assert each.found >= floor + each.wrote, "a call went back behind one that had ended before it began"


def test_the_check_finds_what_is_out_of_order() -> None:
    """A stale read, a lost increment, and a read from the future are each refused."""
    write, read = Seen(wrote=True, found=1, began=0, ended=1), Seen(wrote=False, found=0, began=2, ended=3)
    check([write, read._replace(found=1)], last=1)
    early = [write._replace(began=4, ended=5), read._replace(found=1)]
    for history, last in (([write, read], 1), ([write], 2), (early, 1)):
        with pytest.raises(AssertionError):
            check(history, last)
