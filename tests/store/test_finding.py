"""Contract: users are found by predicate and order, page by page, and indexes change nothing but the time."""

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.store.contract import OpenStore, indexing, making, revising, soon, unindexing
from usermeta_server.core.query import parse_filter, parse_order
from usermeta_server.model import IndexState, User
from usermeta_server.store.evaluation import matcher, place_of, sort_key
from usermeta_server.store.predicates import UserQuery
from usermeta_server.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Sequence

DOCUMENTS = ('{"plan":"pro","score":1}', '{"plan":"free","score":2.5}', '{"score":null}', "{}", '{"plan":["pro",3]}')
FILTERS = (
    "",
    'public_metadata.plan = "pro"',
    'public_metadata.plan:"pro" OR public_metadata.score >= 2',
    "-public_metadata.plan:*",
    'public_metadata.score = null AND id > "user_02"',
    'create_time > "2020-01-01T00:00:00Z" AND public_metadata.plan != "pro"',
)
ORDERS = ("", "id desc", "public_metadata.score", "public_metadata.plan desc, create_time")


async def populate(store: Store, count: int = 23) -> None:
    for number in range(count):
        await store.write(*making(f"user_{number:02}"))
        document = DOCUMENTS[number * 7 % len(DOCUMENTS)]
        await store.write(*revising(f"user_{number:02}", public_metadata=document))


async def pages(store: Store, filter_text: str, order_text: str, size: int) -> list[User]:
    """Return all that a query finds, read page by page."""
    predicate, order = parse_filter(filter_text).predicate, parse_order(order_text).order
    found: list[User] = []
    page: Sequence[User] = ()
    while page := await soon(
        store.find_users(UserQuery(predicate, order, place_of(order)(page[-1]) if page else None, size))
    ):
        found += page
    return found


async def build(store: Store) -> int:
    """Do all that is to be done about indexes, and return how many steps it took."""
    steps = 0
    while await soon(store.build_indexes(5)):
        steps += 1
    return steps


@pytest.mark.parametrize("order_text", ORDERS)
@pytest.mark.parametrize("filter_text", FILTERS)
async def test_what_is_found_is_what_plain_python_finds(
    open_store: OpenStore, filter_text: str, order_text: str
) -> None:
    """Page by page and counted, with an index and without one."""
    async with open_store() as store:
        await populate(store)
        predicate, order = parse_filter(filter_text).predicate, parse_order(order_text).order
        everyone = await store.users_after("", 100)
        expected = sorted(filter(matcher(predicate), everyone), key=sort_key(order))
        for path in ((), ("public_metadata", "plan"), ("public_metadata", "score")):
            if path:
                await store.write(*indexing(path))
                await build(store)
            assert await pages(store, filter_text, order_text, 4) == expected
            assert await store.count_users(predicate) == len(expected)


async def test_a_search_sees_every_acknowledged_write(open_store: OpenStore) -> None:
    """Strongly consistent: a write that was answered is found, and its earlier state is not, by an index too."""
    async with open_store() as store:
        await store.write(*making("user_a"))
        await store.write(*indexing(("public_metadata", "n")))
        await build(store)
        for number in range(20):
            await store.write(*revising("user_a", public_metadata=f'{{"n":{number}}}'))
            assert await store.count_users(parse_filter(f"public_metadata.n = {number}").predicate) == 1
            assert await store.count_users(parse_filter(f"public_metadata.n < {number}").predicate) == 0


async def test_an_index_is_known_and_becomes_ready(open_store: OpenStore) -> None:
    """It begins as building, is ready when its steps are done, survives the store, and goes when it is deleted."""
    path = ("public_metadata", "plan")
    async with open_store() as store:
        await populate(store)
        assert await store.build_indexes() == 0
        await store.write(*indexing(path))
        assert [(each.path, each.state) for each in store.metadata_indexes()] == [(path, IndexState.BUILDING)]
        await build(store)
        (index,) = store.metadata_indexes()
        assert index.state is IndexState.READY
    async with open_store() as store:
        assert list(store.metadata_indexes()) == [index]
        await store.write(*unindexing(path))
        assert list(store.metadata_indexes()) == []
        await build(store)
        assert await store.build_indexes() == 0
        assert len(await pages(store, 'public_metadata.plan = "pro"', "", 100)) > 0


async def test_an_index_that_is_built_under_writers_misses_nothing(open_store: OpenStore) -> None:
    """Users that are made, changed and left alone while it is built are all found by it."""
    async with open_store() as store:
        await populate(store)
        await store.write(*indexing(("public_metadata", "plan")))

        async def change() -> None:
            for number in range(0, 40, 3):
                if number >= 23:
                    await store.write(*making(f"user_{number:02}"))
                await store.write(*revising(f"user_{number:02}", public_metadata='{"plan":"new"}'))

        await soon(asyncio.gather(change(), build(store)))
        await build(store)
        found = await pages(store, 'public_metadata.plan = "new"', "", 3)
        assert [user.id for user in found] == [f"user_{number:02}" for number in range(0, 40, 3)]
