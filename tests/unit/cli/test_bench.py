"""``statestore bench``: a backend of another package beside a plain dict, and two runs compared."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from statestore.bench.results import read_results, write_results
from statestore.cli import main
from statestore.cli.bench import _numbers

PACKAGE = """
from statestore.backends.memory import MemoryEngine


class TinyEngine(MemoryEngine):
    name = "tiny"
"""

WORK = {
    "records": [
        ("load-random", 1, "keys"),
        ("ycsb-a", 1, "ops"),
        ("ycsb-a", 2, "ops"),
        ("scan-full", 1, "keys"),
        ("scan-full", 2, "keys"),
    ],
    "restored": [("restore", 1, "records")],
    "windows": [("window-put", 1, "ops"), ("window-put", 2, "ops")],
}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run with a backend that an installed package registers."""
    packages = tmp_path_factory.mktemp("packages")
    (packages / "tiny_engine.py").write_text(PACKAGE)
    metadata = packages / "tiny_engine-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-engine\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[statestore.backends]\ntiny = tiny_engine:TinyEngine\n")
    out = tmp_path_factory.mktemp("measured")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(packages))
        earlier = os.environ.get("PYTHONPATH", "")
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(packages), earlier))))
        arguments = ["--backends", "tiny", "--references", "none", "--keys", "2e2", "--seconds", "0.02"]
        status = main(
            [
                "bench",
                *arguments,
                "--workload",
                "ycsb-a,scan-full,restore,window-put",
                "--threads",
                "1,2",
                "--out",
                str(out),
            ]
        )
    assert status == 0
    return out


@pytest.mark.slow(seconds=6)
def test_a_backend_of_another_package_is_measured_like_ours(measured: Path) -> None:
    results = read_results(measured / "results.json")
    assert [(one.name, one.kind) for one in results.candidates] == [("tiny", "backend")]
    stores = ["records", "restored", "windows"]
    assert [(turn.round, turn.store) for turn in results.turns] == [
        (n, one) for n in (0, 1) for one in stores
    ]
    for turn in results.turns:
        assert [(one.workload, one.threads, one.unit) for one in turn.samples] == WORK[turn.store]
        for sample in turn.samples:
            assert 0 < sample.p50 <= sample.p95 <= sample.p99 <= sample.p999 <= sample.longest
            assert sum(sample.series) == sample.operations > 0
            assert sample.throughput > 0
            assert sample.memory is None or sample.memory > 1 << 20
        assert turn.loaded is None  # in memory
        assert turn.overhead is not None
    assert results.left == []
    assert sorted(path.name for path in measured.iterdir()) == ["report.html", "results.json"]
    page = (measured / "report.html").read_text(encoding="utf-8")
    assert page.count("<section") == page.count("</section>") == 9  # the machine, and eight works


def test_a_run_is_printed_as_a_table(measured: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "table", str(measured / "results.json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["| workload | of | `tiny` |", "|---|---|---|"]
    assert [line.split(" | ")[0] for line in lines[2:]] == [
        "| load-random",
        "| ycsb-a",
        "| ycsb-a, 2 threads",
        "| scan-full",
        "| scan-full, 2 threads",
        "| restore",
        "| window-put",
        "| window-put, 2 threads",
    ]


@pytest.mark.slow
def test_two_runs_are_compared_and_what_is_slower_is_the_status(
    measured: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = measured / "results.json"
    assert main(["bench", "compare", str(before), str(before)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "0 slower, 0 faster, 8 equal."
    for name, speed in (("before", 1e6), ("after", 1e3)):
        results = read_results(before)
        for sample in (one for turn in results.turns for one in turn.samples):
            sample.throughput = speed if sample.workload == "ycsb-a" else 1e6
        write_results(results, tmp_path / f"{name}.json")
    assert main(["bench", "compare", str(tmp_path / "before.json"), str(tmp_path / "after.json")]) == 1
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in printed if line.endswith("slower")] == [["tiny", "ycsb-a,"]] * 2
    assert printed[-1] == "2 slower, 0 faster, 6 equal."


def test_the_workloads_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--workloads"]) == 0
    printed = capsys.readouterr().out
    assert "ycsb-e" in printed
    assert "95 % scans of 1 to 100 pairs" in printed


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--keys", "many"], 2, "'many': whole numbers with commas between"),
        (["--keys", "1.5"], 2, "'1.5': whole numbers"),
        (["--workload", "restore", "--keys", "1e6"], 1, "give fewer --keys, or the address of a broker"),
        (["--workload", "ycsb-z"], 1, "--workload ycsb-z: no workload has this name"),
        (["--backends", "redis"], 1, "backend 'redis' is not registered"),
        (["--rounds", "1"], 1, "--rounds 1: must be from 2"),
        (["compare", "nowhere.json", "nowhere.json"], 1, "nowhere.json: No such file or directory"),
        (["compare", "--noise", "-1", "a", "b"], 2, "-1: percent, from 0 to 1000"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_measured(
    arguments: list[str], status: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out: list[Any] = [] if "compare" in arguments else ["--out", str(tmp_path / "out")]
    assert main(["bench", *out, *arguments]) == status
    assert said in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


def test_numbers_that_are_given_twice_are_measured_once() -> None:
    """Otherwise they would count as more rounds than there were."""
    assert _numbers("--threads", "1,4,1") == (1, 4)
    assert _numbers("--grow", "1e4,10000,1e5") == (10_000, 100_000)


@pytest.mark.parametrize("full", ["mkdtemp", "write_results"])
def test_a_full_disk_is_told(
    full: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if full == "mkdtemp":
        monkeypatch.setattr("tempfile.mkdtemp", fail)
    else:
        monkeypatch.setattr("statestore.bench.running.told", lambda _: iter(()))
        monkeypatch.setattr("statestore.bench.results.write_results", fail)
    arguments = ["--backends", "memory", "--references", "none", "--keys", "100", "--out", str(tmp_path)]
    assert main(["bench", *arguments]) == 1
    assert f"{tmp_path}: No space left on device; free some, or give another directory (--out)" in " ".join(
        capsys.readouterr().err.split()
    )


def test_what_ends_the_program_ends_the_measurement_as_ctrl_c_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(_: Any) -> Iterator[Any]:
        os.kill(os.getpid(), signal.SIGTERM)
        yield from ()

    monkeypatch.setattr("statestore.bench.running.told", told)
    before = signal.getsignal(signal.SIGTERM)
    arguments = ["--backends", "memory", "--references", "none", "--keys", "100", "--out", str(tmp_path)]
    assert main(["bench", *arguments]) == 1
    assert "statestore: interrupted" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is before
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_could_measure_nothing_is_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("statestore.bench.running.told", lambda _: iter(()))
    arguments = ["--backends", "memory", "--references", "none", "--keys", "100", "--out", str(tmp_path)]
    assert main(["bench", *arguments]) == 1
