"""The samples of docs/settings.md: the file is right, the script prints what it says."""

import re
import subprocess
import sys
from pathlib import Path

from statestore.settings import Settings, load_settings

TEXT = (Path(__file__).parents[2] / "docs" / "settings.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    return str(found)


def test_the_file_is_a_settings_file(tmp_path: Path) -> None:
    path = tmp_path / "statestore.toml"
    path.write_text(block("toml"), encoding="utf-8")
    settings = load_settings(path)
    assert settings.tables["Order"].max_lag == 1000
    assert settings.topics["orders"].config == {"min.insync.replicas": "2"}


def test_the_script_prints_what_it_says(tmp_path: Path) -> None:
    script = tmp_path / "sample.py"
    script.write_text(block("python").replace("localhost:9092", "127.0.0.1:1"), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-P", str(script)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == re.findall(r"^ *#> (.*)$", block("python"), re.MULTILINE)


def test_every_section_is_in_the_table() -> None:
    for section in Settings.model_fields:
        assert re.search(rf"^\| .*`\[{section}[\].]", TEXT, re.MULTILINE), section
