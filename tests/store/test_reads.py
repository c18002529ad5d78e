"""Contract: what reads return, and that they never wait for the writer."""

import asyncio

from tests.store.contract import Moments, OpenStore, creating, deleting, every_view, named, saving, soon, started
from usermeta_server.model import Scope, SecretKey, SigningKey
from usermeta_server.store.contract import Draft, Reads


async def test_what_does_not_exist_is_none(open_store: OpenStore) -> None:
    """A user that was never made is nowhere, nor is anybody else taken for it."""
    async with open_store() as store:
        await store.write(*creating("user_a", "ada"))
        assert store.cached_user("user_") is None
        assert await store.user("user_") is None
        assert await store.user("") is None
        assert await store.users([]) == {}
        assert await store.user_by(named("ad")) is None
        assert await store.user_by(named("")) is None


async def test_users_returns_those_that_exist(open_store: OpenStore) -> None:
    """Some are in the cache and some are not, some are asked for twice, some do not exist."""
    async with open_store() as store:
        made = {user_id: await store.write(*saving(user_id)) for user_id in ("user_a", "user_b", "user_c")}
    async with open_store() as store:
        await store.user("user_b")
        assert await store.users(["user_c", "user_x", "user_b", "user_a", "user_b"]) == made


async def test_deleted_users_are_gone_from_every_way_of_reading(open_store: OpenStore) -> None:
    """Once a deletion is acknowledged, nothing returns the user, whatever was cached; nor after reopening."""
    async with open_store() as store:
        user = await store.write(*creating("user_a", "ada"))
        assert await every_view(store, user) == [user] * 4
        await store.write(*deleting("user_a"))
        assert store.cached_user("user_a") is None
        assert await every_view(store, user) == [None] * 4
    async with open_store() as store:
        assert await every_view(store, user) == [None] * 4


async def test_a_name_is_free_after_its_user_was_deleted(open_store: OpenStore) -> None:
    """Another user can take the name, and is found by it."""
    async with open_store() as store:
        await store.write(*creating("user_a", "ada"))
        await store.write(*deleting("user_a"))
        user = await store.write(*creating("user_b", "ada"))
        assert await every_view(store, user) == [user] * 4


async def test_reads_do_not_wait_for_the_writer(open_store: OpenStore, moments: Moments) -> None:
    """While a transaction with these very rows is being committed every read answers, with what was before."""
    async with open_store(cache_bytes=0) as store:
        user = await store.write(*creating("user_a", "ada"))
        async with moments.hold("before_commit") as reached:
            (writing,) = await started(store.write(*saving("user_a", first_name="Ada")))
            await soon(reached.wait())
            assert await every_view(store, user) == [user, user, user, None]
            assert await soon(store.secret_keys()) == []
            assert await soon(store.signing_keys()) == []
            assert not writing.done()
        after = await soon(writing)
        assert after.first_name == "Ada"
        assert await every_view(store, after) == [after, after, after, None]


async def test_a_reader_that_goes_away_takes_nothing_from_others(open_store: OpenStore, moments: Moments) -> None:
    """Of readers that ask for one user at once some are cancelled: the others get it."""
    async with open_store(cache_bytes=0) as store:
        user = await store.write(*saving("user_a"))
        async with moments.hold("after_read") as reached:
            readers = await started(*(store.user("user_a") for _ in range(4)))
            await soon(reached.wait())
            for reader in readers[:2]:
                reader.cancel()
            await asyncio.sleep(0)
        results = await soon(asyncio.gather(*readers, return_exceptions=True))
        assert results[2:] == [user, user]
        assert all(isinstance(result, asyncio.CancelledError) for result in results[:2])
        assert await soon(store.user("user_a")) == user


async def test_secret_keys_come_in_pages_in_the_order_of_their_ids(open_store: OpenStore) -> None:
    """Each page begins after the last id of the one before."""
    keys = [SecretKey(f"key_{name}", name, (Scope.READ,), b"digest", 1, 0, 0) for name in "badce"]

    def change(draft: Draft) -> None:
        for key in keys:
            draft.secret_keys.put(key.id, key)

    async with open_store() as store:
        await store.write(Reads(), change)
        first = await store.secret_keys(limit=2)
        rest = await store.secret_keys(first[-1].id)
        assert [key.display_name for key in first] == ["a", "b"]
        assert [key.display_name for key in rest] == ["c", "d", "e"]
        assert await store.secret_keys("key_e") == []


async def test_signing_keys_come_newest_first(open_store: OpenStore) -> None:
    """Whatever their ids are."""
    keys = [SigningKey("sign_b", "PEM", 2), SigningKey("sign_c", "PEM", 3), SigningKey("sign_a", "PEM", 1)]

    def change(draft: Draft) -> None:
        for key in keys:
            draft.signing_keys.put(key.id, key)

    async with open_store() as store:
        await store.write(Reads(), change)
        assert [key.create_time for key in await store.signing_keys()] == [3, 2, 1]
