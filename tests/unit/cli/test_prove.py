"""``statestore prove``: what it finds, what it says, and what is left when it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlite_backend import SQLiteEngine

from statestore.backends import Engine
from statestore.backends.memory import MemoryEngine
from statestore.cli import main
from statestore.cli.prove import prove as command
from statestore.testing.conformance import tally
from statestore.testing.proof.child import promise
from statestore.testing.proof.report import markdown
from statestore.testing.proof.running import EXAMPLES, KILLS, Case, Proof

PROGRAM = [sys.executable, "-c", "import sys; from statestore.cli import main; sys.exit(main())"]

ENGINES = """
import os, pathlib, signal, time

from broken import StopIncluded
from sound import SavingEngine, Sound


class Killed(StopIncluded):
    def get(self, key):
        if key == b"absent":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().get(key)


class BrokenEngine(SavingEngine):
    def __init__(self, memory_budget, options=None):
        super().__init__(memory_budget, options, backend=Killed)


class WaitingEngine(SavingEngine):
    opened = 0

    def __init__(self, memory_budget, options=None):
        super().__init__(memory_budget, options, backend=Sound)

    def open(self, directory, options):
        WaitingEngine.opened += 1
        if WaitingEngine.opened == 3:
            pathlib.Path(os.environ["REACHED"]).touch()
            time.sleep(300)
        return super().open(directory, options)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The present directory, with the module ``engines``; temporary files are in ``temporary`` below it."""
    (tmp_path / "engines.py").write_text(ENGINES)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setenv("TMPDIR", str(temporary))
    return tmp_path


def prove(backend: str, *only: str) -> tuple[int, dict[str, Any]]:
    """Return the exit status and the report."""
    chosen = [text for name in only for text in ("--only", name)]
    status = main(["prove", backend, *chosen, "--kills", "1", "--examples", "2", "--out", "out"])
    assert list(Path(tempfile.gettempdir()).iterdir()) == []
    report: dict[str, Any] = json.loads(Path("out/report.json").read_text())
    return status, report


def outcomes(report: dict[str, Any]) -> dict[str, str]:
    return {case["name"]: case["outcome"] for case in report["cases"]}


@pytest.mark.slow(seconds=3)
def test_a_broken_backend_fails_the_promise_that_it_breaks_whatever_becomes_of_its_process(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, report = prove(
        "engines:BrokenEngine", "of_an_absent_key", "test_start_is_included", "test_an_empty_value"
    )
    assert status == 1
    assert outcomes(report) == {
        "test_get_of_an_absent_key_is_none": "failed",
        "test_an_empty_value_is_not_an_absent_one": "proven",
        "test_start_is_included_and_stop_excluded[False]": "failed",
        "test_start_is_included_and_stop_excluded[True]": "failed",
    }
    killed, _, wrong, _ = report["cases"]
    assert killed["message"] == "the process was ended by SIGKILL during the test"
    assert wrong["message"].startswith("AssertionError: assert [b'a', b'a\\x0")
    assert "KeyRange(start=b" in wrong["details"]
    printed, told = capsys.readouterr()
    assert "  failed          Start is included and stop excluded, 2 variants\n" in printed
    assert "So did test_start_is_included_and_stop_excluded[True]\n" in printed
    assert "Again: statestore prove engines:BrokenEngine --only test_get_of_an_absent_key_is_none" in printed
    assert "engines:BrokenEngine is not proven: 2 promises broken, 1 kept; 4 tests in" in printed
    assert "Failed: Get of an absent key is none (test_get_of_an_absent_key_is_none)\n" in told
    page = (here / "out" / "report.md").read_text()
    assert "### Get of an absent key is none" in page
    assert "| An empty value is not an absent one | proven |" in page


@pytest.mark.slow(seconds=3)
def test_a_backend_of_another_package_is_proven_by_its_name(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = here / "sqlite_backend-1.5.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: sqlite-backend\nVersion: 1.5\n")
    (metadata / "top_level.txt").write_text("sqlite_backend\n")
    (metadata / "entry_points.txt").write_text(
        "[statestore.backends]\nsqlite = sqlite_backend:SQLiteEngine\n"
    )
    monkeypatch.syspath_prepend(str(here))
    status, report = prove("sqlite", "test_shortest", "machine/", "test_a_killed_store_of_windows")
    assert status == 0
    assert set(outcomes(report).values()) == {"proven"}
    assert (report["engine"], report["package"]) == ("sqlite_backend:SQLiteEngine", "sqlite-backend 1.5")
    done: Counter[str] = Counter()
    for case in report["cases"]:
        done.update(case["done"])
        assert case["seconds"] > 0
    assert done["kills"] == 1
    assert done["sequences"] >= 2
    printed = capsys.readouterr().out
    assert "The shortest and the longest key are kept, found and deleted, 3 variants\n" in printed
    assert "sqlite is proven: 3 promises kept; 5 tests in" in printed
    assert "(1 process killed, " in printed
    assert "Processes that read beside the owner: the engine has no open_reader" in printed


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Proof]:
    """Have the command find these cases instead of running any."""

    def run(cases: list[Case], **values: Any) -> Proof:
        def proven(backend: str, path: str, engine: type[Engine], *_: object) -> Proof:
            return Proof(
                backend=backend,
                engine=path,
                package=None,
                persistent=engine.persistent,
                max_key_size=1,
                started="",
                machine={},
                versions={},
                kills=KILLS,
                examples=EXAMPLES,
                only=[],
                not_applicable={},
                cases=cases,
                **values,
            )

        monkeypatch.setattr("statestore.testing.proof.running.prove", proven)
        return proven("memory", "", MemoryEngine)

    return run


def case(test: str, **values: Any) -> Case:
    return Case(
        name=test, test=test, group="reading", title="Point reads", promise=promise(test, None), **values
    )


def test_what_does_not_apply_is_not_said_to_be_proven(
    run: Callable[..., Proof], capsys: pytest.CaptureFixture[str]
) -> None:
    tally.NOT_APPLICABLE.clear()
    assert tally.keeps(SQLiteEngine(1 << 20))
    assert not tally.NOT_APPLICABLE
    assert not tally.keeps(MemoryEngine(1 << 20))
    (why,) = tally.NOT_APPLICABLE
    proof = run([case("test_a", outcome="proven"), case("test_b", outcome="not applicable", why=why)])
    assert main(["prove", "memory"]) == 0
    printed = capsys.readouterr().out
    assert "  not applicable  B\n" in printed
    assert "1 promise above: the engine keeps nothing (persistent = False)" in printed
    assert "memory is proven: 1 promise kept, 1 not applicable; 2 tests in" in printed
    assert "| B | not applicable | 0.00 |" in markdown(proof)


def test_a_run_that_was_interrupted_proves_nothing(
    run: Callable[..., Proof], capsys: pytest.CaptureFixture[str]
) -> None:
    run([], interrupted=True)
    assert main(["prove", "memory"]) == 1
    assert "Interrupted. memory has kept 0 promises up to then" in capsys.readouterr().out


@pytest.mark.slow(seconds=3)
def test_a_signal_ends_it_with_what_was_proven_up_to_then(here: Path) -> None:
    reached = here / "reached"
    command = [*PROGRAM, "prove", "engines:WaitingEngine", "--only", "reading/", "--out", "out"]
    environment = {**os.environ, "REACHED": str(reached), "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        deadline = time.monotonic() + 300
        while not reached.exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)  # does what Ctrl-C does
        printed, _ = process.communicate(timeout=300)
    assert process.returncode == 1
    report = json.loads((here / "out" / "report.json").read_text())
    assert report["interrupted"]
    assert Counter(outcomes(report).values()) == {"proven": 2, "not run": len(report["cases"]) - 2}
    assert "Interrupted. engines:WaitingEngine has kept 2 promises up to then; 2 tests in" in printed
    assert list((here / "temporary").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["redis"], 2, "backend 'redis' is not registered; registered: lmdb, memory, rocksdb"),
        (
            ["nowhere:Engine"],
            2,
            "nowhere:Engine: cannot be imported as MODULE:CLASS: No module named 'nowhere'",
        ),
        (["engines:Nothing"], 2, "module 'engines' has no attribute 'Nothing'"),
        (["json:JSONDecoder"], 2, "not a class that extends statestore.backends.Engine"),
        (
            ["statestore.backends:DatabaseEngine"],
            2,
            "has no error_class, open_database, name, max_key_size: define",
        ),
        (["memory", "--kills", "0"], 2, "0 is not in the range x>=1"),
    ],
)
def test_a_wrong_command_line_runs_nothing(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, said: str
) -> None:
    assert main(["prove", *arguments]) == status
    assert said in " ".join(capsys.readouterr().err.split())


def test_the_defaults_are_those_of_the_suite() -> None:
    defaults = {option.name: option.default for option in command.params}
    assert (defaults["kills"], defaults["examples"]) == (KILLS, EXAMPLES)


def test_a_name_that_no_test_has_is_told(
    run: Callable[..., Proof], capsys: pytest.CaptureFixture[str]
) -> None:
    run([])
    assert main(["prove", "memory", "--only", "nonesuch"]) == 2
    assert "no test has 'nonesuch' in its name; groups: reading/, writing/" in capsys.readouterr().err


@pytest.mark.slow
def test_without_its_extra_it_names_the_extra(tmp_path: Path) -> None:
    code = "import sys; sys.modules['hypothesis'] = None; from statestore.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "prove", "memory"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 1
    assert "statestore.testing needs hypothesis: install the extra" in done.stderr
    assert "pip install 'statestore[testing]'" in done.stderr
