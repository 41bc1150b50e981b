"""The data directory: one owner, no quiet fresh start, no mixing."""

import json
import logging
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from statestore.errors import (
    DirectoryLockedError,
    StoreCorruptError,
    StoreFormatError,
    StoreIdentityError,
    StoreMissingError,
    StoreUnavailableError,
)
from statestore.storage.directory import DataDirectory, StoreFile, write_json

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


def test_rights_are_the_owners_only(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path / "new" / "state")
    assert complete_store(data).stat().st_mode & 0o077 == 0
    assert (tmp_path / "new" / "state").stat().st_mode & 0o077 == 0
    data.close()


def test_a_path_that_cannot_be_a_directory_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailableError, match="give a directory"):
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
    assert again.file == ORDERS
    assert (again.path / "store.json").exists()
    data.close()


def test_a_foreign_directory_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(StoreMissingError, match=r"thesis\.txt"):
        DataDirectory(tmp_path)
    assert (tmp_path / "thesis.txt").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"topic": "payments"}, "topic 'orders'.*'payments'"),
        ({"logical": "order_Store"}, "logical 'Order_Store'"),
        ({"backend": "lmdb"}, "backend 'rocksdb'.*'lmdb'"),
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


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format": "1"}', b"\xff"])
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


def test_a_directory_under_the_temporary_one_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    DataDirectory(tmp_path / "state").close()
    assert "temporary directory" in caplog.text


def test_a_network_mount_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("statestore.storage.directory._file_system", lambda path: "nfs4")
    DataDirectory(tmp_path / "state").close()
    assert "network mount (nfs4)" in caplog.text
