"""Rows of work beside a reference, measured in pairs, and the file that they are kept in.

``make bench`` of this project writes such a file; two of them are compared by :mod:`.comparing`, as two runs
of ``statestore bench`` are. A ratio to a reference of the same run differs less from machine to machine, and
from hour to hour, than a time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from statestore.bench.results import FORMAT, Results, read_as, read_results
from statestore.bench.summary import Figure

Kind = Literal["ratio", "difference", "value"]


class PairRow(msgspec.Struct, kw_only=True, frozen=True):
    """One row: figures of our work and of its reference, pair by pair."""

    group: str = ""
    work: str
    reference: str = ""
    """Nothing: there is none."""
    unit: str
    """Of ``ours`` and ``theirs``."""
    kind: Kind
    """What the result is: how many times the reference, how much more than it, or our own figure."""
    ours: list[float]
    theirs: list[float] | None = None
    at_most: bool
    """Whether less is better."""
    wanted: float | None = None
    """The target of the result's median. It is shown, not enforced."""
    sizes: str = ""
    """What the row was measured with."""

    @property
    def result(self) -> Figure:
        """The median of the pairs' results, the least and the most."""
        if self.theirs is None or self.kind == "value":
            return Figure.of(self.ours)
        pairs = zip(self.ours, self.theirs, strict=True)
        return Figure.of(
            [a / b if b else math.inf for a, b in pairs]
            if self.kind == "ratio"
            else [a - b for a, b in pairs]
        )

    @property
    def speed(self) -> Figure:
        """What two runs are compared by, more is better: of a difference the ratio, as it can be 0 itself."""
        if self.theirs is None or self.kind == "value":
            figures = self.ours
        else:
            figures = [a / b if b else 0.0 for a, b in zip(self.ours, self.theirs, strict=True)]
        if self.at_most:
            figures = [1 / one if one > 0 else 0.0 for one in figures]
        return Figure.of(figures)

    @property
    def shown(self) -> str:
        """The result's median and its unit."""
        median = self.result.median
        sign = "+" if self.kind == "difference" and median >= 0 else ""
        return f"{sign}{digits(median)} {'x' if self.kind == 'ratio' else self.unit}"

    @property
    def met(self) -> bool | None:
        """Whether the result meets the target, or ``None`` without a target."""
        if self.wanted is None:
            return None
        median = self.result.median
        return median <= self.wanted if self.at_most else median >= self.wanted


def digits(value: float) -> str:
    """Return ``value`` with three significant digits, and commas between thousands."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    return f"{value:,.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def speed(
    work: str,
    reference: str,
    seconds: Sequence[tuple[float, float]],
    *,
    items: int,
    of: str,
    wanted: float | None = None,
) -> PairRow:
    """Return the speed of work on ``items`` as a multiple of its reference's speed."""
    return PairRow(
        work=work,
        reference=reference,
        unit=f"k {of}/s",
        kind="ratio",
        ours=[items / ours / 1000 for ours, _ in seconds],
        theirs=[items / theirs / 1000 for _, theirs in seconds],
        at_most=False,
        wanted=wanted,
    )


def beside(
    work: str,
    reference: str,
    pairs: Sequence[tuple[float, float]],
    *,
    unit: str,
    kind: Kind,
    wanted: float | None = None,
) -> PairRow:
    """Return a row of which less is better. ``wanted`` is the upper limit of what ``kind`` says."""
    ours, theirs = map(list, zip(*pairs, strict=True))
    return PairRow(
        work=work,
        reference=reference,
        unit=unit,
        kind=kind,
        ours=ours,
        theirs=theirs,
        at_most=True,
        wanted=wanted,
    )


def alone(work: str, figures: Sequence[float], *, unit: str, wanted: float | None = None) -> PairRow:
    """Return a row without a reference. ``wanted`` is the upper limit."""
    return PairRow(work=work, unit=unit, kind="value", ours=list(figures), at_most=True, wanted=wanted)


class PairResults(msgspec.Struct, kw_only=True):
    """The file."""

    format: int = FORMAT
    machine: dict[str, Any]
    versions: dict[str, str]
    """Both are of the last run: a run of some groups keeps the rows of the others."""
    rows: list[PairRow]


def read_pairs(path: Path) -> PairResults:
    """Read the file. Raises ``ConfigError`` for one that cannot be read, or is of another version."""
    return read_as(PairResults, path, "make bench")


class _Head(msgspec.Struct):
    rows: list[Any] | None = None


def read_either(path: Path) -> Results | PairResults:
    """Read a file of ``statestore bench`` or of ``make bench``. Raises ``ConfigError`` as ``read_pairs``."""
    has_rows = read_as(_Head, path, "statestore bench").rows is not None
    return read_pairs(path) if has_rows else read_results(path)
