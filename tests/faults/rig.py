"""What the scenarios share: where they run, the load, and the look at a database afterwards."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.faults.audit import audit, compare, history
from tests.faults.ledger import Fault, Flaw, Ledger
from tests.faults.load import Load
from tests.faults.shim import Shim
from tests.support import serving, settings

WRITERS: Final = 36
WAIT_SECONDS: Final = 30.0
"""A bound for whatever has to happen sooner or later."""


class Outcome(NamedTuple):
    """What a scenario did: how often it did harm, how many writes were acknowledged, what was wrong afterwards."""

    runs: int
    acknowledged: int
    flaws: Sequence[Flaw]


class Rig:
    """Where the scenarios of one round run, and what decides for them."""

    def __init__(self, folder: Path, library: Path, seed: int) -> None:
        """Make folders in an empty one; `library` is the shim."""
        self._folder = folder
        self._library = library
        self._names = map(str, itertools.count(1))
        self.chance = random.Random(seed)  # noqa: S311  # schedules, not secrets
        self.numbers = itertools.count(1)

    def new_folder(self) -> Path:
        """Return a new folder."""
        folder = self._folder / next(self._names)
        folder.mkdir(parents=True)
        return folder

    def shim(self) -> Shim:
        """Return a disk and a clock for a server of its own, whose data are `shim.data`."""
        folder = self.new_folder()
        return Shim(self._library, folder / "data", folder)

    @asynccontextmanager
    async def writing(self, load: Load) -> AsyncIterator[None]:
        """Let writers write until the context is left."""
        async with asyncio.TaskGroup() as group:
            for each in range(WRITERS):
                chance = random.Random(self.chance.random())  # noqa: S311  # as above
                group.create_task(load.write(f"user_w{each}", chance))
            try:
                yield
            finally:
                load.end()


async def examine(folder: Path, key: str, ledger: Ledger, whole: Sequence[tuple[Any, ...]] | None = None) -> list[Flaw]:
    """Open a database by the real server, and return what is wrong with it.

    Args:
        folder: where the database is.
        key: the key under which the load wrote: request ids are its own.
        ledger: what was sent, and what of it was acknowledged.
        whole: the history of which the database's is the beginning, if that is known.
    """
    database = folder / "usermeta.db"
    try:
        async with serving(settings(folder)) as service:
            flaws = list(audit(database))
            if whole is not None:
                flaws += compare(history(database), whole)
            return flaws + await ledger.check(service.backend(key))
    except Exception as error:  # noqa: BLE001  # whatever keeps it from being opened and read is what is looked for
        return [Flaw(Fault.LOST, f"the database cannot be used: {error!r}")]
