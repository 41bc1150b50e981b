"""What counts as a difference, and what is said of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from statestore.bench.comparing import compare
from statestore.bench.results import FORMAT, CandidateInfo, Results, Sample, Turn
from statestore.bench.summary import Figure, Work, by_work, figure, markdown, sentence, size


def results(speeds: dict[str, Sequence[float]], **parts: Any) -> Results:
    """Return results of one workload: of each candidate the throughput of each round."""
    turns = [
        Turn(
            candidate=name,
            keys=1_000,
            round=round_,
            load=parts.get("load", 0.5),
            samples=[
                Sample(
                    workload="ycsb-a",
                    threads=1,
                    unit="ops",
                    operations=int(speed),
                    seconds=1.0,
                    throughput=speed,
                    p50=1.0,
                    p95=2.0,
                    p99=3.0,
                    p999=4.0,
                    longest=5.0 + round_,
                    mean=1.5,
                    histogram="",
                    interval=0.1,
                    series=[int(speed)],
                    cpu_seconds=0.5,
                    memory=(10 + round_) << 20,
                )
            ],
        )
        for name, rounds in speeds.items()
        for round_, speed in enumerate(rounds)
    ]
    return Results(
        format=FORMAT,
        started="2026-01-01T00:00:00+00:00",
        seconds=1.0,
        machine={"usable_cores": 2, **parts.get("machine", {})},
        versions={},
        options=parts.get("options", {}),
        candidates=[CandidateInfo(name=name, kind="backend", beside=None, says="") for name in speeds],
        workloads={"ycsb-a": "half reads, half updates"},
        turns=turns,
        left=[],
    )


def verdicts(before: Sequence[float], after: Sequence[float], noise: float = 0.05) -> str:
    (change,) = compare(results({"lmdb": before}), results({"lmdb": after}), noise).changes
    return change.verdict


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        ((1000, 1010), (500, 510), "slower"),
        ((1000, 1010), (2000, 2010), "faster"),
        ((1000, 1010), (960, 970), "equal"),  # beyond the spread, within five percent
        ((1000, 1600), (800, 900), "equal"),  # beyond five percent, within the spread of the rounds before
        ((1000, 1010), (500, 900), "equal"),  # within that of the rounds afterwards
        ((1000,), (500,), "equal"),  # one round has no spread to judge by
        ((0, 0), (500, 510), "equal"),
    ],
)
def test_a_difference_counts_beyond_the_spread_and_the_noise(
    before: Sequence[float], after: Sequence[float], verdict: str
) -> None:
    assert verdicts(before, after) == verdict


def test_the_noise_can_be_chosen() -> None:
    assert verdicts((1000, 1001), (960, 961), noise=0.01) == "slower"
    assert verdicts((1000, 1001), (500, 501), noise=0.6) == "equal"


def test_how_much_it_changed_and_who_became_slower() -> None:
    comparison = compare(
        results({"lmdb": (1000, 1010), "memory": (1000, 1010)}),
        results({"lmdb": (500, 505), "memory": (1000, 1010)}),
    )
    (slower,) = comparison.slower
    assert slower.names == ("lmdb", "ycsb-a, 1,000 keys, 1 thread")
    assert (slower.before.shown, slower.after.shown) == ("1.00 k ops/s", "502 ops/s")
    assert slower.factor == pytest.approx(0.5)
    assert slower.noise == pytest.approx(0.05)


def test_what_only_one_run_has_is_told() -> None:
    comparison = compare(results({"lmdb": (1, 2)}), results({"dict": (1, 2)}))
    assert comparison.changes == []
    assert comparison.alone == [
        "before: lmdb, ycsb-a, 1,000 keys, 1 thread",
        "after: dict, ycsb-a, 1,000 keys, 1 thread",
    ]


def test_what_makes_two_runs_hard_to_compare_is_told() -> None:
    before = results({"lmdb": (1, 2)}, machine={"governor": "performance"}, options={"seconds": 2.0})
    after = results({"lmdb": (1, 2)}, machine={"governor": "powersave"}, options={"seconds": 9.0}, load=7.5)
    assert compare(before, after).doubts == [
        "machine governor: performance before, powersave after",
        "option seconds: 2.0 before, 9.0 after",
        "the machine was busy after: a load of 7.5 on 2 cores",
    ]


# The summary


def test_rounds_become_medians_and_their_extremes() -> None:
    ((work, (row,)),) = by_work(results({"lmdb": (900, 1000, 1400)})).items()
    assert work == Work(1_000, "ycsb-a", 1)
    assert row.throughput == Figure(1000, 900, 1400, 3)
    assert row.throughput.spread == pytest.approx(1400 / 900)
    assert (row.longest, row.memory) == (7.0, 12 << 20)
    assert row.cpu == pytest.approx(500)


@pytest.mark.parametrize(
    ("speeds", "said"),
    [
        (
            {"a": (100, 102), "b": (50, 51), "c": (10, 11)},
            "a is the fastest; b follows, at 1/2.00 of the speed of a.",
        ),
        (
            {"a": (100, 120), "b": (105, 125), "c": (10, 11)},
            "b and a are equal: they differ less than their rounds; c follows, at 1/10.95 of the speed of b.",
        ),
        (
            {"a": (100, 900), "b": (20, 21), "c": (1, 1)},  # nine times is much, 24 times is more
            "a is the fastest; b follows, at 1/24.39 of the speed of a.",
        ),
        ({"a": (100, 120), "b": (105, 125)}, "b and a are equal: they differ less than their rounds."),
        ({"a": (100, 120)}, "Only a was measured."),
    ],
)
def test_a_plain_sentence_says_what_differs(speeds: dict[str, Sequence[float]], said: str) -> None:
    (rows,) = by_work(results(speeds)).values()
    assert sentence(rows) == said


def test_at_a_fixed_rate_the_latencies_decide() -> None:
    """All do what is due: a throughput that differs by little is no difference there."""
    before, after = runs = [results({"a": (1000, 1000), "b": (999, 999)}) for _ in range(2)]
    for run, factor in zip(runs, (1, 3), strict=True):
        for turn in run.turns:
            turn.samples[0].paced = True
            turn.samples[0].p99 = 10.0 * factor if turn.candidate == "a" else 55.0
    (rows,) = by_work(runs[0]).values()
    assert sentence(rows) == "a has the shortest p99; that of b follows, 5.50 times as long."
    comparison = compare(before, after)
    assert [(one.names[0], one.verdict, one.after.shown, one.after.p99) for one in comparison.changes] == [
        ("a", "slower", "fixed rate", "30.0"),
        ("b", "equal", "fixed rate", "55.0"),
    ]
    assert comparison.slower[0].factor == pytest.approx(1 / 3)


def test_what_is_written_for_each_byte_is_of_all_rounds_and_left_out_where_it_is_not_told() -> None:
    def amplified(given: Sequence[int | None], written: Sequence[int | None]) -> float | None:
        run = results({"a": (100, 100)})
        for turn, one, other in zip(run.turns, given, written, strict=True):
            turn.samples[0].given, turn.samples[0].written = one, other
        ((row,),) = by_work(run).values()
        return row.amplification

    assert amplified((100, 300), (250, 950)) == 3.0
    assert amplified((0, 0), (250, 950)) is None  # it only reads
    assert amplified((100, 300), (None, None)) is None  # no files, or a system that does not tell
    assert amplified((100, 300), (0, 0)) is None  # a file system in memory
    assert amplified((None, None), (250, 950)) is None  # results of an earlier version


def test_the_table_in_markdown_has_what_is_equal_to_the_best_in_bold() -> None:
    run = results({"a": (100_000, 120_000), "b": (105_000, 125_000), "c": (1_500, 1_510), "d": ()})
    assert list(markdown(run)) == [
        "| workload | of | `a` | `b` | `c` | `d` |",
        "|---|---|---|---|---|---|",
        "| ycsb-a | ops | **110** | **115** | 1.50 | - |",
    ]
    for turn in run.turns:
        turn.samples[0].paced = True
        turn.samples[0].threads = 4
    assert list(markdown(run))[2] == "| ycsb-a, 4 threads | p99 µs | **3.00** | **3.00** | **3.00** | - |"


def test_numbers_have_three_digits() -> None:
    numbers = [0, 0.00042, 0.1234, 1.234, 12.34, 123.4, 1_234, 123_456, 1_234_567]
    assert [figure(number) for number in numbers] == [
        "0", "0.0004", "0.12", "1.23", "12.3", "123", "1.23 k", "123 k", "1.23 M",
    ]  # fmt: skip
    assert (size(None), size(3 << 20)) == ("-", "3.00 MiB")
