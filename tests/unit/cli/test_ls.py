"""``statestore ls``: beside the owner, and never in its way."""

import json
import shutil
from pathlib import Path

import pytest

from statestore import StoreManager
from statestore.cli import main


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
    assert header.split() == ["logical", "topic", "backend", "generation", "size", "path"]
    assert [row.split()[0] for row in rows] == ["Users", "sessions"]


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
