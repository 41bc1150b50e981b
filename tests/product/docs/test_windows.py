"""The samples of docs/windows.md run, in turn, in one program."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from statestore.storage.layout import LEAST_SEGMENT
from statestore.storage.stored_window import SEGMENTS

DOCUMENT = (Path(__file__).parents[3] / "docs" / "windows.md").read_text(encoding="utf-8")
SAMPLES = re.findall(r"^```python\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)


def test_the_samples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": __name__}
    assert len(SAMPLES) == 4
    for sample in SAMPLES:
        program = sample.replace("localhost:9092", "127.0.0.1:1")
        exec(compile(program, "docs/windows.md", "exec", dont_inherit=True), names)


def test_the_segments_are_as_the_document_says() -> None:
    assert SEGMENTS == 2
    assert LEAST_SEGMENT == 2 * 60_000
    assert "half the retention (two minutes at the least)" in DOCUMENT
