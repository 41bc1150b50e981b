"""The samples of docs/backends.md are the example and the suite's own test."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
SAMPLES = re.findall(
    r"^```py(?:thon)?\n(.*?)^```$",
    (ROOT / "docs" / "backends.md").read_text(encoding="utf-8"),
    re.MULTILINE | re.DOTALL,
)


def test_the_class_is_the_examples() -> None:
    example = (ROOT / "examples" / "sqlite_backend.py").read_text(encoding="utf-8")
    missing = [line for line in SAMPLES[0].splitlines() if line not in example.splitlines()]
    assert missing == []


def test_the_test_is_the_projects_own() -> None:
    own = (ROOT / "tests" / "contract" / "conformance" / "test_example.py").read_text(encoding="utf-8")
    missing = [line for line in SAMPLES[1].splitlines() if line not in own.splitlines()]
    assert missing == []
