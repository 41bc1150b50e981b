"""Measures work against a reference in one run, and says how they compare.

Times of one machine are not those of another, nor its own an hour later; ratios of two things measured in
turns are. Each pair runs both, in alternating order, so that what slows the machine slows both.
"""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from pytest_benchmark.fixture import BenchmarkFixture


def nothing(*_: Any) -> None:
    """What comes before and after work that needs neither."""


@dataclass(frozen=True, slots=True)
class Work:
    """One side of a comparison. Only ``run`` is on the clock; each gets what ``prepare`` returned."""

    run: Callable[[Any], object]
    prepare: Callable[[], Any] = nothing
    finish: Callable[[Any], object] = nothing

    @classmethod
    def of(cls, call: Callable[[], object]) -> Self:
        """Return work that needs nothing and leaves nothing."""
        return cls(lambda _: call())

    def seconds(self) -> float:
        """Do the work once, garbage collection kept out of it."""
        state = self.prepare()
        gc.collect()
        gc.disable()
        try:
            start = time.perf_counter()
            self.run(state)
            return time.perf_counter() - start
        finally:
            gc.enable()
            self.finish(state)


def measure(benchmark: BenchmarkFixture, ours: Work, theirs: Work, pairs: int) -> list[tuple[float, float]]:
    """Return the seconds of both sides, pair by pair, after one of each that does not count.

    pytest-benchmark takes the times of ours; in its breaks before and behind it, the reference has its turn.
    """
    reference: list[float] = []

    def setup() -> tuple[tuple[Any], dict[str, Any]]:
        if len(reference) % 2 == 0:
            reference.append(theirs.seconds())
        state = ours.prepare()
        gc.collect()
        return (state,), {}

    rounds = 0

    def teardown(state: Any) -> None:
        nonlocal rounds
        ours.finish(state)
        rounds += 1
        if len(reference) < rounds:
            reference.append(theirs.seconds())

    benchmark.pedantic(ours.run, setup=setup, teardown=teardown, rounds=pairs, warmup_rounds=1, iterations=1)
    assert benchmark.stats is not None
    return list(zip(benchmark.stats.stats.data, reference[1:], strict=True))


Kind = Literal["ratio", "difference", "value"]


@dataclass(frozen=True, slots=True)
class Result:
    """One row of the table."""

    work: str
    reference: str
    ours: float
    """Median, in ``unit``."""
    theirs: float | None
    unit: str
    kind: Kind
    """What ``median``, ``least`` and ``most`` are of: of ours alone, of ours beside the reference."""
    median: float
    least: float
    most: float
    wanted: float | None = None
    """What the design asks of ``median``; told beside it, not enforced."""
    at_most: bool = False
    """Whether ``wanted`` is the most and not the least that ``median`` may be."""
    group: str = ""
    sizes: str = ""
    """What the row was measured with."""

    @property
    def met(self) -> bool | None:
        """Whether ``median`` is what was wanted; ``None`` where nothing was."""
        if self.wanted is None:
            return None
        return self.median <= self.wanted if self.at_most else self.median >= self.wanted

    def cells(self) -> list[str]:
        """Return work, reference, ours, theirs, spread, wanted and, last, what came out."""
        unit = {"ratio": " x", "difference": f" {self.unit}", "value": f" {self.unit}"}[self.kind]
        sign = "+" if self.kind == "difference" else ""
        median = f"{sign if self.median >= 0 else ''}{figure(self.median)}{unit}"
        wanted = ""
        if self.wanted is not None:
            wanted = f"{'<=' if self.at_most else '>='} {sign}{self.wanted:g}{unit}"
        return [
            self.work,
            self.reference,
            "" if self.theirs is None else f"{figure(self.ours)} {self.unit}",
            "" if self.theirs is None else f"{figure(self.theirs)} {self.unit}",
            "" if self.least == self.most else f"{figure(self.least)} - {figure(self.most)}",
            wanted,
            median,
        ]

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "met": self.met}


def figure(value: float) -> str:
    """Return ``value`` with three digits that count."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    return f"{value:,.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def speed(
    work: str,
    reference: str,
    pairs: Sequence[tuple[float, float]],
    *,
    items: int,
    of: str,
    wanted: float | None = None,
) -> Result:
    """Return how many times as fast as its reference work on ``items`` was."""
    ratios = [theirs / ours for ours, theirs in pairs]
    ours, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
    per_second = f"k {of}/s"
    return Result(
        work,
        reference,
        items / ours / 1000,
        items / theirs / 1000,
        per_second,
        "ratio",
        statistics.median(ratios),
        min(ratios),
        max(ratios),
        wanted,
    )


def beside(
    work: str,
    reference: str,
    pairs: Sequence[tuple[float, float]],
    *,
    unit: str,
    kind: Kind,
    wanted: float | None = None,
) -> Result:
    """Return figures where less is better, ours and the reference's, as ``kind`` says; at most ``wanted``."""
    figures = [
        ours / theirs if kind == "ratio" else ours - theirs if kind == "difference" else ours
        for ours, theirs in pairs
    ]
    ours, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
    return Result(
        work,
        reference,
        ours,
        theirs,
        unit,
        kind,
        statistics.median(figures),
        min(figures),
        max(figures),
        wanted,
        at_most=True,
    )


def alone(work: str, figures: Sequence[float], *, unit: str, wanted: float | None = None) -> Result:
    """Return a figure that has no reference; at most ``wanted``."""
    median = statistics.median(figures)
    return Result(
        work, "", median, None, unit, "value", median, min(figures), max(figures), wanted, at_most=True
    )


def percentile(samples: Iterable[float], share: float) -> float:
    """Return the smallest of ``samples`` that at least ``share`` of them do not exceed."""
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured; the same for every group of a run."""

    records: int
    """Records of a topic that is restored."""
    rows: int
    """Keys of a store that is read, scanned and written."""
    tables: int
    """Tables of one manager."""
    pairs: int
    """Runs of each side."""
