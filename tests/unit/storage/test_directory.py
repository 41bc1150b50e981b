"""The data directory: one owner, no quiet fresh start, no mixing."""

import fcntl
import json
import logging
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from statestore import StoreManager
from statestore.errors import (
    DirectoryLockedError,
    StoreCorruptError,
    StoreFormatError,
    StoreIdentityError,
    StoreMissingError,
    StoreUnavailableError,
)
from statestore.storage.directory import DataDirectory, StoreFile
from statestore.storage.json_files import write_json
from statestore.storage.listing import stored
from statestore.storage.lock import Owner
from statestore.testing import TestDriver

ORDERS = StoreFile("Order_Store", "rocksdb", "timestamped", "bytes", topic="orders")


def complete_store(data: DataDirectory) -> Path:
    store = data.store("order_store", ORDERS)
    store.generation_path.mkdir()
    (store.generation_path / "data").write_bytes(b"x")
    data.remember("order_store")
    return store.path


def test_the_second_owner_is_told_the_firsts_pid_at_once(tmp_path: Path) -> None:
    script = (
        "import sys, time; from statestore.storage.directory import DataDirectory\n"
        "data = DataDirectory(sys.argv[1]); print('owned', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-P", "-c", script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"owned\n"
        with pytest.raises(DirectoryLockedError, match=f"process {owner.pid}") as caught:
            DataDirectory(tmp_path)
        assert caught.value.pid == owner.pid
        owner.kill()
        owner.wait()
        DataDirectory(tmp_path).close()  # a dead owner is no obstacle


def test_a_second_manager_of_one_process_is_refused_too(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path)
    with pytest.raises(DirectoryLockedError, match="already open in this process: close the other") as caught:
        DataDirectory(tmp_path)
    assert caught.value.pid == os.getpid()
    data.close()
    data.close()
    DataDirectory(tmp_path).close()


@pytest.mark.parametrize(
    ("elsewhere", "says"),
    [
        ({}, "owned by process 1: have both open it with role="),
        ({"host": "pod-7"}, "owned by process 1 on host 'pod-7': have both"),
        ({"namespace": "pid:[4711]"}, "owned by process 1 in another container: have both"),
    ],
)
def test_an_owner_of_another_container_is_told_apart(
    tmp_path: Path, elsewhere: dict[str, str], says: str
) -> None:
    with (tmp_path / "LOCK").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(str(Owner.here()._replace(pid=1, **elsewhere)))
        lock.flush()
        with pytest.raises(DirectoryLockedError, match=re.escape(says)) as caught:
            DataDirectory(tmp_path)
    assert caught.value.pid == 1
    assert Owner.of(b"17\n") == (17, "", "")  # as older versions wrote it
    assert Owner.of(b"") == (None, "", "")


def test_rights_are_the_owners_only(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path / "new" / "state")
    assert complete_store(data).stat().st_mode & 0o077 == 0
    assert (tmp_path / "new" / "state").stat().st_mode & 0o077 == 0
    data.close()


def test_a_path_that_cannot_be_a_directory_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailableError, match="move it away"):
        DataDirectory(tmp_path / "file" / "state")


def test_a_store_that_was_complete_and_is_gone_is_never_started_anew_quietly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = DataDirectory(tmp_path)
    shutil.rmtree(complete_store(data))
    with caplog.at_level(logging.CRITICAL), pytest.raises(StoreMissingError, match="files are gone"):
        data.store("order_store", ORDERS)
    assert "files are gone" in caplog.text
    assert data.store("order_store", ORDERS, on_missing="rebuild").file.generation == 1
    data.close()


def test_an_emptied_generation_is_missing_too(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path)
    path = complete_store(data)
    (path / "g000001" / "data").unlink()
    with pytest.raises(StoreMissingError):
        data.store("order_store", ORDERS)
    data.close()


def test_a_store_that_was_never_complete_may_start_anew(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path)
    shutil.rmtree(data.store("order_store", ORDERS).path)
    again = data.store("order_store", ORDERS)
    assert replace(again.file, store_id=None) == ORDERS
    assert (again.path / "store.json").exists()
    data.close()


@pytest.mark.parametrize(
    "name", ["lost+found", ".DS_Store", ".gitkeep", ".snapshot/", "thesis.txt", "notes/"]
)
def test_a_directory_with_nothing_of_a_store_in_it_is_a_fresh_one(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    other = tmp_path / name
    if name.endswith("/") or name == "lost+found":
        other.mkdir(0o000 if name == "lost+found" else 0o700)
    else:
        other.write_text("years of work")
    data = DataDirectory(tmp_path)
    store = complete_store(data)
    data.close()
    data = DataDirectory(tmp_path)
    assert data.store("order_store", ORDERS).path == store
    data.close()
    assert other.exists()
    assert ("also holds" in caplog.text) is not (name.startswith(".") or name == "lost+found")


@pytest.mark.parametrize("place", ["", "order_store"])
@pytest.mark.parametrize("name", ["store.json", "g000001", "CURRENT", "000012.sst", "data.mdb"])
def test_data_without_its_manifest_is_not_started_anew(tmp_path: Path, place: str, name: str) -> None:
    (tmp_path / place).mkdir(exist_ok=True)
    (tmp_path / place / name).write_text("")
    with pytest.raises(StoreMissingError, match=f"holds data: {place or name}.*give an empty directory"):
        DataDirectory(tmp_path)
    assert (tmp_path / place / name).exists()


def test_a_new_store_takes_nothing_away_that_lies_in_its_place(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path)
    (tmp_path / "order_store" / "g000001").mkdir(parents=True)  # left by a crash
    (tmp_path / "order_store" / "thesis.txt").write_text("years of work")
    with pytest.raises(StoreMissingError):
        data.store("order_store", ORDERS)
    store = data.store("order_store", ORDERS, on_missing="rebuild")
    assert sorted(entry.name for entry in store.path.iterdir()) == ["store.json", "thesis.txt"]
    data.close()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 1}', '{"format": 1, "directory_id": "a"}'])
def test_a_broken_manifest_has_a_remedy_that_can_be_followed(tmp_path: Path, content: str) -> None:
    (tmp_path / "state").mkdir()
    manifest = tmp_path / "state" / "manifest.json"
    DataDirectory(tmp_path / "state").close()
    backup = manifest.read_text()
    manifest.write_text(content)
    with pytest.raises(StoreCorruptError, match="from a backup, or give an empty directory") as caught:
        DataDirectory(tmp_path / "state")
    assert "bind" not in caught.value.remedy  # there is no manager yet to bind with
    with pytest.raises(StoreCorruptError):
        stored(tmp_path / "state")
    (tmp_path / "empty").mkdir()
    DataDirectory(tmp_path / "empty").close()
    manifest.write_text(backup)
    DataDirectory(tmp_path / "state").close()


SESSIONS = StoreFile("sessions", "rocksdb", "raw", "bytes")


def test_a_store_without_a_topic_begins_anew_only_where_nothing_is_left_of_it(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path)
    path = data.store("sessions", SESSIONS).path
    (path / "g000001").mkdir()
    (path / "g000001" / "data").write_text("x")
    data.remember("sessions")
    (path / "store.json").write_text("{")
    for on_missing in ("fail", "empty"):
        with pytest.raises(StoreCorruptError, match="move what is left of it elsewhere") as caught:
            data.store("sessions", SESSIONS, on_missing=on_missing)
        assert "bind" not in caught.value.remedy
    path.rename(tmp_path / "elsewhere")
    with pytest.raises(StoreMissingError, match='open it with on_missing="empty"'):
        data.store("sessions", SESSIONS)
    assert data.store("sessions", SESSIONS, on_missing="empty").path == path
    assert (tmp_path / "elsewhere" / "g000001" / "data").exists()
    data.close()


def test_old_generations_go_at_the_next_start(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path)
    path = complete_store(data)
    for name in ("g000000", "g000002"):
        (path / name).mkdir()
        (path / name / "data").write_text("x")
    (path / ".DS_Store").write_text("x")
    data.store("order_store", ORDERS)
    assert sorted(entry.name for entry in path.iterdir()) == [".DS_Store", "g000001", "store.json"]
    data.close()


def test_no_generation_goes_while_the_current_one_is_missing(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path)
    path = complete_store(data)
    (path / "g000001").rename(path / "g000000")
    with pytest.raises(StoreMissingError):
        data.store("order_store", ORDERS)
    assert (path / "g000000" / "data").exists()
    data.close()


def test_a_kill_at_the_start_of_a_rebuild_is_no_loss(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path)
    complete_store(data)
    data.store("order_store", ORDERS).start_generation()  # and killed before the engine made its files
    data.close()
    data = DataDirectory(tmp_path)
    store = data.store("order_store", ORDERS)
    assert (store.file.generation, store.file.rebuilding) == (2, True)
    data.close()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"topic": "payments"}, "topic 'orders'.*'payments'"),
        ({"logical": "order_Store"}, "logical 'Order_Store'"),
        ({"backend": "lmdb"}, "backend 'rocksdb'.*'lmdb'; bind it with backend='rocksdb', or give"),
        ({"serialisation": "msgpack"}, "serialisation"),
        ({"values": "raw"}, "values"),
    ],
)
def test_a_store_of_something_else_is_refused(tmp_path: Path, change: dict[str, str], says: str) -> None:
    data = DataDirectory(tmp_path)
    complete_store(data)
    wanted = replace(ORDERS, **change)  # type: ignore[arg-type]
    with pytest.raises(StoreIdentityError, match=says):
        data.store("order_store", wanted)
    data.close()


@pytest.mark.parametrize("name", ["manifest.json", "order_store/store.json"])
def test_a_newer_format_is_told_and_left_alone(tmp_path: Path, name: str) -> None:
    data = DataDirectory(tmp_path)
    complete_store(data)
    content = json.loads((tmp_path / name).read_text())
    write_json(tmp_path / name, content | {"format": 2})
    data.close()
    with pytest.raises(StoreFormatError, match="has format 2"):
        DataDirectory(tmp_path).store("order_store", ORDERS, on_missing="rebuild")
    assert json.loads((tmp_path / name).read_text())["format"] == 2


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"[]", b'{"format": "1"}', b"\xff", b'{"format": 1}'),
        b'{"format": 1, "logical": "", "backend": "", "values": "", "serialisation": "", "generation": "x"}',
    ],
)
def test_a_damaged_description_is_corrupt_not_new(tmp_path: Path, content: bytes) -> None:
    data = DataDirectory(tmp_path)
    path = complete_store(data)
    (path / "store.json").write_bytes(content)
    with pytest.raises(StoreCorruptError):
        data.store("order_store", ORDERS)
    data.close()


def test_a_vanished_or_replaced_store_is_noticed(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path)
    complete_store(data)
    store = data.store("order_store", ORDERS)
    assert not store.vanished()
    store.update(topic_id="abc")
    assert not store.vanished()
    shutil.copytree(store.path, tmp_path / "copy")
    shutil.rmtree(store.path)
    assert store.vanished()
    (tmp_path / "copy").rename(store.path)
    assert store.vanished()
    data.close()


def test_a_new_generation_forgets_the_old_topic(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path)
    complete_store(data)
    store = data.store("order_store", ORDERS)
    store.update(topic_id="abc", cluster_id="c", partitions=3)
    store.start_generation()
    again = data.store("order_store", ORDERS, on_missing="rebuild")
    assert (store.file.generation, store.file.topic_id, store.file.partitions) == (2, None, None)
    assert not (store.path / "g000001").exists()
    assert again.path == store.path
    data.close()


def test_a_kill_while_a_lost_store_is_made_anew_is_no_loss(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path)
    shutil.rmtree(complete_store(data))
    data.store("order_store", ORDERS, on_missing="rebuild")  # and killed before the engine made its files
    store = data.store("order_store", ORDERS)
    (store.generation_path).mkdir()
    store.mark_complete()
    with pytest.raises(StoreMissingError):
        data.store("order_store", ORDERS)
    data.close()


def test_a_directory_under_the_temporary_one_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    StoreManager(tmp_path / "state", backend="memory").close()
    assert "temporary directory" in caplog.text
    caplog.clear()
    TestDriver().close()
    assert caplog.text == ""


def test_a_network_mount_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("statestore.storage.location._file_system", lambda path: "nfs4")
    StoreManager(tmp_path / "state", backend="memory").close()
    assert "network mount (nfs4)" in caplog.text
