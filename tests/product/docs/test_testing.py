"""The samples of docs/testing.md run, and print what they say they print."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

DOCUMENT = (Path(__file__).parents[3] / "docs" / "testing.md").read_text(encoding="utf-8")
SAMPLES = re.findall(r"^```python\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)


PYTEST = next(sample for sample in SAMPLES if sample.startswith("# test_"))
"""A file of tests, which tests/unit/testing/test_plugin.py has pytest run."""


def test_samples_print_what_they_say(run_sample: Callable[..., None]) -> None:
    run_sample("".join(sample for sample in SAMPLES if sample != PYTEST))
