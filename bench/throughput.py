"""How fast usermeta is beside a bare gRPC server: `make bench`.

One run, on one machine, in turns (A B, B A, …): the echo server and usermeta with everything on get the same calls.
What counts is the ratio, the median of those of the rounds; absolute figures are the machine's. A call counts if its
gRPC status is OK, and a write if its change is in the database's history afterwards too.
"""

import argparse
import json
import resource
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

import report
from generators import compare_generators, fixed_loads
from load import Load, closed_load, open_load
from machine import Use, describe
from memory import measure_memory
from results import (
    ALONE,
    AS_IS,
    BY_STATEMENTS,
    LEVELS,
    MIDDLE,
    OFF,
    Latency,
    Pair,
    Results,
    Scale,
    Variant,
    median_ratio,
)
from scenarios import (
    BEYOND,
    FEW,
    GET_USER,
    INCREMENT,
    MERGE,
    SCALED,
    SCENARIOS,
    Feed,
    Scenario,
    World,
    echoed,
    fill,
    first_reply,
    generated,
)
from servers import Cpu, Server, echo_server, make_key, usermeta_server

FOLDER: Final = Path(__file__).parent.parent / "build" / "bench"
_PERCENTILES: Final = (0.5, 0.99, 0.999)
_WRITE_VARIANTS: Final[Mapping[str, Mapping[str, str]]] = {
    ALONE: {"BENCH_BATCH": "1"},
    BY_STATEMENTS: {"BENCH_BATCH": "1", "BENCH_TRIPS": "1"},
    "synchronous = NORMAL": {"BENCH_SYNCHRONOUS": "NORMAL"},
    OFF: {"BENCH_SYNCHRONOUS": "OFF"},
}
_LOG_VARIANTS: Final = ("all", "off")


class Options(NamedTuple):
    """How much to measure: users of the larger store, rounds, seconds of each turn."""

    many: int
    rounds: int
    seconds: float


class Side(NamedTuple):
    """A server with its feeds, by scenario."""

    server: Server
    feeds: Mapping[str, Feed]


class Turn(NamedTuple):
    """One turn of one side: calls a second, CPU microseconds a call, milliseconds of each percentile."""

    rate: float
    cpu: float
    loop: float
    percentiles: Sequence[float]


def usermeta_side(server: Server, world: World, measured: Sequence[Scenario]) -> Side:
    """Return usermeta with the calls of these scenarios."""
    return Side(server, {each.name: Feed(each.calls(world), each.writes_every) for each in measured})


def echo_side(server: Server, world: World, measured: Sequence[Scenario]) -> Side:
    """Return the echo server with the same calls."""
    return Side(server, {each.name: Feed(echoed(each, each.calls(world)), 0) for each in measured})


@contextmanager
def checked(side: Side, feed: Feed) -> Iterator[list[Load]]:
    """Check the load that is put into the list: every call succeeded, and every write is in the history."""
    writes_to_usermeta = side.server.database is not None and feed.is_writing
    before = side.server.last_change() if writes_to_usermeta else 0
    feed.writes()
    loads: list[Load] = []
    yield loads
    assert not loads[0].failures, loads[0].failures
    if writes_to_usermeta:
        writes, kept = feed.writes(), side.server.changes_since(before)
        assert kept == writes, f"{writes} writes were acknowledged, {kept} are in the history"


def turn(side: Side, scenario: Scenario, in_flight: int, seconds: float) -> Turn:
    """Measure one side for one turn, with so many calls in flight."""
    feed, cpu = side.feeds[scenario.name], side.server.cpu()
    with checked(side, feed) as loads:
        loads.append(closed_load(side.server.port, feed, in_flight, seconds))
    return _turn(loads[0], side.server.cpu().since(cpu, loads[0].succeeded))


def paced_turn(side: Side, scenario: Scenario, rate: float, seconds: float) -> Turn:
    """Measure one side for one turn, at so many calls a second."""
    feed, cpu = side.feeds[scenario.name], side.server.cpu()
    with checked(side, feed) as loads:
        loads.append(open_load(side.server.port, feed, rate, seconds))
    return _turn(loads[0], side.server.cpu().since(cpu, loads[0].succeeded))


def _turn(load: Load, cpu: Cpu) -> Turn:
    assert load.latencies, "not one call ended within a turn: the turns are too short for this machine"
    ordered = sorted(load.latencies)
    percentiles = [1e3 * ordered[int(len(ordered) * each)] for each in _PERCENTILES]
    return Turn(load.rate, 1e6 * cpu.all, 1e6 * cpu.loop, percentiles)


def in_turns(names: Sequence[str], rounds: int) -> Iterator[str]:
    """Return the names in order, then backwards, and so on, for so many rounds."""
    for number in range(rounds):
        yield from names if number % 2 == 0 else reversed(names)


class Bench:
    """One run of the benchmark."""

    def __init__(self, options: Options, stack: ExitStack) -> None:
        """Start the servers, fill the store."""
        self._options = options
        self._stack = stack
        server, world = self._filled("usermeta", {})
        ours = usermeta_side(server, world, SCENARIOS)
        replies = {each.method: first_reply(server, next(ours.feeds[each.name])) for each in SCENARIOS}
        self._replies = replies
        echo = stack.enter_context(echo_server(replies, FOLDER / "replies"))
        self._world = world
        self._sides = {"echo": echo_side(echo, world, SCENARIOS), "usermeta": ours}

    def _filled(self, name: str, variant: Mapping[str, str], log: str = "errors") -> tuple[Server, World]:
        database = FOLDER / f"{name.replace(' ', '-')}.db"
        key = make_key(database)
        server = self._stack.enter_context(usermeta_server(database, access_log=log, variant=variant))
        return server, fill(server, key)

    def run(self) -> Results:
        """Measure everything."""
        machine = describe(FOLDER)
        pairs = [self._pair(scenario, level) for scenario in SCENARIOS for level in LEVELS]
        latencies = [self._latency(scenario, pairs) for scenario in SCENARIOS]
        variants = [*self._write_variants(), *self._log_variants()]
        ours = self._sides["usermeta"].server
        echo = self._sides["echo"].server
        fixed = fixed_loads(ours, echo, self._world)
        generators = compare_generators(fixed, self._options.rounds, self._options.seconds, FOLDER / "body")
        memory = measure_memory(FOLDER, self._replies)
        scales = self._scales() if self._options.many else ()
        assert not ours.refusals(), ours.refusals()[:3]
        writes = ours.changes_since(0)
        return Results(machine, FEW, self._options.many, pairs, latencies, scales, variants, memory, generators, writes)

    def _pair(self, scenario: Scenario, in_flight: int) -> Pair:
        turns: dict[str, list[Turn]] = {name: [] for name in self._sides}
        for name in in_turns(tuple(turns), self._options.rounds):
            turns[name].append(turn(self._sides[name], scenario, in_flight, self._options.seconds))
        rates = {name: [each.rate for each in taken] for name, taken in turns.items()}
        cpu = [median(each.cpu for each in turns[name]) for name in ("echo", "usermeta")]
        loop = [median(each.loop for each in turns[name]) for name in ("echo", "usermeta")]
        ratio = median_ratio(rates["usermeta"], rates["echo"])
        found = (median(rates["echo"]), median(rates["usermeta"]), ratio, *cpu, *loop)
        return report.progress(Pair(scenario.name, in_flight, *found))

    def _latency(self, scenario: Scenario, pairs: Sequence[Pair]) -> Latency:
        mine = [each for each in pairs if each.scenario == scenario.name]
        best = {name: max(mine, key=lambda pair: float(getattr(pair, name))).in_flight for name in self._sides}
        turns: dict[str, list[Turn]] = {name: [] for name in self._sides}
        for name in in_turns(tuple(turns), self._options.rounds):
            # What the highest load is, is found out anew: the machine may have others' work to do by now.
            highest = turn(self._sides[name], scenario, best[name], self._options.seconds).rate
            turns[name].append(paced_turn(self._sides[name], scenario, highest / 2, 2 * self._options.seconds))
        shown = {
            name: [median(values) for values in zip(*(each.percentiles for each in taken), strict=True)]
            for name, taken in turns.items()
        }
        rates = {name: median(each.rate for each in taken) for name, taken in turns.items()}
        slow = {name: [each.percentiles[1] for each in taken] for name, taken in turns.items()}
        ratio = median_ratio(slow["usermeta"], slow["echo"])
        found = (rates["echo"], rates["usermeta"], shown["echo"], shown["usermeta"], ratio)
        return report.progress(Latency(scenario.name, *found))

    def _scales(self) -> Sequence[Scale]:
        """Measure the same calls on few and on many users, and on many also calls that no cache can help with."""
        sides = {}
        for count in (FEW, self._options.many):
            database = FOLDER / f"scale-{count}.db"
            world = generated(database, count)
            server = self._stack.enter_context(usermeta_server(database))
            sides[str(count)] = usermeta_side(server, world, (*SCALED, BEYOND))
        found = []
        for scenario in (*SCALED, BEYOND):
            few, many = self._compare(scenario, sides)
            found.append(Scale(scenario.name, few.rate, many.rate, many.ratio))
        return found

    def _write_variants(self) -> Sequence[Variant]:
        """Measure the write path beside its alternatives, each on a store of its own of the same make."""
        sides = {
            name: usermeta_side(*self._filled(name, variant), (MERGE, INCREMENT))
            for name, variant in {AS_IS: {}, **_WRITE_VARIANTS}.items()
        }
        return [row for scenario in (MERGE, INCREMENT) for row in self._compare(scenario, sides)]

    def _log_variants(self) -> Sequence[Variant]:
        sides = {
            f"access log: {log}": usermeta_side(*self._filled(f"log {log}", {}, log), (GET_USER,))
            for log in ("errors", *_LOG_VARIANTS)
        }
        return self._compare(GET_USER, sides)

    def _compare(self, scenario: Scenario, sides: Mapping[str, Side]) -> Sequence[Variant]:
        """Compare sides with the first of them."""
        turns: dict[str, list[Turn]] = {name: [] for name in sides}
        for name in in_turns(tuple(sides), self._options.rounds):
            turns[name].append(turn(sides[name], scenario, MIDDLE, self._options.seconds))
        rates = {name: [each.rate for each in taken] for name, taken in turns.items()}
        first = next(iter(rates.values()))
        rows = (
            (name, median(rates[name]), median_ratio(rates[name], first), median(each.cpu for each in turns[name]))
            for name in sides
        )
        return [report.progress(Variant(scenario.name, *row)) for row in rows]


def main() -> None:
    """Read the options, measure, and print the tables or put them into the documentation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--many", type=int, default=1_000_000, help="users of the larger store, 0 for none (1000000)")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each side (15)")
    parser.add_argument("--seconds", type=float, default=0.2, help="seconds of each turn (0.2)")
    parser.add_argument("--publish", action="store_true", help="write the tables and the picture into docs/")
    given = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    before = Use.now()
    with ExitStack() as stack:
        results = Bench(Options(given.many, given.rounds, given.seconds), stack).run()
    results.machine["CPU that others took meanwhile"] = f"{Use.now().others_since(before):.0%} of all cores"
    for left in FOLDER.glob("*.db*"):
        left.unlink()
    (FOLDER / "results.json").write_text(json.dumps(report.as_json(results), indent=1), encoding="utf-8")
    report.show(results)
    if given.publish:
        report.publish(results)


if __name__ == "__main__":
    main()
