"""The samples of docs/settings.md: the file is right, the script prints what it says."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from statestore.settings import Settings, load_settings

TEXT = (Path(__file__).parents[3] / "docs" / "settings.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    return str(found)


def test_the_file_is_a_settings_file(tmp_path: Path) -> None:
    path = tmp_path / "statestore.toml"
    path.write_text(block("toml"), encoding="utf-8")
    settings = load_settings(path)
    assert settings.tables["Order"].max_lag == 1000
    assert settings.topics["orders"].config == {"min.insync.replicas": "2"}


@pytest.mark.slow
def test_the_script_prints_what_it_says(run_sample: Callable[..., None]) -> None:
    run_sample(block("python"), {"localhost:9092": "127.0.0.1:1"})


def test_every_section_is_in_the_table() -> None:
    for section in Settings.model_fields:
        assert re.search(rf"^\| .*`\[{section}[\].]", TEXT, re.MULTILINE), section
