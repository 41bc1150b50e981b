"""``make bench`` measures what it says, with every group; how fast that is, is no matter of tests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from statestore.testing.kafka import EXTERNAL_VARIABLE, Broker

ROOT = Path(__file__).parents[3]
BENCHMARKS = ROOT / "benchmarks"
PEERS = ROOT / ".venv-peers" / "installed"
TINY = ("--records", "400", "--rows", "100", "--tables", "2", "--pairs", "1")

Rows = list[dict[str, Any]]

WITHOUT_KAFKA = {
    "aio": 36,
    "bars": 13,
    "codecs": 20,
    "cold": 2,
    "columns": 12,
    "queries": 21,
    "entities": 9,
    "growth": 90,
    "indexes": 6,
    "memory": 6,
    "reads": 8,
    "scan": 4,
    "window_tables": 6,
    "windows": 15,
    "writes": 2,
}
WITH_KAFKA = {
    "budget": 1,
    "cost": 7,
    "latency": 6,
    "profile": 7,
    "ready": 14,
    "restore": 17,
    "stall": 2,
}
OF_PROCESSES = {"services": 12, "workers": 3}
"""How many rows each group has; with Kafka those of one backend and one number of partitions (and of many
tables, and of the floors)."""


def measure(results: Path, *arguments: str, kafka: str = "127.0.0.1:1") -> Rows:
    """Measure groups, and return the rows that are in ``results`` then."""
    command = [sys.executable, "-P", "-m", "pytest", "-c", str(BENCHMARKS / "pytest.ini")]
    # By these variables pytest-benchmark takes itself to be in a worker of pytest-xdist: it measures nothing.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST_")}
    done = subprocess.run(
        [*command, *arguments, *TINY, "--results", str(results)],
        env={**environment, EXTERNAL_VARIABLE: kafka},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    if not (results / "results.json").exists():
        pytest.skip(done.stdout)  # perf is there, but may not take samples
    rows: Rows = json.loads((results / "results.json").read_text())["rows"]
    return rows


def files(*groups: str) -> list[str]:
    return [str(BENCHMARKS / f"bench_{name}.py") for name in groups]


def check(rows: Rows, counts: dict[str, int]) -> None:
    assert Counter(row["group"] for row in rows) == counts, [row["work"] for row in rows]
    names = {(row["group"], row["work"], row["reference"]) for row in rows}
    assert len(names) == len(rows), "rows of one name"
    for row in rows:
        assert row["least"] <= row["median"] <= row["most"], row


@pytest.mark.slow(seconds=15)
def test_groups_without_kafka(tmp_path: Path) -> None:
    rows = measure(tmp_path, *files(*WITHOUT_KAFKA))
    check(rows, WITHOUT_KAFKA)
    text = (tmp_path / "results.md").read_text()
    assert all(f"| {row['work']} | {row['reference']} |" in text for row in rows)
    assert "<svg" in (tmp_path / "ratios.svg").read_text()


@pytest.mark.kafka(seconds=20)
@pytest.mark.parametrize(
    "groups", [WITH_KAFKA, pytest.param(OF_PROCESSES, marks=pytest.mark.soak)], ids=["one", "many processes"]
)
def test_groups_with_kafka(groups: dict[str, int], broker: Broker, tmp_path: Path) -> None:
    chosen = ("-k", "(rocksdb and not profile and not (growth and 4-rocksdb)) or many or floor")
    check(measure(tmp_path, *files(*groups), *chosen, kafka=broker.bootstrap), groups)


@pytest.mark.kafka
@pytest.mark.soak  # with the other long runs
@pytest.mark.skipif(not PEERS.exists(), reason="make bench-peers has not been run here")
def test_peers_restore_the_same_topic(broker: Broker, tmp_path: Path) -> None:
    check(measure(tmp_path, *files("peers"), kafka=broker.bootstrap), {"peers": 9})


@pytest.mark.soak  # with the other peers
@pytest.mark.skipif(not PEERS.exists(), reason="make bench-peers has not been run here")
def test_windows_beside_a_peer_find_the_same(tmp_path: Path) -> None:
    check(measure(tmp_path, *files("peer_windows")), {"peer_windows": 4})


@pytest.mark.kafka
@pytest.mark.skipif(shutil.which("perf") is None, reason="there is no perf in PATH")
def test_profile_tells_libraries(broker: Broker, tmp_path: Path) -> None:
    rows = measure(tmp_path, *files("profile"), "-k", "get and memory", kafka=broker.bootstrap)
    total = next(row["median"] for row in rows if row["work"] == "get, memory: CPU")
    parts = {row["work"]: row["median"] for row in rows if row["work"].startswith("get, memory: in ")}
    assert "get, memory: in Python" in parts
    assert 0.5 * total < sum(parts.values()) < 1.01 * total
    assert "libpython" in (tmp_path / "profile-get--memory.txt").read_text()


@pytest.mark.slow(seconds=10)
@pytest.mark.skipif(Path(sys.prefix) != ROOT / ".venv", reason="make has not set up this Python")
@pytest.mark.parametrize(
    "groups",
    [
        {"codecs": 24, "cold": 4},
        pytest.param({"reads": 12, "scans": 18, "writes": 20, "follow": 6}, marks=pytest.mark.soak),
    ],
)
def test_two_checkouts_are_compared(groups: dict[str, int], tmp_path: Path) -> None:
    results = tmp_path / "against.md"
    sizes = ("--pairs", "1", "--turns", "1", "--rows", "200", "--results", str(results))
    subprocess.run(
        [sys.executable, BENCHMARKS / "against.py", ROOT, "--groups", *groups, *sizes],
        cwd=tmp_path,
        check=True,
        timeout=600,
    )
    found = Counter[str]()
    for line in results.read_text().splitlines():
        if line.startswith("### "):
            group = line.removeprefix("### ")
        elif "| base |" in line:
            found[group] += 1
    assert found == groups


def test_every_group_is_tested() -> None:
    groups = {path.stem.removeprefix("bench_") for path in BENCHMARKS.glob("bench_*.py")}
    assert groups == WITHOUT_KAFKA.keys() | WITH_KAFKA.keys() | OF_PROCESSES.keys() | {
        "peers",
        "peer_windows",
    }


@pytest.mark.slow
def test_results_of_several_runs_are_put_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", "/nowhere")
    first = measure(tmp_path, *files("restore", "writes"), kafka="")  # the one needs a broker, the other none
    check(first, {"writes": 2})
    both = measure(tmp_path, *files("codecs"), "-k", "window_key")
    check(both, {"writes": 2, "codecs": 2})
    assert [row for row in both if row["group"] == "writes"] == first


@pytest.mark.parametrize(("kafka", "told"), [("", "on the same machine"), ("elsewhere:9092", "not known")])
def test_a_broker_of_somebody_else_is_not_called_ours(kafka: str, told: str) -> None:
    code = "import results; print(results.machine()['broker'])"
    output = subprocess.check_output(
        [sys.executable, "-c", code],
        cwd=BENCHMARKS,
        env={**os.environ, EXTERNAL_VARIABLE: kafka},
        text=True,
        timeout=600,
    )
    assert told in output


def test_ratio_is_of_pairs() -> None:
    code = """
from harness import Work, alone, beside, percentile, speed
found = speed("w", "r", [(1.0, 3.0), (2.0, 2.0), (1.0, 2.0)], items=1000, of="x", wanted=2.5)
assert (found.median, found.least, found.most, found.ours, found.met) == (2.0, 1.0, 3.0, 1.0, False)
found = beside("w", "r", [(30.0, 10.0)], unit="ms", kind="difference", wanted=20)
assert (found.median, found.met) == (20.0, True)
assert alone("w", [3.0, 1.0, 2.0], unit="s").met is None
assert [percentile([3, 1, 2, 4], share) for share in (0.0, 0.5, 0.75, 0.99)] == [1, 2, 3, 4]
"""
    subprocess.run([sys.executable, "-c", code], cwd=BENCHMARKS, check=True, timeout=60)
