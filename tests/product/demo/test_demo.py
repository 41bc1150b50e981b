"""``make demo`` shows what it promises: a restore, reads, a start that replays nothing, queries, bars."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow(seconds=5)

ROOT = Path(__file__).parents[3]
DEMO = ROOT / "demo" / "flights.py"


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", str(DEMO), *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.mark.parametrize(("backend", "replayed"), [("rocksdb", "0"), ("lmdb", "0"), ("memory", "27,578")])
def test_demo_restores_reads_resumes_and_asks(backend: str, replayed: str, tmp_path: Path) -> None:
    before = set((ROOT / "demo-state").glob("*"))
    done = run("--backend", backend, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rdkafka" not in done.stderr, done.stderr
    assert "27,004 flights of month 1" in done.stdout
    restored = (
        "restored 2,574 aircraft from 27,578 records: 26,849 flights, 574 retired aircraft, 155 flights"
    )
    assert restored in done.stdout
    assert len(re.findall(r"Status: READY, Lag: 0, Partitions: 4, Ready in: [\d.]+s", done.stdout)) == 2
    assert "to_list()           2,574 flights" in done.stdout
    assert "get('N520UA')       UA910 EWR-BOS, 31 Jan 2013 02:25 UTC, -6 min" in done.stdout
    assert f"resumed with {replayed} records replayed, 2,574 aircraft ready" in done.stdout
    questions, _, bars = done.stdout.partition("Three questions")[2].partition("\nBars: ")
    boston, storm, late = re.split(r"\?\n", questions)[1:]
    assert "read the rows of F.destination == 'BOS' by the index (destination)" in boston
    assert re.findall(r"N\w+(?=  )", boston) == ["N708JB", "N37263", "N569JB"]
    assert "join Weather: look up " in storm
    assert re.findall(r"58\.7 +JFK +(\w+) +(\w+) +(\d+) +(-?\d+)", storm) == [
        ("PIT", "9E", "3611", "92"),
        ("FLL", "B6", "981", "62"),
        ("SFO", "B6", "643", "25"),
    ]
    assert "group by carrier, in memory" in late
    *plot, axis = late.rstrip().splitlines()
    assert " ".join(axis.split()) == "EV F9 B6 9E AS MQ WN FL US YV UA AA DL VX HA", "the latest first"
    heights = [float(line.partition("┤")[0]) for line in plot if "┤" in line]
    assert (heights[0], heights[-1]) == (43.3, -22.9)
    assert re.findall(r"^ +(\w+) +([\d,]+) +([A-Z]{3}) .* (\d+) *$", bars, re.MULTILINE) == [
        ("15min", "5,950", "JFK", "203"),
        ("60min", "1,642", "EWR", "148"),
        ("240min", "496", "EWR", "108"),
        ("1d", "96", "EWR", "65"),
        ("1w", "15", "EWR", "23"),
    ]
    assert set((ROOT / "demo-state").glob("*")) <= before, "the demonstration does not remove its state"


def test_demo_without_its_broker_says_so(tmp_path: Path) -> None:
    done = run("--kafka", "127.0.0.1:1", cwd=tmp_path)
    assert done.returncode == 1
    assert "no Kafka at 127.0.0.1:1 in 5 s" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
