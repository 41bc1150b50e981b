"""How the samples of a document are run."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def run_sample(tmp_path: Path) -> Callable[..., None]:
    """Run a sample in an empty directory; what it prints must be what it says after ``#>``.

    ``given`` replaces addresses in it by those that tests have.
    """

    def run(sample: str, given: dict[str, str] | None = None) -> None:
        program = sample
        for address, own in (given or {}).items():
            program = program.replace(address, own)
        script = tmp_path / "sample.py"
        script.write_text(program, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-P", str(script)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        # The one figure that differs from run to run.
        printed = re.sub(r"Ready in: [\d.]+s", "Ready in: 0.1s", done.stdout)
        assert printed.splitlines() == re.findall(r"^ *#> (.*)$", sample, re.MULTILINE)

    return run
