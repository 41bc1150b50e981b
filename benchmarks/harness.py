"""Measures work against a reference in one run, and says how fast it is as a ratio.

Times of one machine are not those of another, nor its own an hour later; ratios of two things measured in
turns are. Each pair runs both, in alternating order, so that what slows the machine slows both.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

Measured = Callable[[], float]
"""Does the work once and returns the seconds it took."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the result: ``items`` of work against a reference."""

    work: str
    reference: str
    items: int
    unit: str
    wanted: float
    """The ratio that the design asks for; printed beside, not enforced."""
    ours: Measured
    theirs: Measured


class Ratio(NamedTuple):
    """How many times as fast as its reference the work was: median, least and most of the pairs."""

    median: float
    least: float
    most: float
    seconds: float
    """Median of the work itself."""


def compare(row: Row, pairs: int) -> Ratio:
    """Run ``row`` in ``pairs`` pairs, after one of each that does not count."""
    row.ours(), row.theirs()
    ratios, times = [], []
    for number in range(pairs):
        if number % 2:
            theirs, ours = row.theirs(), row.ours()
        else:
            ours, theirs = row.ours(), row.theirs()
        ratios.append(theirs / ours)
        times.append(ours)
    return Ratio(statistics.median(ratios), min(ratios), max(ratios), statistics.median(times))


def timed(work: Callable[[], object]) -> Measured:
    """Return ``work`` with a clock around it."""

    def measure() -> float:
        with clock() as taken:
            work()
        return taken[0]

    return measure


@contextmanager
def clock() -> Iterator[list[float]]:
    """Measure the block, garbage collection kept out of it; the list gets the seconds at its end."""
    taken: list[float] = []
    gc.collect()
    gc.disable()
    start = time.perf_counter()
    try:
        yield taken
    finally:
        taken.append(time.perf_counter() - start)
        gc.enable()


class Fresh:
    """Gives directories under ``parent`` that do not exist yet."""

    def __init__(self, parent: Path) -> None:
        self._parent = parent
        self._count = 0

    def directory(self) -> Path:
        self._count += 1
        return self._parent / f"{self._count:04d}"
