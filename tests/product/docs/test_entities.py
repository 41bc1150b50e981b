"""The samples of the documents about declarations run, and print what they say they print (after ``#>``)."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize("name", ["entities.md", "expressions.md", "naming.md", "types.md"])
def test_samples_print_what_they_say(name: str, run_sample: Callable[..., None]) -> None:
    text = (DOCS / name).read_text(encoding="utf-8")
    run_sample("\n".join(re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)))
