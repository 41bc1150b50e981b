"""The tables, the commands and the sample of docs/choose-a-backend.md."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from statestore.bench import results
from statestore.bench.results import FORMAT, CandidateInfo, Results, Sample, Turn, write_results
from statestore.bench.workloads import WORKLOADS
from statestore.cli import program

DOCUMENT = (Path(__file__).parents[3] / "docs" / "choose-a-backend.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^statestore (bench.*)$", DOCUMENT, re.MULTILINE)


def test_each_workload_is_there_with_its_line() -> None:
    assert re.findall(r"^\| `([\w-]+)` \| (.*) \|$", DOCUMENT, re.MULTILINE) == [
        (one.name, one.says) for one in WORKLOADS.values()
    ]


def test_each_member_of_the_file_is_there() -> None:
    table = DOCUMENT.rpartition("| part | members |")[2]
    named = [
        tuple(re.findall(r"`(\w+)`", line)) for line in re.findall(r"^\|.*\| (.*) \|$", table, re.MULTILINE)
    ]
    parts = (results.Results, results.CandidateInfo, results.Turn, results.Sample, results.Left)
    assert named == [part.__struct_fields__ for part in parts]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_are_understood(command: str) -> None:
    words = shlex.split(command)
    group = program.commands["bench"]
    context = group.make_context("bench", words[1:])
    if "compare" in words:
        assert isinstance(group, click.Group)
        group.commands["compare"].make_context("compare", words[2:], parent=context)


@pytest.mark.slow
def test_the_sample_reads_results(run_sample: Callable[..., None], tmp_path: Path) -> None:
    (sample,) = re.findall(r"^```python\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
    speeds = {"rocksdb": 120_000.0, "lmdb": 40_000.0}
    turns = [
        Turn(candidate=name, keys=1_000, round=round_, samples=[_sample(speed)])
        for round_ in range(2)
        for name, speed in speeds.items()
    ]
    written = Results(
        format=FORMAT,
        started="2026-01-01T00:00:00+00:00",
        seconds=1.0,
        machine={},
        versions={},
        options={},
        candidates=[CandidateInfo(name=name, kind="backend", beside=None, says="") for name in speeds],
        workloads={"ycsb-a": WORKLOADS["ycsb-a"].says},
        turns=turns,
        left=[],
    )
    (tmp_path / "bench").mkdir()
    write_results(written, tmp_path / "bench" / "results.json")
    run_sample(sample)


def _sample(throughput: float) -> Sample:
    figures: dict[str, Any] = dict.fromkeys(
        ("p50", "p95", "p99", "p999", "longest", "mean", "cpu_seconds", "interval"), 1.0
    )
    return Sample(
        workload="ycsb-a",
        threads=1,
        unit="ops",
        operations=1,
        seconds=1.0,
        throughput=throughput,
        histogram="",
        series=[1],
        **figures,
    )
