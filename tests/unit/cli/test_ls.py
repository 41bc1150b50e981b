"""``statestore ls``: beside the owner, and never in its way."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest

from statestore import Key, StoreManager, entity
from statestore.cli import main
from statestore.entity import model_of


def test_it_lists_the_stores_of_a_directory_that_is_in_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with StoreManager(tmp_path / "state") as manager:
        manager.open("sessions").put(b"k", b"v")
        manager.open("Users", backend="lmdb").put(b"k", b"v")
        assert main(["ls", str(tmp_path / "state"), "--json"]) == 0
        assert manager.open("sessions").get(b"k") == b"v"
    users, sessions = json.loads(capsys.readouterr().out)
    assert (users["logical"], users["physical"], users["backend"]) == ("Users", "users", "lmdb")
    assert (sessions["logical"], sessions["backend"], sessions["complete"]) == ("sessions", "rocksdb", True)
    assert sessions["path"] == str(tmp_path / "state" / "sessions")
    assert sessions["size"] > 0
    assert main(["ls", str(tmp_path / "state")]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    names = "logical entity window topic physical backend generation retention size orphan path"
    assert header.split() == names.split()
    assert [row.split()[0] for row in rows] == ["Users", "sessions"]


@entity(topic="declared-orders", ttl=90)
@dataclass(frozen=True, slots=True)
class DeclaredOrder:
    order_id: Annotated[int, Key]


def test_what_is_bound_says_its_entity_and_retention_and_what_is_left_is_an_orphan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with StoreManager(tmp_path, kafka="127.0.0.1:1", backend="lmdb", connect="lazy") as manager:
        table = manager.bind(DeclaredOrder)
        physical = model_of(DeclaredOrder).physical_name
        bound = {
            "entity": "DeclaredOrder",
            "window": None,
            "topic": "declared-orders",
            "logical": table.name,
            "physical": physical,
            "path": str(tmp_path / physical),
            "backend": "lmdb",
            "retention": 90.0,
        }
        manager.open("sessions").put(b"k", b"v")
        entries = {entry["logical"]: entry for entry in manager.describe()}
        assert bound.items() <= entries[table.name].items()
        assert [entry["orphan"] for entry in entries.values()] == [False, False]
    with StoreManager(tmp_path) as manager:
        manager.open("other", backend="memory")
        entries = {entry["logical"]: entry for entry in manager.describe()}
        assert {name: entry["orphan"] for name, entry in entries.items()} == {
            table.name: False,  # it is declared in this process
            "other": False,
            "sessions": True,
        }
        assert bound.items() <= entries[table.name].items()
        assert entries["sessions"]["size"] > 0
        assert len({tuple(entry) for entry in entries.values()}) == 1
    assert main(["ls", str(tmp_path), "--json"]) == 0
    listed = {entry["logical"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert bound.items() <= listed[table.name].items()
    assert (listed["sessions"]["retention"], listed["sessions"]["orphan"]) == (None, None)


def test_a_store_that_is_gone_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with StoreManager(tmp_path) as manager:
        manager.open("sessions")
    shutil.rmtree(tmp_path / "sessions")
    assert main(["ls", str(tmp_path), "--json"]) == 0
    (gone,) = json.loads(capsys.readouterr().out)
    assert (gone["physical"], gone["complete"], gone["size"]) == ("sessions", True, None)


def test_what_is_no_data_directory_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", str(tmp_path)]) == 1
    assert "no manifest.json" in capsys.readouterr().err
