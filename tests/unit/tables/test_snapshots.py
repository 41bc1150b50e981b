"""Snapshots of tables: rows and positions of one instant, released when they are closed or forgotten."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, cast

import pytest

from statestore import BytesTable, EventTime, Key, StoreClosedError, Table, entity
from statestore.backends import StoreOptions, find_engine
from statestore.changelog.counts import Counts
from statestore.core import Readable, WriteRun
from statestore.entity import model_of
from statestore.errors import StoreNotReadyError
from statestore.serde.entities import EntityCodec
from statestore.storage.changelog_store import ChangelogStore
from statestore.storage.expiry import ExpiringBackend
from statestore.storage.layout import DATA, Position
from statestore.tables.timestamps import instant


@entity(topic="ticks")
@dataclass(frozen=True, slots=True)
class Tick:
    number: Annotated[int, Key]
    text: str


@entity(topic="ticks", key_format="json")
@dataclass(frozen=True, slots=True)
class JsonTick:
    number: Annotated[int, Key]
    text: str


@entity(topic="ticks")
@dataclass(frozen=True, slots=True)
class Timed:
    """Its values in the store lack the event time."""

    number: Annotated[int, Key]
    text: str
    at: Annotated[datetime, EventTime]


class Source(Readable):
    """As much of a binding as reading takes."""

    def __init__(self, store: ChangelogStore) -> None:
        self.readable: Any = store.view
        self.stale: Any = None
        self.name = "ticks"
        self.mirror = SimpleNamespace(counts=Counts())

    def reading(self, allow_stale: bool) -> Any:
        if not allow_stale:
            raise StoreNotReadyError("not ready", lag=1)
        return self.stale


@pytest.fixture(params=["memory", "rocksdb", "lmdb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ChangelogStore]:
    engine = find_engine(request.param)(64 << 20)
    backend = engine.open(tmp_path / "store", StoreOptions(changelog=True))
    with closing(ChangelogStore("ticks", backend, engine.max_key_size)) as store:
        yield store
    engine.close()


def write(store: ChangelogStore, position: int, *changes: tuple[bytes, bytes | None]) -> None:
    run = WriteRun(DATA)
    for key, payload in changes:
        run.write(key, payload, 1_000)
    store.apply(run, {0: Position(position), 3: Position(7)})


def table_of(store: ChangelogStore, cls: Any) -> tuple[Any, EntityCodec[Any]]:
    codec: EntityCodec[Any] = EntityCodec(model_of(cls))
    return Table(cast("Any", Source(store)), codec, cls, cast("Any", None)), codec


@pytest.mark.parametrize("cls", [Tick, JsonTick, Timed])
def test_a_snapshot_of_entities_stays_as_it_was(store: ChangelogStore, cls: Any) -> None:
    table, codec = table_of(store, cls)
    payload = b"\x81\xa4text\xa1"
    at = {"at": instant(1_000)} if cls is Timed else {}
    rows = [cls(number, "a", **at) for number in (-1, 1, 2)]
    write(store, 3, *((codec.encode_key((row.number,)), payload + b"a") for row in rows))
    with table.snapshot() as snapshot:
        write(store, 9, (codec.encode_key((1,)), payload + b"b"), (codec.encode_key((2,)), None))
        write(store, 10, (codec.encode_key((5,)), payload + b"c"))
        for _ in range(2):  # no read closes it
            assert snapshot.positions == {0: 3, 3: 7}
            assert snapshot.to_list() == list(snapshot) == list(snapshot.scan()) == rows
            assert list(snapshot.scan(-5, 2)) == rows[:2]
            assert list(snapshot.scan(reverse=True, limit=2)) == rows[:0:-1]
            assert snapshot.count() == 3
            assert [snapshot.get(2), snapshot.get(5), snapshot.get(5, default=0)] == [rows[2], None, 0]
            assert snapshot.get_many([(2,), 5, 1]) == [rows[2], None, rows[1]]
            assert (2 in snapshot, 5 in snapshot) == (True, False)
            assert snapshot.get_with_timestamp(1) == (rows[1], instant(1_000))
            assert [one.row for one in snapshot.scan_with_timestamps(1)] == rows[1:]
            seen: list[Any] = []
            snapshot.for_each(seen.append)
            assert seen == rows
        assert table.get_many([2, 5, 1]) == [None, cls(5, "c", **at), cls(1, "b", **at)]
        assert table.count() == 3


def test_a_snapshot_of_bytes_stays_as_it_was(store: ChangelogStore) -> None:
    table = BytesTable(cast("Any", Source(store)))
    write(store, 2, (b"a", b"1"), (b"b", b"2"))
    with table.snapshot() as snapshot:
        write(store, 3, (b"a", b"3"), (b"b", None), (b"c", b"4"))
        assert snapshot.positions == {0: 2, 3: 7}
        assert snapshot.to_list() == list(snapshot) == [(b"a", b"1"), (b"b", b"2")]
        assert (snapshot.get(b"a"), snapshot.get(b"c"), snapshot.get(b"c", default=0)) == (b"1", None, 0)
        assert snapshot.get_many([b"c", b"b"]) == [None, b"2"]
        assert (b"b" in snapshot, b"c" in snapshot, snapshot.count()) == (True, False, 2)
        assert snapshot.get_with_timestamp(b"a") == (b"1", instant(1_000))
        assert list(snapshot.scan_with_timestamps(b"b")) == [((b"b", b"2"), instant(1_000))]
        with pytest.raises(TypeError, match="must be bytes, not str"):
            snapshot.scan("a")
    assert table.get_many([b"c", b"b"]) == [b"4", None]


def _all_of(scan: Callable[[], Iterator[object]]) -> None:
    list(scan())


@pytest.mark.parametrize("ended", ["snapshot", "store"])
def test_every_read_of_a_closed_one_raises(store: ChangelogStore, ended: str) -> None:
    write(store, 2, (b"\x80" + bytes(6) + b"\x01", b"\x81\xa4text\xa1a"))
    tables: list[Any] = [table_of(store, Tick)[0], BytesTable(cast("Any", Source(store)))]
    snapshots = [table.snapshot() for table in tables]
    if ended == "store":
        store.close()
        with pytest.raises(StoreClosedError):
            tables[0].snapshot()
    for snapshot, key in zip(snapshots, (1, b"a"), strict=True):
        if ended == "snapshot":
            snapshot.close()
            snapshot.close()
        reads: list[Callable[[], object]] = [
            partial(snapshot.get, key),
            partial(snapshot.get_many, [key]),
            partial(snapshot.get_with_timestamp, key, allow_stale=True),
            partial(snapshot.__contains__, key),
            partial(snapshot.to_list, allow_stale=True),
            snapshot.count,
            partial(_all_of, snapshot.scan_with_timestamps),
            partial(getattr, snapshot, "positions"),
        ]
        for read in reads:
            with pytest.raises(StoreClosedError):
                read()


def test_it_is_taken_where_the_table_may_be_read(store: ChangelogStore) -> None:
    table = BytesTable(cast("Any", Source(store)))
    write(store, 2, (b"a", b"1"))
    source: Any = table._binding
    source.stale, source.readable = source.readable, None
    with pytest.raises(StoreNotReadyError):
        table.snapshot()
    with table.snapshot(allow_stale=True) as snapshot:
        assert snapshot.to_list() == [(b"a", b"1")]


def test_the_clock_of_a_snapshot_stands_still(tmp_path: Path) -> None:
    engine = find_engine("memory")(64 << 20)
    now = [50.0]
    backend = ExpiringBackend(engine.open(tmp_path, StoreOptions(changelog=True)), 100.0, lambda: now[0])
    with closing(ChangelogStore("ticks", backend, 510)) as store:
        write(store, 2, (b"a", b"1"))
        table = BytesTable(cast("Any", Source(store)))
        with table.snapshot() as snapshot:
            now[0] = 200.0
            assert table.get(b"a") is None
            backend.remove_expired(None, 10)
            assert snapshot.get(b"a") == b"1"
            assert snapshot.positions == {0: 2, 3: 7}
    engine.close()


def test_a_key_in_another_text_is_found(tmp_path: Path) -> None:
    engine = find_engine("memory")(64 << 20)
    codec: EntityCodec[Any] = EntityCodec(model_of(JsonTick))
    backend = engine.open(tmp_path, StoreOptions(changelog=True))
    with closing(ChangelogStore("ticks", backend, 510, spellings=codec.spellings)) as store:
        write(store, 2, (b" 1.0", b"\x81\xa4text\xa1a"))
        table: Any = Table(cast("Any", Source(store)), codec, JsonTick, cast("Any", None))
        with table.snapshot() as snapshot:
            write(store, 3, (b" 1.0", None))
            assert snapshot.get(1) == JsonTick(1, "a")
            assert 1 in snapshot
            assert snapshot.get_many([1]) == [JsonTick(1, "a")]
            assert table.get(1) is None
    engine.close()


def test_an_abandoned_snapshot_keeps_nothing(store: ChangelogStore) -> None:
    table = BytesTable(cast("Any", Source(store)))
    write(store, 2, (b"a", b"1"), (b"b", b"2"))
    rows = table.snapshot().scan()  # nothing else refers to the snapshot
    assert list(rows) == [(b"a", b"1"), (b"b", b"2")]
    for _ in range(1_100):  # more than LMDB has readers
        assert table.snapshot().get(b"b") == b"2"
