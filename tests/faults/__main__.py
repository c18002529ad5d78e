"""Do harm to usermeta, and see whether it keeps its word: power cuts, kills, failing disks, clocks, stopped processes.

    make faults                                   # every scenario once: a few minutes
    make faults ARGS="--rounds 10"                # longer
    make faults ARGS="--only kills --seed 7"

Each line says how often harm was done, how many writes were acknowledged, and what was wrong with them afterwards.
The exit code is 1 when anything was, or when the same without fsync loses nothing: then nothing is being tested.
"""

import argparse
import asyncio
import logging
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.faults import power, trouble
from tests.faults.ledger import Fault, Flaw
from tests.faults.rig import Outcome, Rig
from tests.faults.shim import NoCompilerError, build

log = logging.getLogger(__name__)

_SHOWN: Final = 20
"""How many flaws of a scenario are shown."""


class Scenario(NamedTuple):
    """What is done, and whether that has to lose something."""

    run: Callable[[Rig], Coroutine[Any, Any, Outcome]]
    must_lose: bool = False


SCENARIOS: Final[Mapping[str, Scenario]] = {
    "power-cuts": Scenario(power.power_cuts),
    "power-cuts-without-fsync": Scenario(power.power_cuts_without_sync, must_lose=True),
    "kills": Scenario(power.kills),
    "full-disk": Scenario(trouble.full_disk),
    "failing-writes": Scenario(trouble.failing_writes),
    "failing-fsync": Scenario(trouble.failing_syncs),
    "clock-jumps": Scenario(trouble.clock_jumps),
    "stopped-process": Scenario(trouble.stopped_process),
}


def report(name: str, outcome: Outcome, *, must_lose: bool) -> tuple[bool, Sequence[str]]:
    """Return whether a scenario went as it has to, and the lines that say so; flaws that have to be are not shown."""
    found = Counter(flaw.fault for flaw in outcome.flaws)
    counts = ", ".join(f"{found[fault]} {fault.value}" for fault in Fault)
    good = found[Fault.LOST] > 0 if must_lose else not found
    verdict = "NOTHING LOST: the check is blind" if must_lose and not good else ""
    lines = [f"{name}: {outcome.runs} runs, {outcome.acknowledged} acknowledged writes; {counts} {verdict}".rstrip()]
    if not good:
        lines += [f"  {flaw.fault.value.upper()} {flaw.text}" for flaw in outcome.flaws[:_SHOWN]]
    return good, lines


def play(folder: Path, library: Path, names: Sequence[str], seed: int) -> int:
    """Run scenarios, say how they went, and return how many did not go as they have to. Their folders are kept."""
    failed = 0
    for name in names:
        start, own = time.monotonic(), folder / f"{name}-{seed}"
        try:
            outcome = asyncio.run(SCENARIOS[name].run(Rig(own, library, seed)))
        except Exception as error:
            log.exception("%s", name)
            outcome = Outcome(0, 0, [Flaw(Fault.WRONG, f"it could not be run: {error!r}")])
        good, lines = report(name, outcome, must_lose=SCENARIOS[name].must_lose)
        print(f"{lines[0]} (seed {seed}, {time.monotonic() - start:.0f} s)", *lines[1:], sep="\n", flush=True)
        failed += not good
        if good:
            shutil.rmtree(own)
    return failed


def main() -> None:
    """Run the scenarios that the command line asks for."""
    parser = argparse.ArgumentParser(prog="make faults", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=1, help="how often to run each scenario (1)")
    parser.add_argument("--only", action="append", choices=SCENARIOS, help="run this one; may be given again")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="to draw the same moments again")  # noqa: S311  # a schedule
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="usermeta-faults-"))
    logging.basicConfig(filename=folder / "log")
    try:
        library = build(folder)
    except NoCompilerError as error:
        shutil.rmtree(folder)
        sys.exit(f"make faults {error}")
    seeds = range(options.seed, options.seed + options.rounds)
    failed = sum(play(folder, library, options.only or list(SCENARIOS), seed) for seed in seeds)
    if failed:
        print(f"{failed} failed; what they left is in {folder}; each says its seed, to be run again with --seed")
    else:
        shutil.rmtree(folder)
    sys.stdout.flush()
    os._exit(bool(failed))  # a store that could not be closed leaves threads behind, which would be waited for


if __name__ == "__main__":
    main()
