"""Turns: who waits for a place, and who gets the next one."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import pytest
import pytest_asyncio

from usermeta_server.errors import UsermetaError
from usermeta_server.turns import Turns

PLACES: Final = 2


class Works:
    """Works that take a place each, until they are told to end."""

    def __init__(self, turns: Turns) -> None:
        """Begin with none."""
        self.turns = turns
        self.begun: list[str] = []
        self._ends: list[asyncio.Event] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def add(self, owner: str, count: int = 1) -> None:
        """Begin works, as far as there are places."""
        self.tasks += [asyncio.create_task(self._work(owner)) for _ in range(count)]
        await asyncio.sleep(0)

    async def _work(self, owner: str) -> None:
        end = asyncio.Event()
        async with self.turns.taken(owner):
            self.begun.append(owner)
            self._ends.append(end)
            await end.wait()

    async def end_one(self) -> None:
        """End the work that began first, and let the next one begin."""
        self._ends.pop(0).set()
        for _ in range(3):
            await asyncio.sleep(0)

    async def end_all(self) -> None:
        """End all works one after the other."""
        while self._ends:
            await self.end_one()


@pytest_asyncio.fixture
async def works() -> AsyncIterator[Works]:
    """Return works of which two are done at once, and twenty may wait, of each owner ten."""
    made = Works(Turns(PLACES, 20, 10))
    yield made
    for task in made.tasks:
        task.cancel()
    await asyncio.gather(*made.tasks, return_exceptions=True)
    assert made.turns.idle


async def test_who_works_alone_has_all_places(works: Works) -> None:
    await works.add("a", 3)
    assert works.begun == ["a", "a"]


async def test_who_waits_has_its_turn_by_owner(works: Works) -> None:
    await works.add("a", 8)
    await works.add("b", 2)
    await works.add("c", 1)
    await works.end_all()
    assert max(place for place, owner in enumerate(works.begun) if owner != "a") < 6
    assert len(works.begun) == 11


async def test_while_there_are_others_one_place_is_kept_from_who_has_all_the_rest(works: Works) -> None:
    await works.add("a", 8)
    await works.add("b", 1)
    for _ in range(3):
        await works.end_one()
    assert works.begun.count("b") == 1
    begun = len(works.begun)
    await works.add("b", 1)
    assert works.begun[begun:] == ["b"], "it need not wait for any work of a"


async def test_what_finds_no_room_is_refused_and_may_be_tried_again(works: Works) -> None:
    await works.add("a", PLACES + 10)
    with pytest.raises(UsermetaError, match="OVERLOADED") as caught:
        async with works.turns.taken("a"):
            pass
    assert caught.value.retry_after > 0
    await works.add("b", 10)
    with pytest.raises(UsermetaError, match="OVERLOADED"):
        async with works.turns.taken("c"):
            pass


@pytest.mark.parametrize("meanwhile", [False, True])
async def test_who_leaves_frees_its_place(works: Works, meanwhile: bool) -> None:  # noqa: FBT001  # a case
    """Also when it leaves just as its turn has come."""
    await works.add("a", PLACES + 2)
    if meanwhile:
        works._ends[0].set()
        await asyncio.sleep(0)
    works.tasks[PLACES].cancel()
    for _ in range(3):
        await asyncio.sleep(0)
    await works.end_all()
    assert len(works.begun) == PLACES + 1


async def test_work_that_fails_gives_its_place_back() -> None:
    turns = Turns(1, 1, 1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            async with turns.taken("a"):
                1 / 0  # noqa: B018  # it fails
    assert turns.idle
