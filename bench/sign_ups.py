"""Whether abandoned sign-ups cost those who sign up: 100,000 of them beside ten, interleaved in one run.

    python bench/sign_ups.py

Two stores of the same make; one has ten abandoned sign-ups that wait to be swept, the other 100,000, written straight
into the table. Each operation is timed on the one and on the other in turn; what counts is the ratio of the medians.
"""

import argparse
import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final
from uuid import uuid4

from usermeta_server.app import App, open_app
from usermeta_server.caller import ANONYMOUS, Audience, Caller, Principal, PrincipalKind
from usermeta_server.clock import wall_clock
from usermeta_server.core.writes import Intent
from usermeta_server.ids import new_id
from usermeta_server.model import HOUR, Actor, Document, Scope, SignUp, SignUpState
from usermeta_server.settings import ServerSettings
from usermeta_server.store.contract import Draft, Reads
from usermeta_server.store.sqlite.tables import TABLES

FEW: Final = 10
BACKEND: Final = Caller(Audience.BACKEND, "bench", Principal(PrincipalKind.SECRET_KEY, "bench", scope=Scope.WRITE))
VISITOR: Final = Caller(Audience.FRONTEND, "bench", ANONYMOUS)
INTENT: Final = Intent(Actor("backend", "bench"), "bench")
DOCUMENT: Final = '{"company":"Analytical Engines","country":"GB","terms_accepted":false}'


def abandoned(idle_since: int) -> SignUp:
    """Return a sign-up that was abandoned at a time (microseconds), and is still to be swept."""
    texts = dict.fromkeys(SignUp._fields, "")
    times = dict.fromkeys((name for name in SignUp._fields if name.endswith("_time")), idle_since)
    documents = {Document.PUBLIC: "{}", Document.PRIVATE: "{}", Document.UNSAFE: DOCUMENT}
    fields: dict[str, Any] = {**texts, **times, **{str(each): text for each, text in documents.items()}}
    fields |= {
        "id": new_id("signup", wall_clock()),
        "email_address": f"{uuid4().hex}@example.com",
        "state": SignUpState.OPEN,
    }
    return SignUp(**{**fields, "version": 0, "email_address_verified": False, "close_time": 0})


def fill(database: Path, count: int) -> None:
    """Write so many abandoned sign-ups, one after the other, into the table of a store that nobody has open."""
    last = wall_clock() - HOUR
    rows = [abandoned(last - left) for left in range(count, 0, -1)]
    connection = sqlite3.connect(database)
    with connection:
        connection.executemany(TABLES["sign_ups"].upsert, rows)
    connection.close()


@asynccontextmanager
async def store_with(folder: Path, count: int) -> AsyncIterator[App]:
    """Open a store with so many abandoned sign-ups."""
    settings = ServerSettings(database_url=folder / f"{count}.db", sign_up_required=("email_address",))
    async with open_app(settings):
        pass
    fill(settings.database_url, count)
    async with open_app(settings) as app:
        yield app


async def create(app: App) -> str:
    """Begin a sign-up, and return its id."""
    values = {"email_address": f"{uuid4().hex}@example.com"}
    made = await app.use_cases.sign_ups.create(VISITOR, values, {Document.UNSAFE: {"country": "GB"}}, INTENT)
    return made.sign_up.record.id


async def refill(app: App) -> None:
    """Write ten abandoned sign-ups in place of those that a sweep took."""
    now = wall_clock()
    made = [abandoned(now - HOUR) for _ in range(FEW)]

    def change(draft: Draft) -> None:
        for each in made:
            draft.sign_ups.put(each.id, each)

    await app.store.write(Reads(), change)


async def timed(call: Awaitable[object]) -> float:
    """Return how many seconds a call takes."""
    start = time.perf_counter()
    await call
    return time.perf_counter() - start


async def creating(app: App) -> float:
    """Time beginning a sign-up."""
    return await timed(create(app))


async def completing(app: App) -> float:
    """Time completing one."""
    sign_up_id = await create(app)
    return await timed(app.use_cases.sign_ups.complete(BACKEND, sign_up_id, "", INTENT))


async def sweeping(app: App) -> float:
    """Time sweeping ten of those that wait."""
    elapsed = await timed(app.use_cases.sign_ups.sweep(FEW))
    await refill(app)
    return elapsed


OPERATIONS: Final[Mapping[str, Callable[[App], Awaitable[float]]]] = {
    "creating": creating,
    "completing": completing,
    "sweeping ten": sweeping,
}


async def measure(many: int, rounds: int) -> None:
    """Time every operation on both stores in turn, and print the medians and their ratio."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        async with store_with(folder, FEW) as small, store_with(folder, many) as large:
            took: dict[tuple[str, App], list[float]] = {
                (operation, app): [] for operation in OPERATIONS for app in (small, large)
            }
            for index in range(rounds):
                for operation, run in OPERATIONS.items():
                    for app in (small, large) if index % 2 else (large, small):
                        took[operation, app].append(await run(app))
            print(f"{'median of ' + str(rounds):<16}{f'{FEW} abandoned':>18}{f'{many:,} abandoned':>20}{'ratio':>8}")
            for operation in OPERATIONS:
                few, lots = (median(took[operation, app]) * 1e3 for app in (small, large))
                print(f"{operation:<16}{few:>15.3f} ms{lots:>17.3f} ms{lots / few:>8.2f}")


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--many", type=int, default=100_000, help="abandoned sign-ups on the one side (100000)")
    parser.add_argument("--rounds", type=int, default=300, help="how often each operation is timed (300)")
    given = parser.parse_args()
    asyncio.run(measure(given.many, given.rounds))


if __name__ == "__main__":
    main()
