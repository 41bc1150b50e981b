"""``make bench`` measures what it says; how fast that is, is no matter of tests."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).parents[2] / "benchmarks" / "run.py"
ROW = re.compile(r"(.+?) {2,}(.+?) {2,}(\d+\.\d\d) +(\d+\.\d\d) - (\d+\.\d\d) +>= [\d.]+ +([\d,]+) k (\w+)/s")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", str(RUN), *arguments], capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize(
    ("group", "works"),
    [
        ("rocksdb", ["hot get, rocksdb", "full scan, rocksdb", "batch of 1,000, rocksdb"]),
        ("lmdb", ["hot get, lmdb", "full scan, lmdb", "batch of 1,000, lmdb"]),
        ("entities", ["to_list() of 6 fields"] * 2),
        pytest.param(
            "restore",
            ["restore, rocksdb, every key once", "restore, rocksdb, every key 4 times"],
            marks=pytest.mark.kafka,
        ),
    ],
)
def test_group_prints_its_rows(group: str, works: list[str]) -> None:
    done = run(group, "--pairs", "1", "--records", "2000")
    assert done.returncode == 0, done.stderr
    rows = [found for line in done.stdout.splitlines() if (found := ROW.fullmatch(line.strip()))]
    assert [row[1] for row in rows] == works, done.stdout
    assert all(float(row[4]) <= float(row[3]) <= float(row[5]) for row in rows)


def test_unknown_group_is_named() -> None:
    done = run("speed")
    assert done.returncode == 2
    assert "no group is named speed" in done.stderr
