"""Data directories that earlier versions wrote are read by this one; ``make.py`` says what they are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from statestore import StoreIdentityError, StoreManager
from statestore.backends import StoreOptions, find_engine
from statestore.core import WriteRun
from statestore.storage.changelog_store import ChangelogStore
from statestore.storage.directory import DataDirectory, StoreFile
from statestore.storage.layout import DATA, Position

GOLDEN = Path(__file__).parent
LARGEST = 100_000

pytestmark = pytest.mark.parametrize("backend", ["rocksdb", "lmdb"])


@pytest.fixture(params=["format1"])
def written_by(request: pytest.FixtureRequest) -> Path:
    """The directories of each format there ever was."""
    name: str = request.param
    return GOLDEN / name


@pytest.fixture
def content(written_by: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((written_by / "content.json").read_text())
    return loaded


@pytest.fixture
def directory(written_by: Path, backend: str, tmp_path: Path) -> Path:
    """A copy: opening a store writes."""
    return Path(shutil.copytree(written_by / backend, tmp_path / "state"))


@pytest.fixture
def orders(backend: str) -> StoreFile:
    """What binding the topic ``orders`` looks for in the directory."""
    return StoreFile("orders_Store", backend, "timestamped", "bytes", topic="orders")


@contextmanager
def bound(directory: Path, orders: StoreFile) -> Iterator[ChangelogStore]:
    """Open the store of a bound topic as a manager does, without Kafka."""
    data = DataDirectory(directory)
    try:
        place = data.store("orders_store", orders)
        kind = find_engine(orders.backend)
        engine = kind(64 << 20, None)
        backend = engine.open(place.generation_path, StoreOptions(changelog=True))
        with ChangelogStore(orders.logical, backend, kind.max_key_size) as store:
            yield store
        engine.close()
    finally:
        data.close()


def test_a_store_without_kafka_has_all_it_had(directory: Path, backend: str, content: dict[str, Any]) -> None:
    expected = {bytes.fromhex(key): bytes.fromhex(value) for key, value in content["sessions"].items()}
    for _ in range(2):  # the first opening may have converted something
        with StoreManager(directory, backend=backend) as manager:
            sessions = manager.open("sessions")
            assert list(sessions.scan()) == sorted(expected.items())
            assert sessions.get_many([*expected, b"gone"]) == [*expected.values(), None]


def test_a_store_without_kafka_takes_writes(directory: Path, backend: str) -> None:
    with StoreManager(directory, backend=backend) as manager:
        sessions = manager.open("sessions")
        count = len(sessions)
        sessions[b"new"] = b"1"
        del sessions[b"key-0000"]
    with StoreManager(directory, backend=backend) as manager:
        sessions = manager.open("sessions")
        assert (len(sessions), sessions[b"new"], sessions.get(b"key-0000")) == (count, b"1", None)


def test_a_bound_store_has_its_rows_timestamps_and_positions(
    directory: Path, orders: StoreFile, content: dict[str, Any]
) -> None:
    expected = {
        bytes.fromhex(key): (stamp, bytes.fromhex(value)) for key, (stamp, value) in content["orders"].items()
    }
    positions = {int(number): Position(*position) for number, position in content["positions"].items()}
    for _ in range(2):
        with bound(directory, orders) as store:
            assert dict(store.scan()) == {key: value for key, (_, value) in expected.items()}
            assert {key: store.get_with_timestamp(key) for key in expected} == expected
            assert store.positions() == positions


def test_a_bound_store_goes_on_from_its_position(directory: Path, orders: StoreFile) -> None:
    with bound(directory, orders) as store:
        run = WriteRun(DATA)
        run.write(b"new", b"1", 0)
        run.write(b"key-0000", None, 0)
        store.apply(run, {0: Position(4213, 4, 5)})
        store.flush()
    with bound(directory, orders) as store:
        assert (store.get(b"new"), store.get(b"key-0000")) == (b"1", None)
        assert store.positions()[0] == Position(4213, 4, 5)


def test_the_description_of_a_bound_store_is_understood(directory: Path, orders: StoreFile) -> None:
    data = DataDirectory(directory)
    try:
        found = data.store("orders_store", orders).file
        assert (found.topic_id, found.cluster_id, found.partitions) == ("AAAAAAAAAAAAAAAAAAAAAQ", "golden", 3)
        with pytest.raises(StoreIdentityError, match="orders"):
            data.store("orders_store", replace(orders, topic="payments"))
    finally:
        data.close()


def test_the_files_are_small(written_by: Path, backend: str) -> None:
    sizes = {path: path.stat().st_size for path in (written_by / backend).rglob("*") if path.is_file()}
    assert sizes
    assert {path: size for path, size in sizes.items() if size > LARGEST} == {}
