"""The samples of README.md and docs/ pass mypy --strict and pyright, as a user's own code would."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

pytestmark = pytest.mark.types


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the samples; one that does not begin with its imports goes on where the last one ended."""
    folder = tmp_path_factory.mktemp("samples")
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        joined: list[str] = []
        for sample in re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            if joined and not re.match(r"from |import |#.*\n(from|import) ", sample):
                joined[-1] += sample
            else:
                joined.append(sample)
        for number, program in enumerate(joined):
            name = f"{document.stem.lower().replace('-', '_')}_{number}.py"
            (folder / name).write_text(program, encoding="utf-8")
    assert len(list(folder.iterdir())) > 10
    return folder


def test_samples_pass_mypy(programs: Path) -> None:
    (programs / "mypy.ini").write_text(
        f"[mypy]\nstrict = True\nmypy_path = {ROOT}:{ROOT / 'examples'}\ncache_dir = .cache\n"
        "[mypy-pyarrow.*]\nignore_missing_imports = True\n"  # it has no types
        # What the samples see of it counts; "make lint" checks how its functions work.
        "[mypy-statestore.*]\nignore_errors = True\n"
        "[mypy-polars.*,duckdb.*]\nfollow_imports = skip\n"  # large, and pyright reads them
    )
    command = [sys.executable, "-m", "mypy", "--config-file", "mypy.ini"]
    done = subprocess.run(
        [*command, *sorted(path.name for path in programs.glob("*.py"))],
        cwd=programs,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_samples_pass_pyright(programs: Path) -> None:
    paths = {"include": ["*.py"], "extraPaths": [str(ROOT), str(ROOT / "examples")]}
    (programs / "pyrightconfig.json").write_text(json.dumps({**paths, "pythonVersion": "3.11"}))
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable]
    done = subprocess.run(command, cwd=programs, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
