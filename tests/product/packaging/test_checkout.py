"""The gestures in a checkout: make, pytest, a REPL and a debugger at its root."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from statestore.core import FAST_PATHS

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.slow

# Stands for .venv/bin/python: notes its arguments, and "compiles" by making the file that make looks for.
PYTHON_STAND_IN = """\
#!/bin/sh
echo "$*" >>python.log
case "$*" in *build_ext*) touch statestore/_native.stand-in.so;; esac
"""


def run(*command: str | Path, cwd: Path, given: str | None = None) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        input=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def make(*arguments: str, cwd: Path) -> str:
    """Run make without what an outer make and its caller chose."""
    outer = [name for name in os.environ if name.startswith(("STATESTORE_", "MAKE"))]
    return run("env", *(part for name in outer for part in ("-u", name)), "make", *arguments, cwd=cwd)


def commands_of(target: str) -> str:
    """Return the commands of ``target``, without those that set up what it needs."""
    return make(
        "-n",
        "-o",
        ".venv/installed",
        "-o",
        ".venv-lowest/core/installed",
        "-o",
        ".venv-lowest/avro/installed",
        target,
        cwd=ROOT,
    )


class Workshop:
    """A folder with the project's Makefile and sources, where Python is a stand-in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("Makefile", "pyproject.toml", "setup.py"):
            shutil.copy(ROOT / name, folder / name)
        shutil.copytree(ROOT / "_native", folder / "_native")
        (folder / "statestore").mkdir()
        python = folder / ".venv" / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text(PYTHON_STAND_IN)
        python.chmod(0o755)
        (folder / ".venv" / "python").touch()

    def make(self, *arguments: str) -> list[str]:
        """Run make, and return what it did: ``install``, ``link`` and ``compile``."""
        log = self.folder / "python.log"
        log.write_text("")
        make("CC=true", *arguments, cwd=self.folder)
        kinds = {"install --requirement": "install", "--editable": "link", "build_ext": "compile"}
        return [kind for line in log.read_text().splitlines() for part, kind in kinds.items() if part in line]

    def change(self, name: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        newest = max(stamp.stat().st_mtime for stamp in (self.folder / ".venv").iterdir())
        path.touch()
        while path.stat().st_mtime <= newest:
            path.touch()


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    made = Workshop(tmp_path)
    assert made.make() == ["install", "link", "compile"]
    assert made.make() == []
    return made


def test_the_extension_is_compiled_when_its_sources_change(workshop: Workshop) -> None:
    workshop.change("_native/run.pxi")
    assert workshop.make() == ["compile"]
    workshop.change("setup.py")
    assert workshop.make() == ["link", "compile"]
    (workshop.folder / "statestore" / "_native.stand-in.so").unlink()
    assert workshop.make() == ["compile"]
    assert workshop.make() == []


def test_nothing_is_compiled_for_other_changes(workshop: Workshop) -> None:
    workshop.change("statestore/new.py")
    assert workshop.make() == []
    workshop.change("pyproject.toml")
    assert workshop.make() == ["install", "link"]
    assert workshop.make() == []


def test_another_kind_of_build_is_compiled_and_so_is_the_way_back(workshop: Workshop) -> None:
    assert workshop.make("STATESTORE_BUILD=debug") == ["compile"]
    assert workshop.make("STATESTORE_BUILD=debug") == []
    assert workshop.make() == ["compile"]


def test_the_pure_twin_needs_no_compiler_and_leaves_the_extension_alone(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path)
    without = ("STATESTORE_PURE_PYTHON=1", "CC=there-is-no-compiler")
    assert workshop.make(*without) == ["install", "link"]
    assert workshop.make() == ["compile"]
    assert workshop.make(*without) == []
    assert workshop.make() == []


def test_make_alone_lists_every_target(workshop: Workshop) -> None:
    listed = make("CC=true", cwd=workshop.folder)
    (phony,) = re.findall(r"^\.PHONY: ((?:.*\\\n)*.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    targets = set(phony.replace("\\", "").split()) - {"FORCE"}
    assert set(re.findall(r"^  make ([a-z-]+) ", listed, flags=re.MULTILINE)) == targets


def test_arguments_go_to_pytest(workshop: Workshop) -> None:
    workshop.make("test", "ARGS=tests/unit -x -k 'a or b'")
    assert "-m pytest tests/unit -x -k a or b" in (workshop.folder / "python.log").read_text().splitlines()


def test_each_fast_path_names_its_tests() -> None:
    turned_off = re.findall(r"STATESTORE_WITHOUT=(\S+)", commands_of("test-twins"))
    assert sorted(",".join(turned_off).split(",")) == sorted(FAST_PATHS)


@pytest.mark.parametrize("target", ["test-twins", "test-lowest", "sanitize"])
def test_the_tests_that_make_names_exist(target: str) -> None:
    named = re.findall(r"tests/\S+", commands_of(target))
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_hooks_are_what_lint_runs() -> None:
    # What pytest checks takes too long for a commit.
    lines = [line for line in commands_of("lint").splitlines() if "pytest" not in line]
    commands = re.findall(r"\.venv/bin/[^&;\n]*[^&;\n ]", "\n".join(lines))
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    assert re.findall(r"^ *entry: (.*)$", hooks, flags=re.MULTILINE) == commands
    assert re.findall(r"repo: (.*)$", hooks, flags=re.MULTILINE) == ["local"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of this checkout, for which no environment was made."""
    leave = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "*.egg-info")
    return Path(shutil.copytree(ROOT, tmp_path / "checkout", symlinks=True, ignore=leave))


@pytest.mark.parametrize("way", [("-m", "pytest"), ("-P", "-m", "pytest")])
def test_one_test_runs_by_its_name(way: tuple[str, ...]) -> None:
    names = re.findall(
        r"^def (test_\w+)", (ROOT / "tests/unit/test_naming.py").read_text(), flags=re.MULTILINE
    )
    name = f"tests/unit/test_naming.py::{names[0]}"
    assert " passed" in run(sys.executable, *way, "-q", "-p", "no:cacheprovider", name, cwd=ROOT)


def test_tests_are_those_of_the_folder_they_are_run_in(checkout: Path) -> None:
    collect = ("-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider")
    run(sys.executable, *collect, "tests/unit/entity", "tests/unit/manager", "tests/contract", cwd=checkout)


def test_a_new_file_is_imported_at_once(checkout: Path) -> None:
    (checkout / "statestore" / "quite_new.py").write_text("WHERE = 'above'\n")
    (checkout / "backends" / "quite_new.py").write_text("WHERE = 'below'\n")
    program = (
        "import statestore.manager, statestore.quite_new as a, statestore.backends.quite_new as b;"
        "print(a.WHERE, b.WHERE, statestore.manager.__file__)"
    )
    above, below, manager = run(sys.executable, "-c", program, cwd=checkout).split()
    assert (above, below) == ("above", "below")
    assert Path(manager).samefile(checkout / "statestore" / "manager" / "__init__.py")


@pytest.mark.parametrize("folder", ["statestore", "statestore/backends"])
def test_a_breakpoint_in_a_file_is_reached(checkout: Path, folder: str) -> None:
    file = checkout / folder / "stopping.py"
    file.write_text("def double(number):\n    return number * 2\n")
    (checkout / "program.py").write_text(
        f"from {folder.replace('/', '.')}.stopping import double\ndouble(21)\n"
    )
    commands = f"next\nbreak {folder}/stopping.py:2\ncontinue\np 'number is', number\nquit\n"
    assert "('number is', 21)" in run(sys.executable, "-m", "pdb", "program.py", cwd=checkout, given=commands)
