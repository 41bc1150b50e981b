"""Stores without Kafka: the same behaviour on every backend."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from statestore.errors import ConfigError, EncodeError, StoreClosedError
from statestore.manager import StoreManager
from statestore.storage.store import KeyValueStore

BACKENDS = ["memory", "rocksdb", "lmdb"]


@pytest.fixture(params=BACKENDS)
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StoreManager]:
    with StoreManager(tmp_path / "state", backend=request.param) as manager:
        yield manager


@pytest.fixture
def kv(manager: StoreManager) -> KeyValueStore:
    return manager.open("sessions")


def test_put_get_delete(kv: KeyValueStore) -> None:
    kv.put(b"k", b"v")
    assert kv.get(b"k") == b"v"
    kv.delete(b"k")
    kv.delete(b"k")
    assert kv.get(b"k") is None
    assert kv.get(b"k", 7) == 7


def test_an_empty_value_is_not_an_absent_one_and_a_key_may_be_empty(kv: KeyValueStore) -> None:
    kv.put(b"", b"")
    assert kv.get(b"", b"default") == b""
    assert b"" in kv
    assert list(kv) == [b""]


def test_get_many_keeps_the_order_asked_in(kv: KeyValueStore) -> None:
    kv.put(b"a", b"1")
    kv.put(b"b", b"2")
    assert kv.get_many([b"b", b"x", b"a", b"b"]) == [b"2", None, b"1", b"2"]


def test_scan_bounds(kv: KeyValueStore) -> None:
    for key in (b"a", b"b", b"b\xff", b"c", b"\xff", b"\xff\xff"):
        kv.put(key, key * 2)
    keys = [b"a", b"b", b"b\xff", b"c", b"\xff", b"\xff\xff"]
    assert [key for key, _ in kv.scan()] == keys
    assert list(kv.scan(b"b", b"c")) == [(b"b", b"bb"), (b"b\xff", b"b\xffb\xff")]
    assert [key for key, _ in kv.scan(b"b", b"c", reverse=True)] == [b"b\xff", b"b"]
    assert [key for key, _ in kv.scan(prefix=b"\xff")] == [b"\xff", b"\xff\xff"]
    assert [key for key, _ in kv.scan(prefix=b"b", start=b"b\x00")] == [b"b\xff"]
    assert [key for key, _ in kv.scan(reverse=True, limit=2)] == [b"\xff\xff", b"\xff"]
    assert list(kv.scan(limit=0)) == []
    assert list(kv.scan(b"c", b"a")) == []
    with pytest.raises(ValueError, match="-1"):
        kv.scan(limit=-1)


def test_a_batch_is_all_or_nothing(kv: KeyValueStore) -> None:
    with kv.batch() as batch:
        batch.put(b"a", b"1")
        batch.put(b"b", b"2")
        batch.delete(b"a")
    assert dict(kv.scan()) == {b"b": b"2"}
    with pytest.raises(RuntimeError), kv.batch() as batch:
        batch.put(b"c", b"3")
        raise RuntimeError
    assert b"c" not in kv


def test_it_is_a_mapping(kv: KeyValueStore) -> None:
    kv[b"a"] = b"1"
    kv.update({b"b": b"2"})
    assert (len(kv), list(kv), kv[b"a"], b"b" in kv) == (2, [b"a", b"b"], b"1", True)
    assert list(kv.items()) == [(b"a", b"1"), (b"b", b"2")]
    with pytest.raises(KeyError):
        kv[b"x"]
    with pytest.raises(KeyError):
        del kv[b"x"]
    assert kv.pop(b"a") == b"1"
    kv.clear()
    assert kv.count() == len(kv) == 0
    assert kv  # a store is not its content


def test_a_snapshot_stays(kv: KeyValueStore) -> None:
    kv.put(b"a", b"1")
    with kv.snapshot() as snapshot:
        kv.put(b"a", b"2")
        kv.put(b"b", b"2")
        assert snapshot.get(b"a") == b"1"
        assert list(snapshot.scan()) == [(b"a", b"1")]
        assert snapshot.count() == 1


def test_a_live_iterator_ends_with_an_error_when_the_manager_closes(
    manager: StoreManager, kv: KeyValueStore
) -> None:
    kv.put(b"a", b"1")
    kv.put(b"b", b"2")
    scan = kv.scan()
    assert next(scan) == (b"a", b"1")
    manager.close()
    manager.close()
    with pytest.raises(StoreClosedError):
        next(scan)
    with pytest.raises(StoreClosedError):
        kv.get(b"a")
    with pytest.raises(StoreClosedError):
        manager.open("sessions")


def test_a_key_too_long_is_refused_before_anything_is_written(kv: KeyValueStore) -> None:
    limit = kv._max_key_size
    kv.put(b"k" * limit, b"v")
    with (
        pytest.raises(EncodeError, match=f"{limit + 1} bytes is longer than the {limit}"),
        kv.batch() as batch,
    ):
        batch.put(b"a", b"1")
        batch.put(b"k" * (limit + 1), b"v")
    assert b"a" not in kv
    with pytest.raises(EncodeError):
        kv.put(b"k" * (limit + 1), b"v")


def test_what_is_no_bytes_is_refused(kv: KeyValueStore) -> None:
    with pytest.raises(TypeError):
        kv.put("k", b"v")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        kv.put(b"k", "v")  # type: ignore[arg-type]
    with pytest.raises(TypeError), kv.batch() as batch:
        batch.put(b"k", None)  # type: ignore[arg-type]
    assert len(kv) == 0


def test_opening_twice_gives_the_same_store_and_another_backend_is_refused(manager: StoreManager) -> None:
    assert manager.open("a") is manager.open("a") is manager.store("a")
    other = "memory" if manager._settings.defaults.backend != "memory" else "lmdb"
    with pytest.raises(ConfigError, match=other):
        manager.open("a", backend=other)


def test_two_names_with_one_directory_are_refused(manager: StoreManager) -> None:
    manager.open("a.b")
    with pytest.raises(ConfigError, match=r"'a\.b' and 'a-b'"):
        manager.open("a-b")


def test_a_closed_store_can_be_opened_again(manager: StoreManager) -> None:
    store = manager.open("a")
    store.put(b"k", b"v")
    store.close()
    store.close()
    with pytest.raises(StoreClosedError):
        store.put(b"k", b"v")
    again = manager.open("a")
    assert again is not store
    assert again.get(b"k") == (None if manager._settings.defaults.backend == "memory" else b"v")


@pytest.mark.parametrize("backend", ["rocksdb", "lmdb"])
def test_content_outlives_the_manager(backend: str, tmp_path: Path) -> None:
    for expected in (None, b"v"):
        with StoreManager(tmp_path, backend=backend) as manager:
            kv = manager.open("a")
            assert kv.get(b"k") == expected
            kv.put(b"k", b"v")
    described = StoreManager(tmp_path, backend=backend)
    described.open("a")
    (entry,) = described.describe()
    described.close()
    assert entry["logical"] == "a"
    assert entry["backend"] == backend
    assert entry["path"] == str(tmp_path / "a")
    assert entry["size"] > 0


def test_a_name_that_is_no_store_is_refused_listing_the_open_ones(manager: StoreManager) -> None:
    manager.open("known")
    with pytest.raises(ConfigError, match="open: known"):
        manager.store("unknown")


def test_an_unknown_backend_is_refused_listing_the_registered_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="lmdb, memory, rocksdb"):
        StoreManager(tmp_path / "state", backend="sqlite")
    assert not (tmp_path / "state").exists()


def test_unknown_backend_options_are_refused_naming_them(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"backends\.rocksdb\.compresion: no such option"):
        StoreManager(tmp_path, settings={"backends": {"rocksdb": {"compresion": "none"}}})


def test_bind_without_a_broker_says_what_is_missing(manager: StoreManager) -> None:
    with pytest.raises(ConfigError, match="kafka='host:port'"):
        manager.bind("orders")


def test_bad_arguments_of_bind_are_refused_all_at_once(manager: StoreManager) -> None:
    with pytest.raises(ConfigError) as caught:
        manager.bind("orders", max_lag=0, max_staleness=-1.0, on_missing="ignore")  # type: ignore[call-overload]
    assert [fault.split(": ")[1] for fault in caught.value.faults] == [
        "on_missing",
        "max_lag",
        "max_staleness",
    ]
