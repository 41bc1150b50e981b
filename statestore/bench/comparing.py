"""What changed from one run to another, by how much, and whether that is more than noise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from statestore.bench.results import Results
from statestore.bench.summary import Figure, Row, Work, by_work

NOISE = 0.05
"""Part of the speed by which the same program differs from run to run, beyond the spread of its rounds."""

Verdict = Literal["faster", "slower", "equal"]


@dataclass(frozen=True, slots=True)
class Change:
    """One candidate in one work, in both runs."""

    work: Work
    candidate: str
    unit: str
    judged: str
    """By what: ``throughput``, or at a fixed rate ``p99``."""
    before: Figure
    after: Figure
    p99_before: float
    p99_after: float
    verdict: Verdict
    noise: float
    """The part of the speed below which a difference counts as none."""

    @property
    def factor(self) -> float:
        """The speed afterwards as a multiple of that before; below 1 it became slower."""
        return self.after.median / self.before.median if self.before.median else 0.0


@dataclass(frozen=True, slots=True)
class Comparison:
    """See the module."""

    changes: list[Change]
    doubts: list[str]
    """Why the two runs may not be comparable."""
    alone: list[str]
    """What only one of them has."""

    @property
    def slower(self) -> list[Change]:
        return [one for one in self.changes if one.verdict == "slower"]


def compare(before: Results, after: Results, noise: float = NOISE) -> Comparison:
    """Compare candidate by candidate and work by work.

    A difference counts where it is more than the spread of the rounds of either run, and more than ``noise``.
    """
    rows = [
        {(work, row.candidate): row for work, found in by_work(results).items() for row in found}
        for results in (before, after)
    ]
    changes = [_change(*key, rows[0][key], rows[1][key], noise) for key in rows[0] if key in rows[1]]
    alone = [
        f"{name}: {candidate}, {_named(work)}"
        for name, own, other in (("before", rows[0], rows[1]), ("after", rows[1], rows[0]))
        for work, candidate in own
        if (work, candidate) not in other
    ]
    return Comparison(changes, list(_doubts(before, after)), alone)


def _change(work: Work, candidate: str, before: Row, after: Row, noise: float) -> Change:
    one, other = before.speed, after.speed
    least = max(noise, one.spread - 1, other.spread - 1)
    verdict: Verdict = "equal"
    if one.median and one.differs(other) and abs(other.median / one.median - 1) > noise:
        verdict = "faster" if other.median > one.median else "slower"
    return Change(
        work, candidate, before.unit, before.judged, one, other, before.p99, after.p99, verdict, least
    )


def _named(work: Work) -> str:
    return f"{work.workload}, {work.keys:,} keys, {work.threads} thread{'s' if work.threads > 1 else ''}"


def _doubts(before: Results, after: Results) -> Iterator[str]:
    """Give what is not the same in both, and can be the reason of a difference."""
    for title, one, other, names in (
        (
            "machine",
            before.machine,
            after.machine,
            ("processor", "usable_cores", "governor", "memory", "file_system"),
        ),
        (
            "option",
            before.options,
            after.options,
            ("key_size", "value_size", "seconds", "rate", "durable", "seed"),
        ),
    ):
        for name in names:
            if one.get(name) != other.get(name):
                yield f"{title} {name}: {one.get(name)} before, {other.get(name)} after"
    for title, results in (("before", before), ("after", after)):
        cores = results.machine.get("usable_cores")
        loads = [turn.load for turn in results.turns if turn.load is not None]
        # One thread of the bench itself is a load of 1, which the average comes near to during a run.
        if isinstance(cores, int) and loads and max(loads) > cores + 1:
            yield f"the machine was busy {title}: a load of {max(loads):.1f} on {cores} cores"
