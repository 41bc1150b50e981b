"""What changed from one run to another, by how much, and whether that is more than noise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from statestore.bench.pairs import PairResults
from statestore.bench.results import Results
from statestore.bench.summary import Figure, Work, by_work, figure
from statestore.errors import ConfigError

NOISE = 0.05
"""Part of the speed by which the same program differs from run to run, beyond the spread of its rounds."""

Verdict = Literal["faster", "slower", "equal"]

Names = tuple[str, str]
"""What is compared: a candidate and its work; of ``make bench``, the work and its reference."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What one run says of one thing."""

    speed: Figure
    """What is compared, more is better."""
    shown: str
    p99: str = ""
    """Microseconds, as they are shown."""


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that both runs measured."""

    names: Names
    before: Entry
    after: Entry
    verdict: Verdict
    noise: float
    """The part of the speed below which a difference counts as none."""

    @property
    def factor(self) -> float:
        """The speed afterwards as a multiple of that before; below 1 it became slower."""
        before = self.before.speed.median
        return self.after.speed.median / before if before else 0.0


@dataclass(frozen=True, slots=True)
class Comparison:
    """See the module."""

    titles: Names
    """What the names of the changes are."""
    changes: list[Change]
    doubts: list[str]
    """Why the two runs may not be comparable."""
    alone: list[str]
    """What only one of them has."""

    @property
    def slower(self) -> list[Change]:
        return [one for one in self.changes if one.verdict == "slower"]


def compare(before: Results | PairResults, after: Results | PairResults, noise: float = NOISE) -> Comparison:
    """Compare what both measured.

    A difference counts where it is more than the spread of the rounds of either run, and more than ``noise``.
    Raises ``ConfigError`` where only one of them is of ``statestore bench``.
    """
    if isinstance(before, Results) and isinstance(after, Results):
        titles, entries = ("candidate", "work"), (_of_candidates(before), _of_candidates(after))
        doubts = [*_doubts_of_options(before, after), *_doubts_of_load(before, after)]
    elif isinstance(before, PairResults) and isinstance(after, PairResults):
        titles, entries = ("work", "reference"), (_of_rows(before), _of_rows(after))
        doubts = list(_doubts_of_rows(before, after))
    else:
        raise ConfigError(
            "one file is of statestore bench and the other of make bench: give two that the same one wrote"
        )
    first, second = entries
    changes = [_change(names, first[names], second[names], noise) for names in first if names in second]
    alone = [
        f"{name}: {', '.join(names)}"
        for name, own, other in (("before", first, second), ("after", second, first))
        for names in own
        if names not in other
    ]
    machines = ("processor", "usable_cores", "governor", "memory", "file_system")
    told = list(_differing("machine", before.machine, after.machine, machines))
    return Comparison(titles, changes, told + doubts, alone)


def _change(names: Names, before: Entry, after: Entry, noise: float) -> Change:
    one, other = before.speed, after.speed
    least = max(noise, one.spread - 1, other.spread - 1)
    verdict: Verdict = "equal"
    if one.median and one.differs(other) and abs(other.median / one.median - 1) > noise:
        verdict = "faster" if other.median > one.median else "slower"
    return Change(names, before, after, verdict, least)


def _of_candidates(results: Results) -> dict[Names, Entry]:
    return {
        (row.candidate, _named(work)): Entry(
            row.speed,
            "fixed rate" if row.paced else f"{figure(row.throughput.median)} {row.unit}/s",
            figure(row.p99),
        )
        for work, rows in by_work(results).items()
        for row in rows
    }


def _named(work: Work) -> str:
    return f"{work.workload}, {work.keys:,} keys, {work.threads} thread{'s' if work.threads > 1 else ''}"


def _of_rows(results: PairResults) -> dict[Names, Entry]:
    return {(f"{row.group}: {row.work}", row.reference): Entry(row.speed, row.shown) for row in results.rows}


# What is not the same in both, and can be the reason of a difference.


def _differing(
    title: str, before: Mapping[str, Any], after: Mapping[str, Any], names: Iterable[str]
) -> Iterator[str]:
    for name in names:
        if before.get(name) != after.get(name):
            yield f"{title} {name}: {before.get(name)} before, {after.get(name)} after"


def _doubts_of_options(before: Results, after: Results) -> Iterator[str]:
    names = ("key_size", "value_size", "seconds", "rate", "durable", "kafka", "seed")
    yield from _differing("option", before.options, after.options, names)


def _doubts_of_load(before: Results, after: Results) -> Iterator[str]:
    for title, results in (("before", before), ("after", after)):
        cores = results.machine.get("usable_cores")
        loads = [turn.load for turn in results.turns if turn.load is not None]
        # One thread of the bench itself is a load of 1, which the average comes near to during a run.
        if isinstance(cores, int) and loads and max(loads) > cores + 1:
            yield f"the machine was busy {title}: a load of {max(loads):.1f} on {cores} cores"


def _doubts_of_rows(before: PairResults, after: PairResults) -> Iterator[str]:
    first, second = (
        {(row.group, row.work, row.reference): row for row in results.rows} for results in (before, after)
    )
    both = [(first[name], second[name]) for name in first if name in second]
    for one, other in both:
        if one.sizes != other.sizes:
            yield f"sizes of {one.group}: {one.work}: {one.sizes} before, {other.sizes} after"
    if once := sum(min(len(one.ours), len(other.ours)) < 2 for one, other in both):
        yield f"{once} rows were measured once, which has no spread: they are called equal"
