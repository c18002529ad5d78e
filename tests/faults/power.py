"""Power cuts and kills: the server is gone from one moment to the next, with or without what was not synced."""

import asyncio
import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from tests.faults.audit import history
from tests.faults.images import Disk, Fate, Record, read, unsynced
from tests.faults.ledger import Flaw, Ledger
from tests.faults.load import Load
from tests.faults.rig import WAIT_SECONDS, Outcome, Rig, examine
from tests.faults.servers import prepared, server
from tests.faults.shim import Shim

CUTS: Final = 60
KILLS: Final = 20
_SELF_CHECK_CUTS: Final = 6
_RECORDED: Final = 2000
"""Writes that are answered while the disk is recorded."""
_KILLED_AFTER: Final = 500
"""Writes that are answered before a server is killed, at the most."""
_COMMIT_SECONDS: Final = 0.05
"""About as long as a commit takes: the kill comes at any moment of it."""


async def power_cuts(rig: Rig) -> Outcome:
    """Record what a server under load does to its disk; cut the power in the middle of commits; see what is left."""
    return await _cut(rig, CUTS)


async def power_cuts_without_sync(rig: Rig) -> Outcome:
    """Do the same to a server whose syncs do nothing, as if they had been taken out of it: this must lose writes."""
    return await _cut(rig, _SELF_CHECK_CUTS, no_sync=True)


async def _cut(rig: Rig, count: int, *, no_sync: bool = False) -> Outcome:
    shim = rig.shim()
    shim.set(no_sync=no_sync)
    key = await prepared(shim.data)
    disk = Disk(_files(shim.data))
    ledger = await _record(rig, shim, key)
    journal = shim.journal.read_bytes()
    # The process is gone, the machine is not: what it wrote is all there, and so is the whole history.
    whole, flaws = _history(shim.data), list[Flaw]()
    places = list(unsynced(read(journal)))
    cuts = sorted(rig.chance.sample(places, count))
    for index, cut in enumerate(_played(disk, read(journal), cuts)):
        fate = list(Fate)[index % len(Fate)]
        folder = rig.new_folder()
        for name, content in disk.after_cut(fate, rig.chance).items():
            (folder / name).write_bytes(content)
        found = await examine(folder, key, ledger.until(cut), whole)
        flaws += [flaw._replace(text=f"{folder}, cut at {cut}, {fate.value}: {flaw.text}") for flaw in found]
        if not found:
            shutil.rmtree(folder)
    return Outcome(count, ledger.acknowledged(), flaws)


async def _record(rig: Rig, shim: Shim, key: str) -> Ledger:
    """Run a server under load, kill it, and return what it acknowledged, by places in the journal."""
    ledger = Ledger(shim.position)
    async with server(shim.data, key, shim.environment(journal=True)) as running:
        load = Load(running.backend, ledger, rig.numbers)
        async with rig.writing(load), asyncio.timeout(WAIT_SECONDS):
            await load.until(partial(_answered, load, _RECORDED))
            load.end()
            running.process.kill()
            await running.process.wait()
    return ledger


def _played(disk: Disk, records: Iterator[Record], cuts: Sequence[int]) -> Iterator[int]:
    """Do to a disk what the records say, and yield each place at which the power is cut."""
    for cut in cuts:
        for record in records:
            disk.apply(record)
            if record.end == cut:
                break
        yield cut


def _files(folder: Path) -> Mapping[str, bytes]:
    return {each.name: each.read_bytes() for each in folder.iterdir() if each.suffix != ".lock"}


def _history(folder: Path) -> Sequence[tuple[Any, ...]]:
    return history(folder / "usermeta.db")


async def kills(rig: Rig, count: int = KILLS) -> Outcome:
    """Kill servers under load, one after the other on the same database, at random moments."""
    folder = rig.new_folder() / "data"
    key = await prepared(folder)
    ledger, flaws, runs = Ledger(), list[Flaw](), 0
    while runs < count and not flaws:
        runs += 1
        async with server(folder, key) as running:
            load = Load(running.backend, ledger, rig.numbers)
            async with rig.writing(load), asyncio.timeout(WAIT_SECONDS):
                await load.until(partial(_answered, load, rig.chance.randint(1, _KILLED_AFTER)))
                await asyncio.sleep(rig.chance.uniform(0, _COMMIT_SECONDS))
                load.end()
                running.process.kill()
                await running.process.wait()
        flaws += [
            flaw._replace(text=f"{folder}, kill {runs}: {flaw.text}") for flaw in await examine(folder, key, ledger)
        ]
    return Outcome(runs, ledger.acknowledged(), flaws)


def _answered(load: Load, count: int) -> bool:
    return load.acknowledged.total() >= count
