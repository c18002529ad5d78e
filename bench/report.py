"""How results are shown: as tables of Markdown, one picture, and both put into the documentation."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from picture import Line, draw
from results import ALONE, BY_STATEMENTS, LEVELS, MIDDLE, OFF, Generator, Latency, Memory, Pair, Results, Scale, Variant
from scenarios import GET_OWN, GET_PROFILE, GET_USER, INCREMENT, MERGE, SCALED

T = TypeVar("T")

DOCS: Final = Path(__file__).parent.parent / "docs"
PAGE: Final = DOCS / "performance.md"
PICTURE: Final = DOCS / "performance.svg"
_RECORDS: Final[Mapping[str, type[Any]]] = {
    "pairs": Pair,
    "latencies": Latency,
    "scales": Scale,
    "variants": Variant,
    "memory": Memory,
    "generators": Generator,
}
_MIB: Final = 1 << 20


def progress(row: T) -> T:
    """Print a result as soon as there is one, and return it."""
    print(row, file=sys.stderr, flush=True)
    return row


def as_json(results: Results) -> Mapping[str, Any]:
    """Return results as what JSON can hold."""
    rows = {name: [row._asdict() for row in getattr(results, name)] for name in _RECORDS}
    return {**results._asdict(), **rows}


def from_json(data: Mapping[str, Any]) -> Results:
    """Return the results that `as_json` made it of."""
    rows = {name: [kind(**row) for row in data[name]] for name, kind in _RECORDS.items()}
    return Results(**{**data, **rows})


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; all columns but the first are right-aligned."""
    rule = ["---", *["---:"] * (len(heads) - 1)]
    return "".join(f"| {' | '.join(row)} |\n" for row in (heads, rule, *rows))


def _machine(results: Results) -> str:
    facts = {**results.machine, "users": f"{results.users:,}", "changes kept in the end": f"{results.writes:,}"}
    return table(("", "this run"), list(facts.items()))


def _throughput(results: Results) -> str:
    rows = [
        (row.scenario, str(row.in_flight), f"{row.echo:,.0f}", f"{row.usermeta:,.0f}", f"{row.ratio:.2f}")
        for row in results.pairs
    ]
    return table(("load", "in flight", "echo, calls/s", "usermeta, calls/s", "ratio"), rows)


def _latency(results: Results) -> str:
    rows = [
        (
            row.scenario,
            f"{row.echo_rate:,.0f}",
            " / ".join(f"{value:.2f}" for value in row.echo),
            f"{row.usermeta_rate:,.0f}",
            " / ".join(f"{value:.2f}" for value in row.usermeta),
            f"{row.ratio:.1f}",
        )
        for row in results.latencies
    ]
    heads = (
        "load",
        "echo, calls/s",
        "p50 / p99 / p99.9, ms",
        "usermeta, calls/s",
        "p50 / p99 / p99.9, ms",
        "p99 ratio",
    )
    return table(heads, rows)


def _cpu(results: Results) -> str:
    rows = [
        (
            row.scenario,
            *(f"{each / 1e3:.3f}" for each in (row.echo_cpu, row.usermeta_cpu, row.echo_loop, row.usermeta_loop)),
        )
        for row in results.pairs
        if row.in_flight == MIDDLE
    ]
    return table(("CPU s per 1,000 calls", "echo", "usermeta", "echo, event loop", "usermeta, event loop"), rows)


def _scale(results: Results) -> str:
    rows = [(row.scenario, f"{row.few:,.0f}", f"{row.many:,.0f}", f"{row.ratio:.2f}") for row in results.scales]
    heads = ("load, 64 in flight", f"{results.users:,} users, calls/s", f"{results.many:,} users, calls/s", "ratio")
    return table(heads, rows)


def _memory(results: Results) -> str:
    rows = [
        (row.server, *(f"{value / _MIB:.0f}" for value in (row.rest, row.users, row.connections)))
        for row in results.memory
    ]
    return table(("server", "at rest, MiB", "10,000 users read, MiB more", "10,000 connections, MiB more"), rows)


def _variants(results: Results) -> str:
    rows = [
        (row.scenario, row.variant, f"{row.rate:,.0f}", f"{row.ratio:.2f}", f"{row.cpu / 1e3:.3f}")
        for row in results.variants
    ]
    heads = ("load, 64 in flight", "variant", "calls/s", "ratio to the first", "CPU s per 1,000 calls")
    return table(heads, rows)


def _generators(results: Results) -> str:
    rows = [(row.load, row.generator, f"{row.rate:,.0f}", f"{row.cpu:.1f}") for row in results.generators]
    return table(("load, 64 in flight", "generator", "calls/s", "its own CPU, µs a call"), rows)


class _Aim(NamedTuple):
    """What was aimed at, and what was measured; `most` is for what should be small."""

    what: str
    measured: float
    aim: float
    most: bool = False

    def row(self) -> Sequence[str]:
        met = self.measured <= self.aim if self.most else self.measured >= self.aim
        sign = "≤" if self.most else "≥"
        return (self.what, f"{sign} {self.aim:.2f}", f"{self.measured:.2f}", "yes" if met else "no")


_OF_ECHO: Final = ((GET_USER, 0.90), (GET_OWN, 0.85), (GET_PROFILE, 0.90), (MERGE, 0.50), (INCREMENT, 0.50))


_SCALE_AIMS: Final = frozenset(each.name for each in SCALED)


def _aims(results: Results) -> str:
    pairs = {(row.scenario, row.in_flight): row.ratio for row in results.pairs}
    variants = {row.variant: row.ratio for row in results.variants if row.scenario == MERGE.name}
    slow = {row.scenario: row.ratio for row in results.latencies}
    aims = [
        *(_Aim(f"{each.name}: of echo, 64 in flight", pairs[each.name, MIDDLE], aim) for each, aim in _OF_ECHO),
        *(
            _Aim(f"{row.scenario}: {results.many:,} users, of {results.users:,}", row.ratio, 0.95)
            for row in results.scales
            if row.scenario in _SCALE_AIMS
        ),
        _Aim("durable merges: of those with synchronous = OFF", 1 / variants[OFF], 0.90),
        _Aim("durable merges: times those with a transaction each", 1 / variants[ALONE], 6.0),
        _Aim("the same, against a transaction each by single statements", 1 / variants[BY_STATEMENTS], 6.0),
        *(
            _Aim(f"{each.name}: p99 at half load, times echo's", slow[each.name], 3.0, most=True)
            for each, _ in _OF_ECHO
        ),
    ]
    return table(("aim", "at", "measured", "met"), [aim.row() for aim in aims])


_SECTIONS: Final[Mapping[str, Callable[[Results], str]]] = {
    "aims": _aims,
    "throughput": _throughput,
    "latency": _latency,
    "scale": _scale,
    "cpu": _cpu,
    "memory": _memory,
    "variants": _variants,
    "generators": _generators,
    "machine": _machine,
}
"""By the names that they have in the page."""


def show(results: Results) -> None:
    """Print all tables."""
    for name, section in _SECTIONS.items():
        print(f"\n{name}\n\n{section(results)}")


def publish(results: Results) -> None:
    """Put the tables into the page where it says so, and draw the picture."""
    put({name: section(results) for name, section in _SECTIONS.items()})
    PICTURE.write_text(_picture(results), encoding="utf-8")


def put(tables: Mapping[str, str]) -> None:
    """Put tables into the page, in the places of their names."""
    text = PAGE.read_text(encoding="utf-8")
    for name, shown in tables.items():
        begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->"
        before, found, rest = text.partition(begin)
        assert found, f"{PAGE} has no place for {name}"
        text = f"{before}{begin}\n{shown}\n{end}{rest.partition(end)[2]}"
    PAGE.write_text(text, encoding="utf-8")


_LINES: Final = (
    ("GetUser, backend", GET_USER.name, "#1f6feb"),
    ("GetUser, frontend", GET_OWN.name, "#8250df"),
    ("increments, one user", INCREMENT.name, "#bc4c00"),
    ("merges, durable", MERGE.name, "#1a7f37"),
)


def _picture(results: Results) -> str:
    rates = {(row.scenario, row.in_flight): row for row in results.pairs}
    echo = Line("echo: no service at all", "#6e7781", [rates[GET_USER.name, level].echo for level in LEVELS])
    lines = [Line(title, color, [rates[name, level].usermeta for level in LEVELS]) for title, name, color in _LINES]
    each = next(row.rate for row in results.variants if (row.scenario, row.variant) == (MERGE.name, ALONE))
    alone = Line("merges, one transaction each", "#cf222e", [None, None, each, None])
    return draw("Calls a second, by calls in flight", [str(level) for level in LEVELS], [echo, *lines, alone])


def main() -> None:
    """Publish results that were kept: `python bench/report.py build/bench/results.json`."""
    publish(from_json(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
