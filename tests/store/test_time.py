"""Contract: the time that orders never goes back, the one that expires is the real clock's."""

from tests.store.contract import OpenStore, making
from tests.support import Clock
from usermeta_server.store.contract import Draft, Reads
from usermeta_server.store.store import Store


async def times(store: Store) -> tuple[int, int]:
    """Return the two times of a write."""

    def look(draft: Draft) -> tuple[int, int]:
        return draft.now, draft.wall

    return await store.write(Reads(), look)


async def test_the_time_that_orders_never_goes_back(open_store: OpenStore) -> None:
    """Not when the clock does, and not when the store is opened again; the time that expires follows the clock."""
    clock = Clock()
    clock.stop()
    async with open_store(clock=clock) as store:
        made = await store.write(*making("user_a"))
        assert (made.create_time, clock()) == await times(store)
        assert store.clock_behind() == 0
        clock.turn(-3600)
        assert await times(store) == (made.create_time, clock())
        assert store.wall_time() == clock()
        assert store.clock_behind() == made.create_time - clock()
        assert (await store.write(*making("user_b"))).create_time == made.create_time
    async with open_store(clock=clock) as store:
        assert await times(store) == (made.create_time, clock())
        assert store.clock_behind() == made.create_time - clock()
        clock.turn(2 * 3600)
        assert await times(store) == (clock(), clock())
        assert store.clock_behind() == 0
