"""The samples of the documents about declarations run, and print what they say they print (behind ``#>``)."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", ["entities.md", "expressions.md", "naming.md", "types.md"])
def test_samples_print_what_they_say(name: str, tmp_path: Path) -> None:
    text = (DOCS / name).read_text(encoding="utf-8")
    program = "\n".join(re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    script = tmp_path / "sample.py"
    script.write_text(program, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-P", str(script)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == re.findall(r"^ *#> (.*)$", program, re.MULTILINE)
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    assert [link for link in links if not (DOCS / link).exists()] == []
