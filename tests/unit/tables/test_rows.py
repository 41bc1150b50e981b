"""Rows of a table of entities, over a store that was filled without Kafka."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, cast

import pytest

from statestore import Key, StoreClosedError, entity
from statestore.backends import StoreOptions, find_engine
from statestore.core import Readable, WriteRun
from statestore.entity import model_of
from statestore.errors import DecodeError
from statestore.serde.entities import EntityCodec
from statestore.storage.changelog_store import ChangelogStore
from statestore.storage.layout import DATA, Position
from statestore.tables.table import BytesTable, Table

COUNT = 2_000


@entity(topic="ticks")
@dataclass(frozen=True, slots=True)
class Tick:
    number: Annotated[int, Key]
    text: str
    ratio: float | None = None


@entity(topic="checked")
@dataclass
class Checked:
    """The same rows; objects that only the class can make."""

    number: Annotated[int, Key]
    text: str
    ratio: float | None = None

    def __post_init__(self) -> None:
        assert isinstance(self.text, str)


CODEC: EntityCodec[Tick] = EntityCodec(model_of(Tick))
TICKS = [Tick(number, f"text {number}" * (number % 4), number / 7) for number in range(-5, COUNT - 5)]


@pytest.fixture(params=["memory", "rocksdb", "lmdb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ChangelogStore]:
    engine = find_engine(request.param)(64 << 20)
    store = ChangelogStore(
        "ticks", engine.open(tmp_path / "store", StoreOptions(changelog=True)), engine.max_key_size
    )
    put(store, *map(CODEC.encode, TICKS))
    yield store
    store.close()
    engine.close()


class Bound(Readable):
    """As much of a binding as reading takes."""

    def __init__(self, store: ChangelogStore) -> None:
        self.readable: ChangelogStore = store
        self.name = "ticks"
        self.mirror = SimpleNamespace(counts=SimpleNamespace(decode_errors=0))


def put(store: ChangelogStore, *pairs: tuple[bytes, bytes]) -> None:
    run = WriteRun(DATA)
    for key, payload in pairs:
        run.write(key, payload, 1_234)
    store.apply(run, {0: Position(1)})


def table_of(store: ChangelogStore, cls: type = Tick) -> tuple[Table[Any], SimpleNamespace]:
    """Return a table, and what its mirror counts."""
    binding = Bound(store)
    return Table(
        cast("Any", binding), EntityCodec(model_of(cls)), cls, cast("Any", None)
    ), binding.mirror.counts


def test_all_ways_to_read_give_the_same_rows(store: ChangelogStore) -> None:
    table, counts = table_of(store)
    seen: list[Tick] = []
    table.for_each(seen.append)
    assert table.to_list() == list(table) == list(table.scan()) == seen == TICKS
    assert [table.get(tick.number) for tick in TICKS] == TICKS
    assert table.count() == COUNT
    assert list(table.scan(reverse=True)) == TICKS[::-1]
    assert list(table.scan(-2, 700)) == TICKS[3:705]
    assert list(table.scan(-2, 700, reverse=True, limit=600)) == TICKS[105:705][::-1]
    assert list(table.scan(limit=0)) == []
    assert counts.decode_errors == 0


def test_a_class_that_has_to_be_called_gives_the_same_rows(store: ChangelogStore) -> None:
    table, _ = table_of(store, Checked)
    assert [(row.number, row.text, row.ratio) for row in table.to_list()] == [
        (tick.number, tick.text, tick.ratio) for tick in TICKS
    ]
    assert {type(row) for row in table} == {Checked}


def test_other_payloads_are_rows_as_ever(store: ChangelogStore) -> None:
    key = CODEC.encode_key((3,))
    put(store, (key, b"\x83\xa5other\x01\xa5ratio\x02\xa4text\xa1x"))
    table, counts = table_of(store)
    assert table.to_list()[8] == table.get(3) == Tick(3, "x", 2.0)
    assert counts.decode_errors == 0


@pytest.mark.parametrize("cls", [Tick, Checked])
def test_a_row_that_does_not_fit_is_told_and_counted_and_does_not_end_the_scan(
    store: ChangelogStore, cls: type
) -> None:
    key = CODEC.encode_key((3,))
    put(store, (key, b"\x82\xa4text\x01\xa5ratio\xc0"))
    table, counts = table_of(store, cls)
    rows = table.scan()
    for _ in range(8):
        next(rows)
    with pytest.raises(DecodeError) as caught:
        next(rows)
    assert str(caught.value) == (
        f"table 'ticks', key {key!r}, timestamp 1234 ms: {cls.__name__}.text: Expected `str`, got `int`: 1 "
        "(declared str, key (3,))"
    )
    assert counts.decode_errors == 1
    assert next(rows).number == 4
    for read in (table.to_list, lambda: table.for_each(print), lambda: table.get(3)):
        with pytest.raises(DecodeError):
            read()
    assert counts.decode_errors == 4


@pytest.mark.parametrize("steps", [0, 1, 700])
def test_each_step_after_the_end_of_the_store_says_so(store: ChangelogStore, steps: int) -> None:
    tables: list[Any] = [table_of(store)[0], table_of(store, Checked)[0]]
    tables.append(BytesTable(cast("Any", Bound(store))))
    scans = [table.scan() for table in tables]
    scans.append(store.scan())
    for scan in scans:
        for _ in range(steps):
            next(scan)
    store.close()
    for scan in scans:
        for _ in range(2):
            with pytest.raises(StoreClosedError):
                next(scan)


def test_a_scan_sees_one_instant(store: ChangelogStore) -> None:
    table, _ = table_of(store)
    rows = table.scan()
    put(store, CODEC.encode(Tick(COUNT, "later")))
    assert list(rows) == TICKS
    assert table.count() == COUNT + 1
