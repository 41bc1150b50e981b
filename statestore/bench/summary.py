"""What the results say: medians, spreads, and what differs by more than those."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from statestore.bench.results import Results, Sample


class Work(NamedTuple):
    """What is comparable: the same workload, with as many keys and threads."""

    keys: int
    workload: str
    threads: int


@dataclass(frozen=True, slots=True)
class Figure:
    """A median of rounds, and the range they were in."""

    median: float
    least: float
    most: float
    rounds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Figure:
        return cls(statistics.median(values), min(values), max(values), len(values))

    @property
    def spread(self) -> float:
        """The best round as a multiple of the worst; 1 where they are the same."""
        return self.most / self.least if self.least > 0 else math.inf

    def differs(self, other: Figure) -> bool:
        """Whether the medians differ by a larger factor than the rounds of either; never with one round."""
        if min(self.rounds, other.rounds) < 2:
            return False
        low, high = sorted((self.median, other.median))
        return low > 0 and high / low > max(self.spread, other.spread)


@dataclass(frozen=True, slots=True)
class Row:
    """One candidate in one work, over all rounds."""

    candidate: str
    unit: str
    throughput: Figure
    p50: float
    p99: float
    p999: float
    longest: float
    cpu: float
    """Microseconds of processor time of one operation."""
    memory: int | None
    amplification: float | None
    """Bytes that were written to disk for each byte of the writes; ``None``: none, or not known."""
    late: bool
    paced: bool
    speed: Figure
    """What is compared, more is better: the throughput, or at a fixed rate operations a second of the p99."""

    @property
    def judged(self) -> str:
        """What ``speed`` was found by."""
        return "p99" if self.paced else "throughput"


def by_work(results: Results) -> dict[Work, list[Row]]:
    """Return the rows of each work, in the order of the candidates."""
    order = [one.name for one in results.candidates]
    samples: dict[Work, dict[str, list[Sample]]] = {}
    for turn in results.turns:
        for sample in turn.samples:
            work = Work(turn.keys, sample.workload, sample.threads)
            samples.setdefault(work, {}).setdefault(turn.candidate, []).append(sample)
    place = {name: number for number, name in enumerate(results.workloads)}
    return {
        work: [_row(name, samples[work][name]) for name in order if name in samples[work]]
        for work in sorted(samples, key=lambda one: (one.keys, place.get(one.workload, 0), one.threads))
    }


def _row(candidate: str, samples: Sequence[Sample]) -> Row:
    def middle(figure: Callable[[Sample], float]) -> float:
        return statistics.median(map(figure, samples))

    return Row(
        candidate=candidate,
        unit=samples[0].unit,
        throughput=Figure.of([one.throughput for one in samples]),
        p50=middle(lambda one: one.p50),
        p99=middle(lambda one: one.p99),
        p999=middle(lambda one: one.p999),
        longest=max(one.longest for one in samples),
        cpu=middle(lambda one: one.cpu_seconds * 1e6 / max(1, one.operations)),
        memory=most(one.memory for one in samples),
        amplification=amplification(samples),
        late=any(one.late for one in samples),
        paced=(paced := all(one.paced for one in samples)),
        speed=Figure.of([1e6 / max(one.p99, 1e-3) if paced else one.throughput for one in samples]),
    )


def most(values: Iterable[int | None]) -> int | None:
    """Return the greatest of those that are known."""
    return max((one for one in values if one is not None), default=None)


def amplification(samples: Iterable[Sample]) -> float | None:
    """Return the bytes written to disk for each byte of the writes of ``samples``; ``None``: not known."""
    found = [(one.written, one.given) for one in samples if one.given]
    written = sum(one for one, _ in found if one)
    return written / sum(one for _, one in found if one) if written else None


def sentence(rows: Sequence[Row]) -> str:
    """Say which candidates are the fastest, and how far after them the next one is.

    At a fixed rate all do as much as is due: there the 99th percentile of the latencies is what counts.
    """
    ordered = sorted(rows, key=lambda row: -row.speed.median)
    if len(ordered) < 2:
        return f"Only {ordered[0].candidate} was measured." if ordered else "Nothing was measured."
    first = ordered[0]
    equal = [row for row in ordered if not row.speed.differs(first.speed)]
    others = [row for row in ordered if row not in equal]
    names = [row.candidate for row in equal]
    if len(names) == 1:
        begin = f"{names[0]} has the shortest p99" if first.paced else f"{names[0]} is the fastest"
    else:
        begin = f"{', '.join(names[:-1])} and {names[-1]} are equal: they differ less than their rounds"
    if not others:
        return f"{begin}."
    following = others[0]
    factor = first.speed.median / following.speed.median
    if first.paced:
        return f"{begin}; that of {following.candidate} follows, {factor:.2f} times as long."
    return f"{begin}; {following.candidate} follows, at 1/{factor:.2f} of the speed of {first.candidate}."


def figure(value: float) -> str:
    """Return a number with three significant digits, large ones with k or M."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{_three(value / size)} {unit}"
    return _three(value)


def _three(value: float) -> str:
    if value == 0:
        return "0"
    magnitude = abs(value)
    digits = 0 if magnitude >= 100 else 1 if magnitude >= 10 else 2 if magnitude >= 0.1 else 4
    return f"{value:.{digits}f}"


def size(value: float | None) -> str:
    """Return bytes in MiB; "-" where they are not known."""
    return "-" if value is None else f"{_three(value / (1 << 20))} MiB"


def markdown(results: Results) -> Iterator[str]:
    """Give a table in Markdown, by lines: of each work the thousands a second, and bold what equals the best.

    At a fixed rate, where all do as much as is due, the figures are the p99 in microseconds.
    """
    names = [one.name for one in results.candidates]
    works = by_work(results)
    several = len({work.keys for work in works}) > 1
    yield f"| workload | of | {' | '.join(f'`{name}`' for name in names)} |"
    yield "|---" * (len(names) + 2) + "|"
    for work, rows in works.items():
        best = max(rows, key=lambda row: row.speed.median)
        cells = {}
        for row in rows:
            text = _three(row.p99 if row.paced else row.throughput.median / 1_000)
            cells[row.candidate] = text if row.speed.differs(best.speed) else f"**{text}**"
        name = work.workload + (f", {work.keys:,} keys" if several else "")
        name += f", {work.threads} threads" if work.threads > 1 else ""
        unit = "p99 µs" if rows[0].paced else rows[0].unit
        yield f"| {name} | {unit} | {' | '.join(cells.get(one, '-') for one in names)} |"
