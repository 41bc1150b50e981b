"""The samples of docs/backends.md are the example, all of it, and the suite's own test."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "backends.md").read_text(encoding="utf-8")
EXAMPLE = (ROOT / "examples" / "sqlite_backend.py").read_text(encoding="utf-8")


def samples(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_page_is_the_whole_example() -> None:
    *steps, _ = samples("py")  # the last one is of sharing
    assert "\n\n".join(steps) == EXAMPLE


def test_the_example_is_as_short_as_the_page_says() -> None:
    lines = len(EXAMPLE.splitlines())
    assert lines <= 150
    assert f"{lines} lines" in PAGE


def test_the_test_is_the_projects_own() -> None:
    own = (ROOT / "tests" / "contract" / "conformance" / "test_example.py").read_text(encoding="utf-8")
    missing = [line for line in samples("python")[0].splitlines() if line not in own.splitlines()]
    assert missing == []
