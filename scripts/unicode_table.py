"""Write src/usermeta_server/unicode/table.py: what of Unicode unicodedata2 does not have. Usage: `make unicode-table`.

It needs `regex` and `unicodedata2` of one version of Unicode, which is the table's. To go to another version, change
both in requirements/gen.in and unicodedata2 and idna in pyproject.toml, `make lock`, and run this; the tests say what
else is of a version.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import metadata
from pathlib import Path
from typing import Final

import regex
import unicodedata2
from regex import _regex

TABLE: Final = Path("src/usermeta_server/unicode/table.py")

FULL_CASE: Final = int(regex.FULLCASE | regex.IGNORECASE | regex.UNICODE)
TURKIC: Final = {0x49: "i", 0x130: "i\u0307"}
"""What CaseFolding.txt says outside of Turkic languages of the two letters that `regex` leaves open."""

HEAD: Final = '''"""Case folding and what is ignorable by default, of one version of Unicode: `make unicode-table`."""

UNICODE_VERSION = "{version}"

IGNORABLE = (
{ignorable}
)
"""Default_Ignorable_Code_Point (DerivedCoreProperties.txt): the first and the last code point of each range."""

FOLDED_TO_ONE = (
{to_one}
)
"""CaseFolding.txt, status C: first and last code point of a range, the step in it, what is added to each."""

FOLDED_TO_MANY = {{
{to_many}
}}
"""CaseFolding.txt, status F: a code point, and the string that it folds to."""
'''


def main() -> None:
    """Write the table."""
    version = unicodedata2.unidata_version
    if f"Unicode {version}" not in metadata("regex").json["description"]:
        sys.exit(f"regex is not of Unicode {version}, as unicodedata2 is")
    characters = [chr(code) for code in range(sys.maxunicode + 1)]
    ignorable = regex.compile(r"\p{Default_Ignorable_Code_Point}")
    folded = {ord(each): fold for each in characters if (fold := _regex.fold_case(FULL_CASE, each)) != each} | TURKIC
    TABLE.write_text(
        HEAD.format(
            version=version,
            ignorable=rows(runs({ord(each): 0 for each in characters if ignorable.match(each)}, steps=(1,))),
            to_one=rows(runs({code: ord(to) - code for code, to in folded.items() if len(to) == 1})),
            to_many="\n".join(
                f"    0x{code:04X}: {to!a}," for code, to in sorted(folded.items()) if len(to) > 1
            ).replace("'", '"'),
        ),
        "utf-8",
    )


def runs(values: Mapping[int, int], steps: Iterable[int] = (1, 2)) -> Iterator[tuple[int, ...]]:
    """Yield the runs of code points that are evenly apart and have the same value: first, last, and step and value."""
    codes = sorted(values)
    while codes:
        first = codes[0]
        longest = max((run_of(first, step, values) for step in steps), key=len)
        yield (first, longest[-1]) if tuple(steps) == (1,) else (first, longest[-1], longest.step, values[first])
        codes = [code for code in codes if code not in longest]


def run_of(first: int, step: int, values: Mapping[int, int]) -> range:
    """Return the run that begins at a code point."""
    last = first
    while values.get(last + step) == values[first]:
        last += step
    return range(first, last + 1, step)


def rows(found: Iterable[tuple[int, ...]]) -> str:
    """Return the lines of a table of runs, with code points in hexadecimal."""
    return "\n".join(f"    ({', '.join([f'0x{run[0]:04X}', f'0x{run[1]:04X}', *map(str, run[2:])])})," for run in found)


if __name__ == "__main__":
    main()
