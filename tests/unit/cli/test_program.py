"""The program as a shell runs it: help, exit status, a reader that goes away, a terminal without Unicode."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from statestore import StoreManager
from statestore.cli import main

pytestmark = pytest.mark.slow

PROGRAM = [sys.executable, "-c", "import sys; from statestore.cli import main; sys.exit(main())"]
ASCII = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"}


def run(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--help",), "ls      List the stores"),
        (("ls", "--help"), "--json"),
        (("check", "-h"), "--relaxed"),
        (("config", "-h"), "template"),
        (("schema", "register", "-h"), "--settings FILE"),
    ],
)
def test_help_is_printed(arguments: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    status = main(arguments)
    told = capsys.readouterr()
    assert (status, told.err) == (0, "")
    assert says in told.out


@pytest.mark.parametrize(
    "arguments", [(), ("lst",), ("ls",), ("ls", ".", "more"), ("check", "--strict", "--relaxed", "shop")]
)
def test_a_wrong_command_line_ends_with_2(
    arguments: tuple[str, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    status = main(arguments)
    told = capsys.readouterr()
    assert (status, told.out) == (2, "")
    assert "Usage: statestore" in told.err


def test_an_error_ends_with_1_and_is_told_on_stderr(tmp_path: Path) -> None:
    done = run("ls", ".", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("statestore: ")
    assert "Traceback" not in done.stderr


def test_the_shell_completes_commands(tmp_path: Path) -> None:
    words = {"COMP_WORDS": "statestore c", "COMP_CWORD": "1"}
    done = run(cwd=tmp_path, _STATESTORE_COMPLETE="bash_complete", **words)
    assert done.stdout.split() == ["plain,check", "plain,config"]


def test_a_reader_that_goes_away_leaves_no_traceback(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [*PROGRAM, "config", "template"],
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=600,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_terminal_that_knows_ascii_only_gets_escapes(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        "from dataclasses import dataclass\nfrom statestore import entity\n\n"
        "@entity()\n@dataclass\nclass Order:\n    id: int\n"
    )
    done = run("check", "shop", cwd=tmp_path, **ASCII)
    assert (done.returncode, done.stderr) == (1, "")
    assert "@entity(topic=\\u2026)" in done.stdout
    done = run("ls", "gr\xf6\xdfe", cwd=tmp_path, **ASCII)
    assert (done.returncode, done.stdout, done.stderr.isascii()) == (1, "", True)
    assert "no manifest.json" in done.stderr
    done = run("gr\xf6\xdfe", cwd=tmp_path, **ASCII)
    assert (done.returncode, done.stdout, done.stderr.isascii()) == (2, "", True)
    assert "No such command" in done.stderr


def test_a_table_is_folded_on_a_terminal_and_one_line_a_row_elsewhere(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 20)
    with StoreManager(folder) as manager:
        manager.open("sessions")
    _, row = run("ls", str(folder), cwd=tmp_path).stdout.splitlines()
    assert row.split()[0] == "sessions"
    assert row.endswith(str(folder / "sessions"))
    shown = on_terminal("ls", str(folder))
    lines = shown.splitlines()
    last_column = next(line.index("path") for line in lines if "path" in line)
    assert str(folder / "sessions") in "".join(line[last_column:].strip() for line in lines)
    assert max(map(len, shown.splitlines())) <= 80


def on_terminal(*arguments: str) -> str:
    """Run the program on a terminal of 80 columns that knows ASCII only; return what it shows."""
    ours, its = os.openpty()
    environment = {**os.environ, **ASCII, "COLUMNS": "80", "TERM": "dumb"}
    process = subprocess.Popen([*PROGRAM, *arguments], stdout=its, stderr=its, env=environment)
    os.close(its)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # the end, on Linux
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    assert process.wait(60) == 0
    return shown.decode("ascii")


def test_it_runs_without_docstrings_and_asserts(tmp_path: Path) -> None:
    program = [PROGRAM[0], "-OO", *PROGRAM[1:], "config", "template"]
    done = subprocess.run(program, capture_output=True, text=True, check=False, timeout=600)
    assert (done.returncode, done.stderr) == (0, "")
    file = tmp_path / "settings.toml"
    file.write_text(done.stdout)
    assert run("config", "check", str(file), cwd=tmp_path).returncode == 0
