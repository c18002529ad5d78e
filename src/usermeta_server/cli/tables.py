"""Rows in columns, for people to read."""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

_GAP: Final = "  "
_WIDE: Final = frozenset("WF")
"""The East Asian widths (Unicode, UAX 11) that take two columns of a terminal."""


class Table:
    """A table that grows: its first rows decide how wide its columns are."""

    def __init__(self, titles: Sequence[str]) -> None:
        """Begin with these titles."""
        self._titles = titles
        self._widths: Sequence[int] = ()

    def lines(self, rows: Iterable[Sequence[str]]) -> Iterator[str]:
        """Yield the lines of further rows; the titles come before the first ones."""
        cells = [[printable(cell) for cell in row] for row in rows]
        if not self._widths:
            cells.insert(0, list(self._titles))
            self._widths = [max(map(width, column)) for column in zip(*cells, strict=True)]
        for row in cells:
            padded = (cell + " " * (wide - width(cell)) for cell, wide in zip(row, self._widths, strict=True))
            yield _GAP.join(padded).rstrip()


def printable(text: str) -> str:
    """Return a text in which what a terminal would not show, or obey, is escaped."""
    return text if text.isprintable() else "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def width(text: str) -> int:
    """Return how many columns of a terminal a printable text takes."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(each) else 1 + _wide(each) for each in text)


def _wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in _WIDE
