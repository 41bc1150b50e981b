"""The samples of docs/deploying-ksql.md: commands print what they say, settings and script are right."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from statestore import ksql
from statestore.cli import ksql_server, main
from statestore.deploy import MemoryHistory
from statestore.settings import load_settings
from statestore.testing.ksqldb import StandInKsqldb

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "deploying-ksql.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    return str(found)


def test_the_settings_are_settings(tmp_path: Path) -> None:
    path = tmp_path / "statestore.toml"
    path.write_text(block("toml"), encoding="utf-8")
    assert load_settings(path).ksql.application == "trading"


@pytest.mark.slow
def test_the_script_prints_what_it_says(run_sample: Callable[..., None]) -> None:
    run_sample(block("python"))


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandInKsqldb]:
    """A server, in a folder with the example; the history is in memory, for the broker has other tests."""
    for path in (ROOT / "examples").glob("minute_bars*"):
        shutil.copy(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    history = MemoryHistory()

    monkeypatch.setattr(ksql_server, "KafkaHistory", lambda *_, **__: nullcontext(history))
    with StandInKsqldb() as started:
        started.catalog.learn(ksql.collect(["minute_bars"]))
        monkeypatch.setenv("STATESTORE_KSQL__URL", started.url)
        yield started


def test_the_commands_print_what_they_say(server: StandInKsqldb, capsys: pytest.CaptureFixture[str]) -> None:
    for sample in re.split(r"^\$ statestore ", block("console"), flags=re.MULTILINE)[1:]:
        command, _, says = sample.partition("\n")
        status = main(command.split())
        printed = capsys.readouterr()
        assert (status, printed.err) == (0, "")
        # How long a statement took differs from run to run, and the hash with each change of the translator.
        assert masked(printed.out) == masked(says)


def masked(text: str) -> str:
    return re.sub(r"\b[0-9a-f]{12}$", "…", re.sub(r" \d\.\d{3} ", " … ", text), flags=re.MULTILINE)
