"""``make bench`` measures what it says, with every group; how fast that is, is no matter of tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

from statestore.bench.comparing import compare
from statestore.bench.pairs import PairRow, read_pairs
from statestore.errors import ConfigError
from statestore.testing.kafka import EXTERNAL_VARIABLE, Broker

ROOT = Path(__file__).parents[3]
BENCHMARKS = ROOT / "benchmarks"
PEERS = ROOT / ".venv-peers" / "installed"
TINY = ("--records", "400", "--rows", "100", "--tables", "2", "--pairs", "1")

Rows = list[PairRow]

WITHOUT_KAFKA = {
    "aio": 24,
    "bars": 13,
    "codecs": 20,
    "cold": 2,
    "columns": 8,
    "queries": 14,
    "entities": 6,
    "growth": 36,
    "indexes": 4,
    "memory": 6,
    "reads": 8,
    "scan": 4,
    "window_tables": 4,
    "windows": 15,
    "writes": 2,
}
WITH_KAFKA = {
    "budget": 1,
    "cost": 7,
    "latency": 6,
    "profile": 7,
    "ready": 6,
    "restore": 17,
    "stall": 1,
}
OF_PROCESSES = {"services": 12, "workers": 3}
"""How many rows each group has of those that are chosen below; with Kafka those of one backend and of one
number of partitions (and of the floors)."""


def measure(results: Path, *arguments: str, kafka: str = "127.0.0.1:1") -> Rows:
    """Measure groups, and return the rows that are in ``results`` then."""
    command = [sys.executable, "-P", "-m", "pytest", "-c", str(BENCHMARKS / "pytest.ini")]
    done = subprocess.run(
        [*command, *arguments, *TINY, "--results", str(results)],
        env={**os.environ, EXTERNAL_VARIABLE: kafka},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    if not (results / "results.json").exists():
        pytest.skip(done.stdout)  # perf is there, but may not take samples
    return read_pairs(results / "results.json").rows


def files(*groups: str) -> list[str]:
    return [str(BENCHMARKS / f"bench_{name}.py") for name in groups]


def check(rows: Rows, counts: dict[str, int]) -> None:
    assert Counter(row.group for row in rows) == counts, [row.work for row in rows]
    names = {(row.group, row.work, row.reference) for row in rows}
    assert len(names) == len(rows), "rows of one name"
    for row in rows:
        assert row.result.least <= row.result.median <= row.result.most, row
        assert row.theirs is None or len(row.theirs) == len(row.ours), row


@pytest.mark.slow(seconds=15)
def test_groups_without_kafka(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", "/nowhere")
    # One size of values of five; two backends, where the row does not use a binding.
    twice = "aio or columns or entities or indexes or queries or window_tables"
    chosen = ("-k", f"(not growth or 300) and not (lmdb and ({twice}))")
    rows = measure(tmp_path, *files(*WITHOUT_KAFKA, "restore"), *chosen, kafka="")  # which needs a broker
    check(rows, WITHOUT_KAFKA)
    text = (tmp_path / "results.md").read_text()
    assert all(f"| {row.work} | {row.reference} |" in text for row in rows)
    picture = ElementTree.fromstring((tmp_path / "ratios.svg").read_text())
    named = [title.text for title in picture.iter("{http://www.w3.org/2000/svg}title")]
    assert len(named) == sum(row.kind == "ratio" and row.wanted is not None for row in rows)

    # Its rows take the place of the earlier ones.
    both = measure(tmp_path, *files("codecs"), "-k", "window_key")
    check(both, WITHOUT_KAFKA)
    again = {row.work for row in both if row not in rows}
    assert again <= {"window_key", "split_window_key"}
    assert not compare(read_pairs(tmp_path / "results.json"), read_pairs(tmp_path / "results.json")).slower


@pytest.mark.kafka(seconds=20)
@pytest.mark.parametrize(
    "groups", [WITH_KAFKA, pytest.param(OF_PROCESSES, marks=pytest.mark.soak)], ids=["one", "many processes"]
)
def test_groups_with_kafka(groups: dict[str, int], broker: Broker, tmp_path: Path) -> None:
    chosen = ("-k", "(rocksdb and not profile and not ((growth or overshoot) and 4-rocksdb)) or floor")
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
    figures = {row.work: row.result.median for row in rows}
    total = figures["get, memory: CPU"]
    parts = {work: figure for work, figure in figures.items() if work.startswith("get, memory: in ")}
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
    group = ""
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


def loaded(name: str) -> ModuleType:
    """Return a module of ``benchmarks``, which is no package."""
    spec = spec_from_file_location(f"benchmarks_{name}", BENCHMARKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("kafka", "told"), [("", "on the same machine"), ("elsewhere:9092", "not known")])
def test_a_broker_of_somebody_else_is_not_called_ours(
    kafka: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(EXTERNAL_VARIABLE, kafka)
    assert told in dict(loaded("results").described_here())["versions"]


def test_earlier_results_that_cannot_be_read_are_told_before_anything_is_measured(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text('{"machine": {}, "rows": [{"work": "w", "median": 1.0}]}')
    with pytest.raises(ConfigError, match=r"results.json: not a results.json of make bench"):
        loaded("results").ResultsFolder(tmp_path)


def test_results_are_put_into_the_docs(tmp_path: Path) -> None:
    (tmp_path / "results.md").write_text("- new\n")
    (tmp_path / "ratios.svg").write_text("<svg/>")
    page = tmp_path / "docs" / "performance.md"
    page.parent.mkdir()
    page.write_text("before\n<!-- results -->\nold\n<!-- end of results -->\nafter\n")
    loaded("publish").publish(tmp_path, page)
    assert page.read_text() == "before\n<!-- results -->\n\n- new\n\n<!-- end of results -->\nafter\n"
    assert (page.parent / "performance.svg").read_text() == "<svg/>"
