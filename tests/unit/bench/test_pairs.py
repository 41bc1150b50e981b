"""Rows of ``make bench``: what a row says, its file, and what differs between two of them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from statestore.bench.comparing import compare
from statestore.bench.pairs import PairResults, PairRow, alone, beside, digits, read_either, read_pairs, speed
from statestore.bench.results import FORMAT, Results, write_results
from statestore.bench.summary import Figure
from statestore.errors import ConfigError


def test_a_speed_is_the_ratio_of_each_pair() -> None:
    row = speed("w", "r", [(1.0, 3.0), (2.0, 2.0), (1.0, 2.0)], items=1000, of="reads", wanted=2.5)
    assert row.result == row.speed == Figure(2.0, 1.0, 3.0, 3)
    assert (row.ours, row.unit, row.met, row.shown) == ([1.0, 0.5, 1.0], "k reads/s", False, "2.00 x")


@pytest.mark.parametrize(
    ("kind", "result", "better", "shown"),
    [
        ("difference", 20.0, 1 / 3, "+20.0 ms"),
        ("ratio", 3.0, 1 / 3, "3.00 x"),
        ("value", 30.0, 1 / 30, "30.0 ms"),
    ],
)
def test_less_is_better_of_times(kind: Any, result: float, better: float, shown: str) -> None:
    row = beside("w", "r", [(30.0, 10.0)], unit="ms", kind=kind, wanted=result)
    assert (row.result.median, row.met, row.shown) == (result, True, shown)
    assert row.speed.median == pytest.approx(better)


def test_a_figure_can_stand_alone() -> None:
    row = alone("w", [3.0, 1.0, 2.0], unit="s")
    assert (row.result, row.met, row.theirs) == (Figure(2.0, 1.0, 3.0, 3), None, None)
    assert alone("w", [0.0], unit="s", wanted=1.0).speed.median == 0.0
    assert beside("w", "r", [(1.0, 0.0)], unit="MiB", kind="ratio").result.median == math.inf


def test_numbers_have_three_digits() -> None:
    shown = [digits(one) for one in (0, 0.00123456, 1.23456, -12.3456, 1234.56, math.inf)]
    assert shown == ["0", "0.00123", "1.23", "-12.3", "1,235", "inf"]


def results(*rows: PairRow, **machine: Any) -> PairResults:
    return PairResults(machine={"processor": "Some", **machine}, versions={}, rows=list(rows))


def rate(*ratios: float, sizes: str = "2 pairs", work: str = "get") -> PairRow:
    return PairRow(
        group="reads",
        work=work,
        reference="Rdict.get",
        unit="k reads/s",
        kind="ratio",
        ours=list(ratios),
        theirs=[1.0] * len(ratios),
        at_most=False,
        sizes=sizes,
    )


def verdict(before: PairRow, after: PairRow) -> tuple[str, str, str]:
    (change,) = compare(results(before), results(after)).changes
    return change.before.shown, change.after.shown, change.verdict


def test_rows_are_compared_by_their_ratios_beyond_the_spread() -> None:
    assert verdict(rate(5.0, 5.1), rate(3.0, 3.1)) == ("5.05 x", "3.05 x", "slower")
    assert verdict(rate(3.0, 3.1), rate(5.0, 5.1))[-1] == "faster"
    assert verdict(rate(5.0, 9.0), rate(3.9, 4.0))[-1] == "equal"
    memory = [
        beside("m", "dict", [(one, 10.0), (one, 10.0)], unit="MiB", kind="ratio") for one in (15.0, 30.0)
    ]
    assert verdict(*memory) == ("1.50 x", "3.00 x", "slower")


def test_what_makes_rows_hard_to_compare_is_told() -> None:
    before, after = (
        results(rate(5.0, 5.1), rate(1.0, work="scan")),
        results(rate(5.0, 5.1, sizes="1 pair"), memory=1),
    )
    found = compare(before, after)
    assert found.doubts == [
        "machine memory: None before, 1 after",
        "sizes of reads: get: 2 pairs before, 1 pair after",
    ]
    assert found.alone == ["before: reads: scan, Rdict.get"]
    assert compare(results(rate(5.0)), results(rate(1.0))).doubts == [
        "1 rows were measured once, which has no spread: they are called equal"
    ]


def test_the_file_is_read_as_it_was_written(tmp_path: Path, measured: Results) -> None:
    written = results(rate(5.0, 5.1), alone("w", [1.0], unit="s", wanted=2.0))
    write_results(written, path := tmp_path / "results.json")
    assert read_pairs(path) == read_either(path) == written
    write_results(measured, other := tmp_path / "bench.json")
    assert isinstance(read_either(other), Results)
    with pytest.raises(ConfigError, match=r"one file is of statestore bench and the other of make bench"):
        compare(read_either(path), read_either(other))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"machine": {}, "rows": [{"work": "w", "median": 1.0}]}', "not a results.json of make bench"),
        (f'{{"format": {FORMAT + 1}, "machine": {{}}, "versions": {{}}, "rows": []}}', "reads up to"),
        ("[]", "not a results.json of statestore bench"),
    ],
)
def test_a_file_of_another_version_is_told(content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(ConfigError, match=said):
        read_either(tmp_path / "results.json")
