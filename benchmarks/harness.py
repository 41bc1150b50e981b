"""Measures work against a reference in one run, and compares both.

A time measured on one machine says nothing about another machine, or about the same one an hour later. The
ratio of two times measured in turns does. Each pair runs both sides, in alternating order, so that a slow
moment of the machine slows both.
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
    """Prepare and finish nothing, for work that needs neither."""


@dataclass(frozen=True, slots=True)
class Work:
    """One side of a comparison. Only ``run`` is timed; it and ``finish`` get the result of ``prepare``."""

    run: Callable[[Any], object]
    prepare: Callable[[], Any] = nothing
    finish: Callable[[Any], object] = nothing

    @classmethod
    def of(cls, call: Callable[[], object]) -> Self:
        """Return work without preparation and clean-up."""
        return cls(lambda _: call())

    def seconds(self) -> float:
        """Do the work once, with garbage collection turned off, and return the seconds."""
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
    """Return the seconds of both sides, pair by pair. One run of each comes first and does not count.

    pytest-benchmark takes our times. The reference runs in the breaks before and after each of our runs.
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
    """What ``median``, ``least`` and ``most`` are: our figure, or how it compares to the reference."""
    median: float
    least: float
    most: float
    wanted: float | None = None
    """The design's target for ``median``. It is shown, not enforced."""
    at_most: bool = False
    """Whether ``wanted`` is an upper limit of ``median``; otherwise it is a lower one."""
    group: str = ""
    sizes: str = ""
    """The sizes that the row was measured with."""

    @property
    def met(self) -> bool | None:
        """Whether ``median`` meets the target, or ``None`` without a target."""
        if self.wanted is None:
            return None
        return self.median <= self.wanted if self.at_most else self.median >= self.wanted

    def cells(self) -> list[str]:
        """Return work, reference, ours, theirs, spread, wanted and the result."""
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
    """Return ``value`` with three significant digits."""
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
    """Return the speed of work on ``items`` as a multiple of its reference's speed."""
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
    """Return a row of which less is better, compared as ``kind`` says. ``wanted`` is the upper limit."""
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
    """Return a row without a reference. ``wanted`` is the upper limit."""
    median = statistics.median(figures)
    return Result(
        work, "", median, None, unit, "value", median, min(figures), max(figures), wanted, at_most=True
    )


def percentile(samples: Iterable[float], share: float) -> float:
    """Return the least of ``samples`` that a ``share`` of them does not exceed."""
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes of a run, for all of its groups."""

    records: int
    """Records in a topic that is restored."""
    rows: int
    """Keys of a store that is read, scanned and written."""
    tables: int
    """Tables of one manager."""
    pairs: int
    """Runs of each side."""
