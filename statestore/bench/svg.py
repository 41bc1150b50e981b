"""Plots as SVG that stands in an HTML page: no script, no file of its own, colours from the page's style.

A plot is 360 units wide, about as many as the pixels of the narrowest screen, and its text is 12 units high.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 360
_LEFT = 122
_LETTER = 6.8
"""Width of a letter of a label, of most of them at most."""
_RIGHT = 8
_TOP = 8
_ROW = 26
_HEIGHT = 230
_BOTTOM = 34
_STYLE = """text { font: 11px system-ui, sans-serif; fill: #1d2329; } .page { fill: #fff; }
.fill { fill: currentColor; } .s0 { color: #2a9d8f; } .s1 { color: #e76f51; }
.grid { stroke: #dfe3e6; } .range { stroke: #5b6570; fill: none; }
.wanted { stroke: #1d2329; stroke-width: 2; }"""
"""Of a picture that is not in a page: the first colour meets what is wanted, the second does not."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One horizontal bar, the range of its rounds, and what is written at its end."""

    label: str
    series: int
    """Which colour of the page's style."""
    value: float
    text: str
    least: float | None = None
    most: float | None = None
    faint: bool = False
    wanted: float | None = None
    """Where a mark is set."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a plot; a reference's is dashed."""

    label: str
    series: int
    points: Sequence[tuple[float, float]]
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Strip:
    """One row of a plot of values over time, on a scale of its own."""

    label: str
    series: int
    values: Sequence[float]
    text: str


def bars(title: str, rows: Sequence[Bar]) -> str:
    """Draw bars on a linear scale from 0."""
    most = max((max(row.value, row.most or 0) for row in rows), default=0) or 1
    end = WIDTH - _RIGHT - 62
    parts = _bars(rows, _LEFT, lambda value: _LEFT + value * (end - _LEFT) / most)
    return _svg(title, _TOP + len(rows) * _ROW + 4, parts)


def ratios(title: str, rows: Sequence[Bar]) -> str:
    """Draw bars on a logarithmic scale, each with a mark of what is wanted: a picture, in no page."""
    values = [value for row in rows for value in (row.value, row.least, row.most, row.wanted)]
    axis = log_axis(title, [value for value in values if value is not None and math.isfinite(value)])
    left, end, bottom = 430, 740, _TOP + len(rows) * _ROW + 4

    def place(value: float) -> float:
        return _between(axis, min(max(value, axis.least), axis.most), left, end)

    parts = []
    for value, text in axis.ticks:
        parts.append(f'<path class="grid" d="M{_n(place(value))} {_TOP}V{bottom}"/>')
        parts.append(_text(place(value), bottom + 14, text, "middle"))
    parts += _bars(rows, left, place)
    parts.append(_text((left + end) / 2, bottom + 32, title, "middle"))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 800 {bottom + 40}"><style>{_STYLE}</style>'
        f'<rect class="page" width="100%" height="100%"/>{"".join(parts)}</svg>\n'
    )


def _bars(rows: Sequence[Bar], left: float, place: Callable[[float], float]) -> Iterator[str]:
    """Give bars from ``left`` on, one below the other; ``place`` is where a value ends."""
    for number, row in enumerate(rows):
        top = _TOP + number * _ROW
        middle = top + _ROW / 2
        right = max(left + 1.0, place(row.value))
        kind = f"fill s{row.series}" + (" faint" if row.faint else "")
        yield _text(left - 6, middle + 4, _short(row.label, left), "end")
        yield (
            f'<rect class="{kind}" x="{_n(left)}" y="{top + 4}" width="{_n(right - left)}" '
            f'height="{_ROW - 8}" rx="2"><title>{escape(f"{row.label}: {row.text}")}</title></rect>'
        )
        if row.least is not None and row.most is not None and row.most > row.least:
            low, high = place(row.least), place(row.most)
            yield (
                f'<path class="range" d="M{_n(low)} {middle}H{_n(high)}M{_n(low)} {middle - 4}v8M{_n(high)} '
                f'{middle - 4}v8"/>'
            )
            right = max(right, high)
        if row.wanted is not None:
            yield f'<path class="wanted" d="M{_n(place(row.wanted))} {top + 1}v{_ROW - 2}"/>'
            right = max(right, place(row.wanted))
        yield _text(right + 5, middle + 4, row.text, "start")


def strips(title: str, rows: Sequence[Strip]) -> str:
    """Draw values over time, row by row: a gap is a time in which nothing ended."""
    parts = []
    left, right = _LEFT, WIDTH - _RIGHT - 62
    for number, row in enumerate(rows):
        top, bottom = _TOP + number * _ROW + 3, _TOP + (number + 1) * _ROW - 3
        parts.append(_text(left - 6, (top + bottom) / 2 + 4, _short(row.label, left), "end"))
        parts.append(_text(right + 5, (top + bottom) / 2 + 4, row.text, "start"))
        most = max(row.values, default=0) or 1
        step = (right - left) / max(1, len(row.values))
        path = "".join(f"V{_n(bottom - (bottom - top) * value / most)}h{_n(step)}" for value in row.values)
        parts.append(
            f'<path class="fill s{row.series}" d="M{left} {bottom}{path}V{bottom}Z">'
            f"<title>{escape(f'{row.label}: {row.text}')}</title></path>"
        )
        parts.append(f'<path class="axis" d="M{left} {bottom}H{right}"/>')
    return _svg(title, _TOP + len(rows) * _ROW + 4, parts)


Scale = Callable[[float], float]


def nines(percent: float) -> float:
    """Return the place of a percentile: as far from the next one, the more nines it has. 90 is 1, 99 is 2."""
    return -math.log10(max(1e-6, 1 - percent / 100))


@dataclass(frozen=True, slots=True)
class Axis:
    """A named axis with its ticks: place and text."""

    name: str
    scale: Scale
    ticks: Sequence[tuple[float, str]]
    least: float
    most: float


def percent_axis(most: float) -> Axis:
    """Return an axis of percentiles from 0 to ``most``, below 100."""
    ticks = [(value, f"{value:g} %") for value in (50.0, 90.0, 99.0, 99.9, 99.99, 99.999) if value <= most]
    return Axis("of the operations took at most", nines, ticks, 0.0, most)


def log_axis(name: str, values: Iterable[float]) -> Axis:
    """Return a logarithmic axis over ``values``, those that are not positive left out."""
    positive = [value for value in values if value > 0]
    low = math.floor(math.log10(min(positive, default=1.0)))
    high = max(low + 1, math.ceil(math.log10(max(positive, default=1.0))))
    step = 1 if high - low <= 6 else 2
    ticks = [(10.0**power, _power(power)) for power in range(low, high + 1, step)]
    return Axis(name, math.log10, ticks, 10.0**low, 10.0**high)


def _power(power: int) -> str:
    """Return a power of ten as an axis shows it."""
    for least, unit in ((9, "G"), (6, "M"), (3, "k")):
        if power >= least:
            return f"{10 ** (power - least)} {unit}"
    return f"{10.0**power:g}"


def _between(axis: Axis, value: float, first: float, last: float) -> float:
    """Return where ``value`` is between the begin and the end of an axis."""
    low, high = axis.scale(axis.least), axis.scale(axis.most)
    return first + (axis.scale(value) - low) / ((high - low) or 1) * (last - first)


def curves(title: str, lines: Sequence[Line], across: Axis, up: Axis) -> str:
    """Draw lines between two axes. Points off the scale of ``up`` are left out."""
    left, right, top, bottom = 52, WIDTH - 14, _TOP + 6, _HEIGHT - _BOTTOM

    parts = []
    for value, text in across.ticks:
        x = _between(across, value, left, right)
        parts.append(f'<path class="grid" d="M{_n(x)} {top}V{bottom}"/>')
        parts.append(_text(x, bottom + 14, text, "middle"))
    for value, text in up.ticks:
        y = _between(up, value, bottom, top)
        parts.append(f'<path class="grid" d="M{left} {_n(y)}H{right}"/>')
        parts.append(_text(left - 5, y + 4, text, "end"))
    parts.append(_text((left + right) / 2, bottom + 29, across.name, "middle"))
    for line in lines:
        points = [
            (_between(across, x, left, right), _between(up, y, bottom, top))
            for x, y in line.points
            if up.least <= y <= up.most
        ]
        if points:
            path = "L".join(f"{_n(x)} {_n(y)}" for x, y in points)
            dots = "" if len(points) > 8 else "".join(_dot(x, y, line.series) for x, y in points)
            dashed = " dashed" if line.dashed else ""
            name = f"<title>{escape(line.label)}</title>"
            parts.append(f'<path class="line s{line.series}{dashed}" d="M{path}">{name}</path>{dots}')
    return _svg(f"{title} ({up.name})", _HEIGHT, parts)


def _dot(x: float, y: float, series: int) -> str:
    return f'<circle class="fill s{series}" cx="{_n(x)}" cy="{_n(y)}" r="2.5"/>'


def _svg(title: str, height: float, parts: Iterable[str]) -> str:
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><svg viewBox="0 0 {WIDTH} {_n(height)}" role="img" '
        f'aria-label="{escape(title, quote=True)}">{"".join(parts)}</svg></figure>'
    )


def _short(label: str, left: float) -> str:
    """Return as much of a label as has place before ``left``; all of it is in the title of what it names."""
    most = int((left - 6) / _LETTER)
    return label if len(label) <= most else label[: most - 1] + "…"


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{_n(x)}" y="{_n(y)}" text-anchor="{anchor}">{escape(text)}</text>'


def _n(value: float) -> str:
    """Return a coordinate: short, and never in a form that SVG does not know."""
    return f"{value:.1f}".rstrip("0").rstrip(".")


def legend(entries: Iterable[tuple[str, int, bool]]) -> str:
    """Return what each colour stands for; a reference's line is dashed."""
    return f'<p class="legend">{"".join(_keys(entries))}</p>'


def _keys(entries: Iterable[tuple[str, int, bool]]) -> Iterator[str]:
    for label, series, dashed in entries:
        kind = f"line s{series}" + (" dashed" if dashed else "")
        line = f'<path class="{kind}" d="M1 5H21"/>'
        key = f'<svg class="key" viewBox="0 0 22 10" aria-hidden="true">{line}</svg>'
        yield f"<span>{key}{escape(label)}</span>"
