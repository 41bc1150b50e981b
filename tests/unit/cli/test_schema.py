"""``statestore schema``: what the registry says of a program's Avro schemas, and registering them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from statestore.cli import main
from statestore.testing.registry import StandInRegistry

PROGRAM = """
from dataclasses import dataclass
from typing import Annotated
from statestore import Key, entity

@entity(topic="orders", key_format="avro", value_format="avro")
@dataclass
class Order:
    number: Annotated[int, Key]
    text: str

@entity(topic="notes", value_format="avro")
@dataclass
class Note:
    text: str

@entity(topic="other")
@dataclass
class Other:
    number: Annotated[int, Key]
"""

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandInRegistry]:
    with StandInRegistry() as registry:
        monkeypatch.setenv("STATESTORE_SCHEMA_REGISTRY__URL", registry.url)
        monkeypatch.setenv("STATESTORE_SCHEMA_REGISTRY__RETRY_WAIT", "0")
        yield registry


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run ``statestore schema ACTION`` on a program; return exit status and what was printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    def run(action: str, *options: str, program: str = PROGRAM) -> tuple[int, str]:
        name = f"program_{uuid.uuid4().hex}"
        Path(f"{name}.py").write_text(program)
        status = main(["schema", action, name, *options])
        captured = capsys.readouterr()
        return status, captured.out + captured.err

    return run


def test_new_schemas_are_printed_and_compatible(run: Run, stand_in: StandInRegistry) -> None:
    status, printed = run("check")
    assert status == 0
    assert [line for line in printed.splitlines() if "(" in line] == [
        "orders-key (Order): not registered, compatible",
        "orders-value (Order): not registered, compatible",
        "notes-value (Note): not registered, compatible",
    ]
    value = printed.split("orders-value (Order): not registered, compatible\n")[1].split("notes-value")[0]
    assert json.loads(value)["fields"] == [{"name": "text", "type": "string"}]
    assert stand_in.versions("orders-value") == []


def test_registering_prints_the_ids_and_checking_finds_them(run: Run, stand_in: StandInRegistry) -> None:
    assert run("register") == (
        0,
        "orders-key (Order): registered, id 1\n"
        "orders-value (Order): registered, id 2\n"
        "notes-value (Note): registered, id 3\n",
    )
    assert stand_in.versions("orders-key") == ["long"]
    status, printed = run("check")
    assert status == 0
    assert printed.count("registered, id") == 3


def test_a_schema_that_is_refused_fails_the_command_but_not_the_others(
    run: Run, stand_in: StandInRegistry
) -> None:
    stand_in.register(
        "orders-value",
        {"type": "record", "name": "Order", "fields": [{"name": "text", "type": "long"}]},
    )
    status, printed = run("check")
    assert status == 1
    assert "orders-value (Order): not compatible" in printed
    assert "notes-value (Note): not registered, compatible" in printed
    status, printed = run("register")
    assert status == 1
    assert "orders-value (Order): Schema being registered is incompatible" in printed
    assert "notes-value (Note): registered, id" in printed


def test_what_hinders_the_command_is_told(run: Run, stand_in: StandInRegistry, tmp_path: Path) -> None:
    status, printed = run("check", program=PROGRAM.replace("avro", "json"))
    assert (status, "no entity is declared there with a key or value in Avro" in printed) == (1, True)
    status, printed = run("check", program="import no_such_module")
    assert (status, "cannot be imported: No module named 'no_such_module'" in printed) == (1, True)
    stand_in.stop()
    status, printed = run("register")
    assert (status, "subject orders-key: no answer" in printed) == (1, True)
    settings = tmp_path / "settings.toml"
    settings.write_text("[schema_registry]\nurl = 1\n")
    status, printed = run("check", "--settings", str(settings))
    assert (status, "schema_registry.url" in printed) == (1, True)


def test_without_an_address_the_command_says_so(run: Run) -> None:
    status, printed = run("check")
    assert (status, "schema_registry.url is not set" in printed) == (1, True)
