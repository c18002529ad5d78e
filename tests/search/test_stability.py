"""Pages while users come, change and go: whoever did not change is seen exactly once, in order."""

import asyncio
import random
from collections import Counter
from typing import Any, Final

import pytest

from tests.rpc.requests import replace
from tests.search.support import built, create_index, mark, page
from tests.support import Service
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1.user_pb2 import User

PATH: Final = "public_metadata.n"
VALUES: Final[list[Any]] = [None, True, False, 0, 1, 2.5, -1, "a", "b", "", [], {}]
"""Few values of all types, so that pages end between equals."""

ORDERS: Final = [
    "",
    "id desc",
    "create_time desc",
    PATH,
    f"{PATH} desc",
    f"{PATH}, create_time desc",
    "username desc, id",
]


class Crowd:
    """Users with a mark, some of whom are left alone while a list is read."""

    def __init__(self, service: Service, seed: int) -> None:
        """Begin with nobody."""
        self.word = mark()
        self.alone: list[str] = []
        self._service = service
        self._random = random.Random(seed)  # noqa: S311  # to be repeatable
        self._others: list[str] = []

    @property
    def filter(self) -> str:
        """What finds them."""
        return f"unsafe_metadata.mark = {self.word}"

    async def fill(self, count: int) -> None:
        """Make so many; every third is left alone."""
        for number in range(count):
            made = await self._make()
            (self._others if number % 3 else self.alone).append(made)

    async def stir(self) -> None:
        """Let one come, one change and one go, in any order, of those who are not left alone."""
        for step in self._random.sample([self._come, self._change, self._go], 3):
            await step()

    async def _make(self) -> str:
        fields: dict[str, Any] = {"public_metadata": {"n": self._random.choice(VALUES)}}
        made = await self._service.user(username=mark(), unsafe_metadata={"mark": self.word}, **fields)
        return made.id

    async def _come(self) -> None:
        self._others.append(await self._make())

    async def _change(self) -> None:
        user_id = self._random.choice(self._others)
        value = {"n": self._random.choice(VALUES)}
        await self._service.admin.ReplaceUserMetadata(replace(user_id, public_metadata=value))
        renamed = User(id=user_id, username=mark())
        await self._service.admin.UpdateUser(pb.UpdateUserRequest(user=renamed))

    async def _go(self) -> None:
        user_id = self._others.pop(self._random.randrange(len(self._others)))
        await self._service.admin.DeleteUser(pb.DeleteUserRequest(user_id=user_id))


async def read(crowd: Crowd, service: Service, order: str, *, stirred: bool) -> Counter[str]:
    """Read a list in small pages, stirring the crowd after each, and count how often each user is seen."""
    seen: Counter[str] = Counter()
    token = ""
    while True:
        answer = await page(service, filter=crowd.filter, order_by=order, page_size=5, page_token=token)
        seen.update(user.id for user in answer.users)
        token = answer.next_page_token
        if not token:
            return seen
        if stirred:
            await crowd.stir()


@pytest.mark.parametrize("indexed", [False, True], ids=["scanned", "indexed"])
async def test_who_did_not_change_is_seen_exactly_once(own: Service, *, indexed: bool) -> None:
    """One comes, one changes and one goes between any two pages, by seeds that are repeatable."""
    if indexed:
        for path in (PATH, "unsafe_metadata.mark"):
            await create_index(own, path)
        await built(own, PATH, "unsafe_metadata.mark")
    for seed, order in enumerate(ORDERS):
        crowd = Crowd(own, seed)
        await crowd.fill(45)
        seen = await read(crowd, own, order, stirred=True)
        assert {user_id: seen[user_id] for user_id in crowd.alone} == dict.fromkeys(crowd.alone, 1), order
        assert len(seen) > len(crowd.alone), order


async def test_who_did_not_change_is_seen_exactly_once_while_others_write(own: Service) -> None:
    """Writers go on side by side with the readers of three lists, and a path is indexed meanwhile."""
    crowd = Crowd(own, 1)
    await crowd.fill(60)
    finished = asyncio.Event()

    async def write() -> int:
        stirs = 0
        while not finished.is_set():
            await crowd.stir()
            stirs += 1
        return stirs

    writing = asyncio.ensure_future(write())
    for order in ("create_time", PATH, f"{PATH} desc"):
        seen = await read(crowd, own, order, stirred=False)
        assert {user_id: seen[user_id] for user_id in crowd.alone} == dict.fromkeys(crowd.alone, 1), order
        await create_index(own, PATH)
    finished.set()
    assert await writing
