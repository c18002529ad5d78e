"""A line chart as SVG, drawn by hand."""

from collections.abc import Iterator, Sequence
from html import escape
from typing import Final, NamedTuple

_WIDTH, _HEIGHT = 760, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 220, 50, 350
_STEPS: Final = 5
_ROUND: Final = (1, 2, 2.5, 5, 10)
_GAP: Final = 16


class Line(NamedTuple):
    """A line: its name, its colour, a value at each place; None where there is none."""

    name: str
    color: str
    values: Sequence[float | None]


class _Scale(NamedTuple):
    """Where places and values are on the picture."""

    places: int
    step: float

    def x(self, place: int) -> float:
        return _LEFT + (_WIDTH - _RIGHT - _LEFT) * place / (self.places - 1)

    def y(self, value: float) -> float:
        return _BOTTOM - (_BOTTOM - _TOP) * value / (self.step * _STEPS)


def draw(title: str, places: Sequence[str], lines: Sequence[Line]) -> str:
    """Return the picture: the values from 0 up, the lines named at their right ends."""
    highest = max(value for line in lines for value in line.values if value is not None)
    scale = _Scale(len(places), _step(highest / _STEPS))
    parts = (_text(_LEFT, 24, title, font_weight="bold"), *_grid(scale, places), *_drawn(scale, lines))
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif"'
    background = f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>'
    return "\n".join((f'{head} font-size="13">', background, *parts, "</svg>\n"))


def _step(least: float) -> float:
    """Return the next round number."""
    power = 1.0
    while power * 10 <= least:
        power *= 10
    return next(power * each for each in _ROUND if power * each >= least)


def _grid(scale: _Scale, places: Sequence[str]) -> Iterator[str]:
    for number in range(_STEPS + 1):
        y = scale.y(number * scale.step)
        yield f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#d0d7de"/>'
        yield _text(_LEFT - 8, y + 4, f"{number * scale.step:,.0f}", text_anchor="end")
    for place, name in enumerate(places):
        yield _text(scale.x(place), _BOTTOM + 20, name, text_anchor="middle")


def _drawn(scale: _Scale, lines: Sequence[Line]) -> Iterator[str]:
    ends = _apart(scale, lines)
    for line, end in zip(lines, ends, strict=True):
        points = [(scale.x(place), scale.y(value)) for place, value in enumerate(line.values) if value is not None]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        yield f'<polyline points="{path}" fill="none" stroke="{line.color}" stroke-width="2"/>'
        for x, y in points:
            yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{line.color}"/>'
        yield _text(_WIDTH - _RIGHT + 10, end + 4, line.name, fill=line.color)


def _apart(scale: _Scale, lines: Sequence[Line]) -> Sequence[float]:
    """Return the heights of the lines' names: those of their ends, moved down where they would overlap."""
    wanted = [scale.y([value for value in line.values if value is not None][-1]) for line in lines]
    heights = dict.fromkeys(range(len(lines)), 0.0)
    last = -float(_GAP)
    for index in sorted(heights, key=wanted.__getitem__):
        last = max(wanted[index], last + _GAP)
        heights[index] = last
    return list(heights.values())


def _text(x: float, y: float, text: str, **style: str) -> str:
    """Return a text at a place; `style` is its attributes, with `_` for `-`."""
    attributes = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in style.items())
    return f'<text x="{x:.1f}" y="{y:.1f}"{attributes}>{escape(text)}</text>'
