"""Results of a run, made up: three candidates, two workloads, two numbers of keys."""

from __future__ import annotations

from functools import cache

import pytest

from statestore.bench.histogram import Latencies
from statestore.bench.results import FORMAT, CandidateInfo, Left, Results, Sample, Turn

CANDIDATES = {"lmdb": 50_000.0, "<tiny> & company": 90_000.0, "dict": 900_000.0}


@pytest.fixture
def measured() -> Results:
    turns = [
        Turn(
            candidate=name,
            keys=keys,
            round=round_,
            load=0.5,
            overhead=0.2,
            content=116.0 * keys,
            loaded=None if name == "dict" else 150 * keys,
            used=None if name == "dict" else 300 * keys,
            compacted=None if name == "dict" else 140 * keys,
            samples=[
                sample("load-random", speed * 3, 0),
                sample("ycsb-a", speed * (1 + round_ / 10), round_),
            ],
        )
        for keys in (1_000, 100_000)
        for round_ in range(2)
        for name, speed in CANDIDATES.items()
    ]
    return Results(
        format=FORMAT,
        started="2026-11-28T12:00:00+00:00",
        seconds=12.0,
        machine={"processor": "Some <processor>", "usable_cores": 2, "memory": 8 << 30},
        versions={"python": "3.11"},
        options={"seconds": 0.5},
        candidates=[
            CandidateInfo(
                name=name, kind="reference" if name == "dict" else "backend", beside=None, says="says"
            )
            for name in CANDIDATES
        ],
        workloads={"load-random": "write every record", "ycsb-a": "half reads & half updates"},
        turns=turns,
        left=[Left(candidate="dict", workload="ycsb-e", why="no scans in the order of the keys")],
    )


def sample(workload: str, speed: float, stalls: int) -> Sample:
    """Return a second of a workload, with some intervals in which nothing ended."""
    histogram, (p50, p95, p99, p999, longest) = counted(speed)
    return Sample(
        workload=workload,
        threads=1,
        unit="keys" if workload == "load-random" else "ops",
        operations=50_020,
        seconds=1.0,
        throughput=speed,
        p50=p50,
        p95=p95,
        p99=p99,
        p999=p999,
        longest=longest,
        mean=p50,
        histogram=histogram,
        interval=0.1,
        series=[0] * stalls + [5_002] * (10 - stalls),
        cpu_seconds=0.9,
        memory=40 << 20,
        given=1 << 20,
        written=None if speed > 800_000 else 5 << 19,
    )


@cache
def counted(speed: float) -> tuple[str, list[float]]:
    latencies = Latencies()
    latencies.record([int(1e9 / speed)] * 50_000 + [5_000_000] * 20)
    return latencies.encoded(), latencies.percentiles(50, 95, 99, 99.9, 100)
