"""The samples of docs/ksql.md run and print what they say."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

TEXT = (Path(__file__).parents[3] / "docs" / "ksql.md").read_text(encoding="utf-8")


def test_samples_print_what_they_say(run_sample: Callable[..., None]) -> None:
    run_sample("".join(re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)))
