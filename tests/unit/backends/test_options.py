"""Options of an engine: a wrong one is told by its name, wherever it was given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from statestore import ConfigError, StoreManager
from statestore.backends import StoreOptions, find_engine
from statestore.backends.lmdb import LMDBOptions
from statestore.backends.options import EngineOptions
from statestore.backends.rocksdb import RocksDBEngine, RocksDBOptions

WRONG: list[tuple[str, str, Any]] = [
    ("rocksdb", "block_size", 2048.5),
    ("rocksdb", "block_size", "16k"),
    ("rocksdb", "block_size", None),
    ("rocksdb", "block_size", 1023),
    ("rocksdb", "compression", "gzip"),
    ("rocksdb", "compression", 7),
    ("rocksdb", "sync", 1),
    ("rocksdb", "sync", "no"),
    ("rocksdb", "bloom_bits", True),
    ("rocksdb", "bloom_bits", 65),
    ("rocksdb", "write_buffer_share", 0.8),
    ("rocksdb", "max_write_buffer", 65535),
    ("rocksdb", "max_open_files", 15),
    ("rocksdb", "max_open_files", 0),
    ("rocksdb", "background_jobs", 0),
    ("rocksdb", "stall_timeout", 0),
    ("rocksdb", "stall_timeout", float("nan")),
    ("rocksdb", "blocksize", 4096),
    ("lmdb", "map_size", 65535),
    ("lmdb", "map_size", 1e9),
    ("lmdb", "max_map_size", 1 << 20),
    ("lmdb", "grow_timeout", -0.1),
    ("lmdb", "max_readers", 7),
    ("lmdb", "readahead", "yes"),
    ("memory", "max_bytes", 0),
    ("memory", "max_bytes", 0.5),
]


@pytest.mark.parametrize(("engine", "option", "value"), WRONG)
def test_a_wrong_option_is_named(engine: str, option: str, value: Any, tmp_path: Path) -> None:
    kind = find_engine(engine).options_type
    with pytest.raises(ConfigError) as caught:
        kind(**{option: value})
    assert [fault.partition(":")[0] for fault in caught.value.faults] == [f"{kind.__name__}.{option}"]
    with pytest.raises(ConfigError) as caught:
        StoreManager(tmp_path / "state", settings={"backends": {engine: {option: value}}})
    assert [fault.split(": ")[1] for fault in caught.value.faults] == [f"backends.{engine}.{option}"]
    assert not (tmp_path / "state").exists()


def test_every_fault_is_told_in_one_pass() -> None:
    wrong: dict[str, Any] = {"map_size": 1, "max_map_size": 0, "grow_timeout": -1, "sink": True}
    with pytest.raises(ConfigError) as caught:
        LMDBOptions(**wrong)
    assert [fault.partition(":")[0] for fault in caught.value.faults] == [
        f"LMDBOptions.{name}" for name in wrong
    ]
    assert caught.value.faults[-1].startswith("LMDBOptions.sink: no such option; known here: map_size, ")


def test_a_map_is_not_larger_than_the_default_of_its_maximum() -> None:
    with pytest.raises(ConfigError) as caught:
        LMDBOptions(map_size=2 << 40)
    assert caught.value.faults == ("LMDBOptions.max_map_size: must be at least map_size, 2199023255552",)
    assert LMDBOptions(map_size=1 << 40).max_map_size == 1 << 40


@pytest.mark.parametrize("other", [{"defaults": {"lag": 1}}, {"dlq": {}}, {"kafka": {"acks": "1"}}, {1: 2}])
def test_a_wrong_option_is_told_beside_faults_of_other_sections(other: Any, tmp_path: Path) -> None:
    wrong = {"backends": {"rocksdb": {"block_size": "16k"}}, **other}
    with pytest.raises(ConfigError) as caught:
        StoreManager(tmp_path / "state", settings=wrong)
    assert len(caught.value.faults) == 2
    assert caught.value.faults[1].split(": ")[1] == "backends.rocksdb.block_size"


def test_options_of_an_engine_take_what_they_say(tmp_path: Path) -> None:
    given: dict[str, Any] = {
        "max_open_files": -1,
        "stall_timeout": 2,
        "compression": "zstd",
        "block_size": 1024,
    }
    options = RocksDBOptions(**given)
    assert {name: getattr(options, name) for name in given} == given
    assert options == RocksDBOptions(**given) != RocksDBOptions()
    with RocksDBEngine(16 << 20, options).open(tmp_path / "store", StoreOptions()) as store:
        assert store.get(b"a") is None


@pytest.mark.parametrize("name", ["memory", "rocksdb", "lmdb"])
def test_every_option_is_described(name: str) -> None:
    kind = find_engine(name).options_type
    assert issubclass(kind, EngineOptions)
    assert all(field.description for field in kind.model_fields.values())
