"""The faults of docs/what-the-kit-finds.md: each test prints what the page says, and passes with the mend."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
DOCUMENT = (ROOT / "docs" / "what-the-kit-finds.md").read_text(encoding="utf-8")

PROFILE = """
from hypothesis import HealthCheck, Phase, settings

settings.register_profile(
    "page",
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=False,
)
settings.load_profile("page")
"""
"""What the tests of the page run with: the same examples each time, and no more than it takes."""


@dataclass(frozen=True)
class Fault:
    """A section of the page."""

    title: str
    program: str
    """The code with the fault and its test, without what all begin with."""
    prints: list[str]
    mend: str

    @property
    def name(self) -> str:
        """A name of a module."""
        return "_".join(re.findall(r"\w+", self.title.lower()))

    @property
    def chosen(self) -> list[str]:
        """The tests to run, as pytest names them in a module: of the conformance suite those that fail."""
        suite = re.search(r"^class (\w+)\(BackendConformance\)", self.program, re.MULTILINE)
        if suite is None:
            return [""]
        return [f"::{suite[1]}::{line.rstrip('…')}" for line in self.prints if line.startswith("test_")]

    @property
    def mended(self) -> str:
        """The program as the mend leaves it: the lines with - become those with +."""
        old, new = (
            "".join(line[1:] for line in self.mend.splitlines(keepends=True) if line[0] != other)
            for other in "+-"
        )
        assert self.program.count(old) == 1, f"{self.title}: the mend replaces what is not there:\n{old}"
        return self.program.replace(old, new)


def _blocks(language: str, text: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def _faults() -> tuple[str, list[Fault]]:
    """Return what all programs begin with, and the faults."""
    shared, faults = "", []
    for part in re.split(r"^(?=##+ )", DOCUMENT, flags=re.MULTILINE):
        title, _, text = part.partition("\n")
        program = "\n\n".join(_blocks("python", text))
        if not title.startswith("### "):
            shared += program + "\n\n"
            continue
        (printed,), (mend,) = _blocks("text", text), _blocks("diff", text)
        faults.append(Fault(title.removeprefix("### "), program, printed.splitlines(), mend))
    return shared, faults


SHARED, FAULTS = _faults()


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each test printed as it failed, empty where it passed, by the name of its module."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "conftest.py").write_text(PROFILE, encoding="utf-8")
    for fault in FAULTS:
        for name, program in ((fault.name, fault.program), (f"{fault.name}_mended", fault.mended)):
            (folder / f"test_{name}.py").write_text(SHARED + program, encoding="utf-8")
    options = ["-q", "-p", "no:cacheprovider", f"--rootdir={folder}", "--junitxml=report.xml", "--tb=short"]
    options += [
        f"test_{fault.name}{mended}.py{test}"
        for fault in FAULTS
        for mended in ("", "_mended")
        for test in fault.chosen
    ]
    run = subprocess.run(
        [sys.executable, "-P", "-m", "pytest", *options],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        # Hypothesis keeps what it knows of Unicode there, which takes it a second.
        env={**os.environ, "HYPOTHESIS_STORAGE_DIRECTORY": str(ROOT / ".hypothesis")},
    )
    assert run.returncode == pytest.ExitCode.TESTS_FAILED, run.stdout + run.stderr
    found: dict[str, str] = {}
    for case in ElementTree.parse(folder / "report.xml").iter("testcase"):
        module = case.get("classname", "").removeprefix("test_").partition(".")[0]
        assert case.find("error") is None, run.stdout
        failure = case.find("failure")
        printed = "" if failure is None else f"{case.get('name')}\n{failure.text}\n"
        found[module] = found.get(module, "") + printed
    return found


def _line(text: str) -> str:
    return re.sub(r"^E? +", "", text).rstrip()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_the_kit_finds_it_and_prints_what_the_page_says(fault: Fault, outcomes: dict[str, str]) -> None:
    printed = [_line(line) for line in outcomes[fault.name].splitlines()]
    rest = iter(printed)
    for wanted in fault.prints:
        pattern = ".*".join(map(re.escape, _line(wanted).split("…")))
        assert any(re.fullmatch(pattern, line) for line in rest), f"{wanted!r} is not in:\n" + "\n".join(
            printed
        )


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_with_the_mend_the_test_passes(fault: Fault, outcomes: dict[str, str]) -> None:
    assert outcomes[f"{fault.name}_mended"] == ""
