"""Contract: writes are serial, whole, durable, and in the order of their versions."""

import asyncio
from contextvars import ContextVar
from typing import Any, Final

import pytest

from tests.store.contract import (
    Moments,
    OpenStore,
    at_once,
    counting,
    creating,
    deleting,
    every_view,
    named,
    renaming,
    saving,
    soon,
)
from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.model import (
    Identifier,
    IdentifierKind,
    RememberedRequest,
    RequestKey,
    Scope,
    SecretKey,
    SigningKey,
)
from usermeta_server.store.contract import Draft, Reads
from usermeta_server.store.store import Store

NAME = named("ada")
REQUEST = RequestKey("secret_key:key_1", "5f0c4f0e-8d2b-4f5c-9a55-0d8f1c1f2a3b")
ROWS: dict[str, tuple[Any, Any]] = {
    "identifiers": (Identifier(IdentifierKind.EXTERNAL_ID, 'a "quoted" \U0001f600'), "user_a"),
    "requests": (REQUEST, RememberedRequest("/method", bytes(range(16)), "user_a", 2**62)),
    "secret_keys": ("key_1", SecretKey("key_1", "näme", (Scope.READ, Scope.ADMIN), b"\0\xff", 1, 2**53, 0)),
    "signing_keys": ("sign_1", SigningKey("sign_1", "PEM\n", 2**53)),
    "secrets": ("page_token", b"\0\xff"),
}
"""A row of each table, besides users, that an engine could garble."""


def declared(table: str, key: Any) -> Reads:  # noqa: ANN401  # a key of any table
    return Reads()._replace(**{table: (key,)})


async def row(store: Store, table: str, key: Any) -> Any:  # noqa: ANN401  # a row of any table
    return await soon(store.write(declared(table, key), lambda draft: draft.tables[table].get(key)))


class PlannedError(Exception):
    """What a test's mutation raises."""


async def test_each_write_sees_all_earlier_ones(open_store: OpenStore) -> None:
    """Increments by any number of callers at once are counted one by one."""
    async with open_store() as store:
        counts = await soon(asyncio.gather(*(store.write(*counting("user_a")) for _ in range(600))))
        assert sorted(counts) == list(range(1, 601))


async def test_a_write_sees_earlier_ones_of_its_batch(open_store: OpenStore, moments: Moments) -> None:
    """Of two writes that wait together the second sees the first."""
    async with open_store() as store:
        assert await at_once(store, moments, [counting("user_a"), counting("user_a")]) == [1, 2]


ASKED_BY: Final[ContextVar[str]] = ContextVar("asked_by", default="")


async def test_a_mutation_runs_in_the_context_of_who_queued_it(open_store: OpenStore) -> None:
    """So a trace that began with a call goes on in its write, which another task makes."""
    async with open_store() as store:

        async def ask(name: str) -> str:
            ASKED_BY.set(name)
            return await store.write(Reads(), lambda _: ASKED_BY.get())

        names = [f"caller {number}" for number in range(20)]
        assert await soon(asyncio.gather(*(asyncio.create_task(ask(name)) for name in names))) == names


@pytest.mark.parametrize("fails_at", [0, 1, 2])
async def test_a_mutation_that_raises_leaves_nothing_and_harms_nobody(
    open_store: OpenStore, moments: Moments, fails_at: int
) -> None:
    """Of three writes that wait together one raises after it has put a row into every table: the others stand."""
    error = PlannedError()

    def fail(draft: Draft) -> None:
        for table, (key, value) in ROWS.items():
            draft.tables[table].put(key, value)
        counting("user_a")[1](draft)
        raise error

    writes = [counting("user_a"), counting("user_a")]
    writes.insert(fails_at, (Reads(users=("user_a",)), fail))
    async with open_store() as store:
        results = await at_once(store, moments, writes)
        assert results.pop(fails_at) is error
        assert results == [1, 2]
        for table, (key, _) in ROWS.items():
            assert await row(store, table, key) is None
    async with open_store() as store:
        assert await store.write(*counting("user_a")) == 3


async def test_of_two_users_with_one_name_in_a_batch_one_is_made(open_store: OpenStore, moments: Moments) -> None:
    """The second claim of a name is refused; the rest of the batch is written."""
    writes = [creating("user_a", "ada"), creating("user_b", "ADA"), creating("user_c", "carl")]
    async with open_store() as store:
        first, second, third = await at_once(store, moments, writes)
        assert isinstance(second, UsermetaError)
        assert second.reason is Reason.IDENTIFIER_TAKEN
        assert await store.user("user_b") is None
        assert await every_view(store, first) == [first] * 4
        assert await every_view(store, third) == [third] * 4


async def test_names_can_change_hands_within_a_batch(open_store: OpenStore, moments: Moments) -> None:
    """Two users swap their names by way of a third name, in writes that wait together."""
    swap = [renaming("user_a", "interim"), renaming("user_b", "ada"), renaming("user_a", "bob")]
    async with open_store() as store:
        await store.write(*creating("user_a", "ada"))
        await store.write(*creating("user_b", "bob"))
        _, b, a = await at_once(store, moments, swap)
        assert [await store.user_by(named(name)) for name in ("ada", "bob", "interim")] == [b, a, None]


async def test_users_can_swap_names_in_one_write(open_store: OpenStore) -> None:
    """One mutation hands two names across."""

    def swap(draft: Draft) -> None:
        for user_id, name in (("user_a", "bob"), ("user_b", "ada")):
            saving(user_id, username=name)[1](draft)
            draft.identifiers.put(named(name), user_id)

    async with open_store() as store:
        await store.write(*creating("user_a", "ada"))
        await store.write(*creating("user_b", "bob"))
        await store.write(Reads(users=("user_a", "user_b"), identifiers=(NAME, named("bob"))), swap)
        holders = [await store.user_by(named(name)) for name in ("ada", "bob")]
        assert [user.id for user in holders if user] == ["user_b", "user_a"]


@pytest.mark.parametrize("table", Reads._fields)
async def test_undeclared_reads_are_lookup_errors(open_store: OpenStore, table: str) -> None:
    """A mutation that looks at a key it did not declare fails, in each table."""
    async with open_store() as store:
        with pytest.raises(LookupError):
            await store.write(Reads(), lambda draft: draft.tables[table].get("undeclared"))


async def test_undeclared_reads_are_lookup_errors_in_company_too(open_store: OpenStore, moments: Moments) -> None:
    """It makes no difference that another write of the batch declared the key."""
    undeclared = (Reads(), lambda draft: draft.users.get("user_a"))
    async with open_store() as store:
        _, error = await at_once(store, moments, [saving("user_a"), undeclared])
        assert isinstance(error, LookupError)


async def test_a_dry_run_writes_nothing(open_store: OpenStore, moments: Moments) -> None:
    """A dry run returns what would be, and neither its own batch nor the store sees any of it."""
    async with open_store() as store:

        async def dry(reads: Reads, mutation: Any) -> Any:  # noqa: ANN401  # any mutation
            return await store.write(reads, mutation, dry_run=True)

        assert await dry(*counting("user_a")) == 1
        async with moments.hold("before_commit") as reached:
            other = asyncio.create_task(store.write(*saving("user_other")))
            await soon(reached.wait())
            both = asyncio.gather(dry(*creating("user_b", "ada")), store.write(*creating("user_c", "ada")))
            await asyncio.sleep(0)
        _, (would_be, made) = await soon(asyncio.gather(other, both))
        assert would_be.username == "ada"
        assert await store.user_by(NAME) == made
        with pytest.raises(UsermetaError):
            await dry(*creating("user_d", "ada"))
    async with open_store() as store:
        assert await store.users(["user_a", "user_b", "user_d"]) == {}


async def test_a_dry_run_in_the_same_batch_sees_what_was_written_before_it(
    open_store: OpenStore, moments: Moments
) -> None:
    """A dry run is checked against the writes that come before it."""
    async with open_store() as store:
        async with moments.hold("before_commit") as reached:
            other = asyncio.create_task(store.write(*saving("user_other")))
            await soon(reached.wait())
            both = asyncio.gather(store.write(*counting("user_a")), store.write(*counting("user_a"), dry_run=True))
            await asyncio.sleep(0)
        _, counts = await soon(asyncio.gather(other, both))
        assert counts == [1, 2]
        assert await store.write(*counting("user_a")) == 2


async def test_acknowledged_users_survive_reopening(open_store: OpenStore) -> None:
    """Users come back as they were written, by every way of reading them; deleted ones do not."""
    fields = {"first_name": 'é "\U0001f600', "public_metadata": '{"a":[1,true,null]}', "image_url": "https://x/'"}
    async with open_store() as store:
        await store.write(*creating("user_a", "ada"))
        await store.write(*creating("user_b", "bob"))
        user = await store.write(*saving("user_a", **fields))
        await store.write(*deleting("user_b"))
    async with open_store() as store:
        assert await every_view(store, user) == [user] * 4
        assert await store.users(["user_a", "user_b"]) == {"user_a": user}
        assert await store.user_by(named("bob")) is None


async def test_flags_and_large_times_survive_reopening(open_store: OpenStore) -> None:
    """Booleans come back as booleans, times to the microsecond."""

    def change(draft: Draft) -> Any:  # noqa: ANN401  # a User
        user = creating("user_a", "ada")[1](draft)
        user = user._replace(banned=True, email_address_verified=True, create_time=2**53 + 1)
        draft.users.put("user_a", user)
        return user

    async with open_store() as store:
        user = await store.write(Reads(users=("user_a",), identifiers=(NAME,)), change)
    async with open_store() as store:
        (found, *_) = await every_view(store, user)
        assert found == user
        assert found is not None
        assert (found.banned, found.email_address_verified) == (True, True)
        assert type(found.banned) is bool


@pytest.mark.parametrize("table", ROWS)
async def test_rows_survive_reopening_until_deleted(open_store: OpenStore, table: str) -> None:
    """A row of each table is there after it was written, replaced, and the store reopened; deleted, it is not."""
    key, value = ROWS[table]
    async with open_store() as store:
        await store.write(Reads(), lambda draft: draft.tables[table].put(key, value))
        await store.write(Reads(), lambda draft: draft.tables[table].put(key, value))
        assert await row(store, table, key) == value
    async with open_store() as store:
        assert await row(store, table, key) == value
        await store.write(Reads(), lambda draft: draft.tables[table].put(key, None))
        assert await row(store, table, key) is None
    async with open_store() as store:
        assert await row(store, table, key) is None


async def test_a_row_made_and_deleted_in_one_batch_is_not_there(open_store: OpenStore, moments: Moments) -> None:
    """The last state of a batch is what is written."""
    async with open_store() as store:
        await at_once(store, moments, [creating("user_a", "ada"), deleting("user_a"), creating("user_b", "ada")])
        assert await store.user("user_a") is None
        found = await store.user_by(NAME)
        assert found is not None
        assert found.id == "user_b"


async def test_a_user_made_again_in_the_batch_that_deletes_it_is_another(
    open_store: OpenStore, moments: Moments
) -> None:
    """Nothing of the first one stays, not even what never changes of a user."""
    async with open_store() as store:
        first = await store.write(*creating("user_a", "ada"))
        _, second = await at_once(store, moments, [deleting("user_a"), creating("user_a", "ada")])
        assert second.create_time > first.create_time
        assert await every_view(store, second) == [second] * 4
    async with open_store() as store:
        assert await every_view(store, second) == [second] * 4


async def test_versions_strictly_increase(open_store: OpenStore, moments: Moments) -> None:
    """Later commits have higher versions: within a batch, after failures, after deletions, and after reopening."""
    versions: list[int] = []
    for _ in range(3):
        async with open_store() as store:
            made = await at_once(store, moments, [saving(f"user_{name}") for name in "abc"])
            versions += [user.version for user in made]
            versions.append(await store.write(*deleting("user_c")))
            with pytest.raises(AssertionError):
                await store.write(*deleting("user_c"))
            versions.append((await store.write(*saving("user_c"))).version)
            # The highest version goes with the row that had it.
            versions.append(await store.write(*deleting("user_c")))
    assert len(versions) == 18
    assert versions == sorted(set(versions))


async def test_time_is_in_microseconds_and_never_goes_back(open_store: OpenStore) -> None:
    """Later batches do not have earlier times, and times are of this century."""
    async with open_store() as store:
        times = [await store.write(Reads(), lambda draft: draft.now) for _ in range(20)]
    assert times == sorted(times)
    assert 946_684_800_000_000 < times[0] < 4_102_444_800_000_000
