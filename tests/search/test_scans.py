"""Scans that take long: they hold up no other call, and end with the name of an index that helps."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.rpc.requests import merge
from tests.search.support import built, count, create_index, everyone, kept_entries, listing, page, put
from tests.store.sqlite import engine_of
from tests.support import DEADLINE, USER, Service, document, refused, serving, settings, until
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta_server.store.sqlite.refold import FUNCTIONS
from usermeta_server.unicode import fold

PLAN: Final = "public_metadata.plan"
GOLD: Final = f"{PLAN} = gold"
SLOW: Final = "-nobody"
"""A condition that asks `fold` for names beyond ASCII: where the tests let a scan stand still."""


class Stall:
    """Lets every search stand still at the first user whose first name is `é`, until it is let go on."""

    def __init__(self) -> None:
        """Let none stand still for longer than a test may take."""
        self.reached = 0
        self._go = threading.Event()

    def fold(self, text: str) -> str:
        """Take the place of the function of SQL."""
        if text == "é":
            self.reached += 1
            self._go.wait(DEADLINE)
        return fold(text)

    def go_on(self) -> None:
        """Let all go on, from now on."""
        self._go.set()


@asynccontextmanager
async def stalling(
    folder: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> AsyncIterator[tuple[Service, Stall]]:
    """Run a server with a limit on searches, in whose scans one can stand still; 1 user of 11 is on the plan gold."""
    stall = Stall()
    monkeypatch.setitem(FUNCTIONS, "fold", stall.fold)
    monkeypatch.setattr("usermeta_server.upkeep._INDEX_SECONDS", 0.01)
    async with serving(settings(folder, search=seconds)) as service:
        free = [USER._replace(id=f"user_{number:02}", first_name="é") for number in range(10)]
        gold = USER._replace(id="user_gold", username="gold", public_metadata='{"plan":"gold"}')
        await put(service.server.app.store, [*free, gold])
        try:
            yield service, stall
        finally:
            stall.go_on()


def interrupting(service: Service, stall: Stall, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a scan that stands still go on once it has been interrupted."""
    store = service.server.app.store
    for connection in engine_of(store)._search._connections:
        interrupt = connection.interrupt

        async def then_go_on(interrupt: object = interrupt) -> None:
            await interrupt()  # type: ignore[operator]  # a bound method, that mypy would not let a default be
            stall.go_on()

        monkeypatch.setattr(connection, "interrupt", then_go_on)


async def test_scans_hold_up_neither_reads_nor_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While as many scans as may run stand still, all other calls are answered."""
    async with stalling(tmp_path, monkeypatch, DEADLINE) as (service, stall):
        made = await service.user(username="ada")
        scans = [asyncio.ensure_future(everyone(service, filter=SLOW)) for _ in range(2)]
        await until(lambda: stall.reached == 2)
        assert (await service.get(made.id)).username == "ada"
        assert (await service.get("user_05")).first_name == "é"
        assert (await service.admin.GetUser(pb.GetUserRequest(username="ADA"))).user.id == made.id
        await service.admin.MergeUserMetadata(merge(made.id, public_metadata={"plan": "pro"}))
        await create_index(service, PLAN)
        await built(service, PLAN)
        assert document((await service.get(made.id)).public_metadata) == {"plan": "pro"}
        assert not any(scan.done() for scan in scans)
        stall.go_on()
        assert [len(found) for found in await asyncio.gather(*scans)] == [12, 12]


async def test_a_fast_search_goes_beside_a_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with stalling(tmp_path, monkeypatch, DEADLINE) as (service, stall):
        scan = asyncio.ensure_future(everyone(service, filter=SLOW))
        await until(lambda: stall.reached == 1)
        assert [each.id for each in await everyone(service, filter=GOLD)] == ["user_gold"]
        assert await count(service) == 11
        assert not scan.done()
        stall.go_on()
        assert len(await scan) == 11


async def test_a_scan_that_takes_too_long_names_the_index_that_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stalling(tmp_path, monkeypatch, 0.05) as (service, stall):
        interrupting(service, stall, monkeypatch)
        refusal = await refused(service.admin.ListUsers(listing(filter=f"{SLOW} AND {GOLD}")), "INDEX_REQUIRED")
        assert refusal.metadata == {"path": PLAN}


async def test_counting_too_long_names_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with stalling(tmp_path, monkeypatch, 0.05) as (service, stall):
        interrupting(service, stall, monkeypatch)
        request = pb.CountUsersRequest(filter=f'{SLOW} AND private_metadata."zip code" = 1')
        refusal = await refused(service.admin.CountUsers(request), "INDEX_REQUIRED")
        assert refusal.metadata == {"path": 'private_metadata."zip code"'}


async def test_where_no_index_helps_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with stalling(tmp_path, monkeypatch, 0.05) as (service, stall):
        interrupting(service, stall, monkeypatch)
        assert (await refused(service.admin.ListUsers(listing(filter=SLOW)), "INDEX_REQUIRED")).metadata == {}


async def test_with_the_index_that_was_named_the_same_search_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stalling(tmp_path, monkeypatch, DEADLINE) as (service, stall):
        await create_index(service, PLAN)
        await built(service, PLAN)
        found = (await page(service, filter=f"{SLOW} AND {GOLD}")).users
        assert [each.id for each in found] == ["user_gold"]
        assert not stall.reached


async def test_after_a_scan_was_ended_searches_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connections of ended scans are used again: more scans are ended than there are connections."""
    async with stalling(tmp_path, monkeypatch, 0.05) as (service, stall):
        interrupting(service, stall, monkeypatch)
        for _ in range(4):
            stall._go.clear()
            await refused(service.admin.CountUsers(pb.CountUsersRequest(filter=SLOW)), "INDEX_REQUIRED")
        engine_of(service.server.app.store)._search._limit = DEADLINE  # this one is not to be ended
        assert await count(service, GOLD) == 1


async def test_a_caller_who_goes_away_ends_the_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with stalling(tmp_path, monkeypatch, DEADLINE) as (service, stall):
        interrupting(service, stall, monkeypatch)
        calls = [service.admin.ListUsers(listing(filter=SLOW)) for _ in range(2)]
        tasks = [asyncio.ensure_future(call) for call in calls]
        await until(lambda: stall.reached == 2)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert await count(service, GOLD) == 1


async def test_an_index_that_is_dropped_under_a_search_does_not_falsify_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search whose index is dropped between its look at it and its own turn finds all there are."""
    async with stalling(tmp_path, monkeypatch, DEADLINE) as (service, _):
        await create_index(service, PLAN)
        await built(service, PLAN)
        search = engine_of(service.server.app.store)._search
        run, looked, go_on = search._run, asyncio.Event(), asyncio.Event()

        async def after_a_look(*statement: Any) -> Any:  # noqa: ANN401  # passed on
            rows = await run(*statement)
            looked.set()
            await go_on.wait()
            return rows

        monkeypatch.setattr(search, "_run", after_a_look)
        waiting = asyncio.ensure_future(everyone(service, filter=GOLD))
        await looked.wait()
        await service.admin.DeleteMetadataIndex(pb.DeleteMetadataIndexRequest(path=PLAN))
        await until(lambda: not kept_entries(service.database))
        made = await service.user(public_metadata={"plan": "gold"})
        go_on.set()
        assert {each.id for each in await waiting} == {"user_gold", made.id}
