"""Runs the programs of ``peers/``, each in the environment that ``make bench-peers`` installs."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest
from conftest import ROOT
from topics import PATIENCE

PROGRAMS = Path(__file__).with_name("peers")
PYTHON = ROOT / ".venv-peers" / "bin" / "python"

Run = dict[str, Any]


def installed(package: str) -> str:
    """Return the version of ``package`` that the peers' environment has; skip where it has none."""
    if not PYTHON.exists():
        pytest.skip(f"{package}: make bench-peers installs it")
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    done = subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        pytest.skip(f"{package} does not install here")
    return done.stdout.strip()


def told(command: Sequence[object]) -> Run:
    """Run ``command`` and return the JSON of the last line that has some."""
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    lines = [line for line in done.stdout.splitlines() if "{" in line]
    if done.returncode != 0 or not lines:
        raise RuntimeError(f"{command[1]} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    run: Run = json.loads(lines[-1][lines[-1].index("{") :])  # a terminal's control codes may come first
    return run


class Turns:
    """A program that does its work once for each line, and tells what it took."""

    def __init__(self, name: str, asked: IO[str], answers: IO[str]) -> None:
        self._name, self._asked, self._answers = name, asked, answers

    def take(self) -> Run:
        self._asked.write("\n")
        self._asked.flush()
        line = self._answers.readline()
        if not line:
            raise RuntimeError(f"{self._name} ended early; what it wrote to stderr says why")
        run: Run = json.loads(line)
        return run


@contextmanager
def turns(*command: object) -> Iterator[Turns]:
    """Start a program of ``PROGRAMS`` that waits for its turns; it ends when its input does."""
    name, *arguments = map(str, command)
    with subprocess.Popen(
        [PYTHON, "-W", "ignore", PROGRAMS / name, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield Turns(name, process.stdin, process.stdout)
