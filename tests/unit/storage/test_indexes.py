"""Secondary indexes: equal to a fresh build after every history, and read in the order of the values."""

from __future__ import annotations

import contextlib
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, make_dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from statestore import F, Key, core, entity
from statestore.backends import Backend, Batch, Engine, KeyRange, StoreOptions, find_engine
from statestore.core import ALL_PARTITIONERS, WriteRun
from statestore.entity import model_of
from statestore.errors import DecodeError
from statestore.serde.entities import EntityCodec
from statestore.serde.indexes import EntityIndexes, IndexCodec
from statestore.storage import changelog_store, indexes
from statestore.storage.changelog_store import ChangelogStore
from statestore.storage.indexes import ReadyIndex
from statestore.storage.layout import (
    COMPLETE,
    DATA,
    DROPPED,
    HEADER,
    INDEX_MARKS,
    INDEXES,
    Position,
    index_entry,
    index_marks_of,
    position_pairs,
    timestamp_of,
    undecoded_entry,
)
from statestore.storage.view import StoreReader
from tests.unit.storage import index_process

NOW = 4_000_000_000_000
"""A time in ms after which no row ends."""
LIFE = 3600.0


def declared(*given: Any) -> type:
    @dataclass(frozen=True)
    class Row:
        number: Annotated[int, Key]
        name: Annotated[str, Key]
        city: str | None
        score: float
        price: Decimal | None = None
        note: str = ""
        seen: bool = False

    return entity(Row, topic="rows", indexes=list(given))


CHOICES = [
    declared(),
    declared(F.city),
    declared((F.city, F.score), F.note),
    declared(F.price, (F.seen, F.price, F.note), (F.note, F.number)),
    declared(F.city, F.price),
]
CODEC: EntityCodec[Any] = EntityCodec(model_of(CHOICES[0]))


def row_of(key: bytes, value: bytes) -> Any:
    return CODEC.decode(key, value)


def indexes_of(cls: type) -> EntityIndexes | None:
    model = model_of(cls)
    return EntityIndexes(model) if model.indexes else None


def order_of(value: Any) -> tuple[Any, ...]:
    """Return what sorts values as an index does: ``None`` first, NaN last."""
    if value is None:
        return (0,)
    if value != value:
        return (2,)
    return 1, value


def naive(store: StoreReader, codec: IndexCodec) -> list[bytes]:
    """Return the stored keys of the rows of a store, sorted by the values of an index."""
    rows = [(key, row_of(key, value)) for key, value in store.scan()]
    rows.sort(key=lambda one: (*(order_of(getattr(one[1], name)) for name in codec.names), one[0]))
    return [key for key, _ in rows]


def check_reads(store: ChangelogStore) -> None:
    """Compare every index that may be read with sorting and filtering all rows."""
    with store.view.snapshot() as snapshot:
        for index in snapshot.indexes:
            check_index(snapshot, index)


def check_index(snapshot: StoreReader, index: ReadyIndex) -> None:
    def read(*arguments: Any) -> list[bytes]:
        return [key[len(DATA) :] for key, _ in snapshot.scan_index(index, *arguments)]

    wanted = naive(snapshot, index.codec)
    assert read() == wanted
    assert read(None, None, True) == wanted[::-1]
    assert read(None, None, False, 3) == wanted[:3]
    first = index.codec.names[0]
    values = {key: getattr(row_of(key, snapshot.get(key, b"")), first) for key in wanted}
    for value in {repr(one): one for one in values.values()}.values():
        prefix = index.codec.prefix([value])
        at = KeyRange(prefix=prefix)
        equal = [key for key in wanted if order_of(values[key]) == order_of(value)]
        assert read(at.start, at.stop) == equal
        assert read(at.start, at.stop, True, 2) == equal[::-1][:2]
        assert read(prefix) == [key for key in wanted if order_of(values[key]) >= order_of(value)]
        assert read(None, prefix) == [key for key in wanted if order_of(values[key]) < order_of(value)]


def check_content(backend: Backend, rows: EntityIndexes | None) -> None:
    """Compare each index with a fresh build of the rows that it should have."""
    marks = index_marks_of(backend.scan(INDEX_MARKS))
    stored = dict(backend.scan(KeyRange(prefix=INDEXES)))
    for codec_at, codec in enumerate(() if rows is None else rows.indexes):
        [mark] = [one for one in marks if one.fingerprint == codec.fingerprint and one.state != DROPPED]
        fresh = {}
        assert rows is not None
        for name, value in backend.scan(KeyRange(prefix=DATA)):
            if mark.state == COMPLETE or name < mark.cursor:
                key = name[len(DATA) :]
                suffixes = rows.suffixes(key, value[HEADER:], partial(timestamp_of, value))
                pair = (
                    undecoded_entry(mark.prefix, key)
                    if suffixes is None
                    else index_entry(mark.prefix, *suffixes[codec_at])
                )
                fresh[pair[0]] = pair[1]
        found = {key: value for key, value in stored.items() if key.startswith(mark.prefix)}
        assert found == fresh, (codec.name, mark)
    owned = tuple(one.prefix for one in marks)
    assert not [key for key in stored if not key.startswith(owned or (b"-",))]


FLOATS = [0.0, -0.0, 1.5, -1.5, math.inf, -math.inf, math.nan, 5e-324]
DECIMALS = [None, *map(Decimal, ("0", "-0.00", "1.0", "1.00", "1.01", "-1.01", "-1.1", "12", "1E+9", "1E-9"))]
NOTES = ["", "a", "a\0", "a\0b", "ü", "x" * 480, "x" * 500, "x" * 500 + "y", "x" * 700, "x" * 700 + "z"]
keys = st.sampled_from([(n, name) for n in (-1, 0, 7) for name in ("", "a", "a\0", "k" * 400)])
rows: Any = st.builds(
    dict,
    city=st.sampled_from([None, "", "a", "b", "b\0", "London"]),
    score=st.sampled_from(FLOATS),
    price=st.sampled_from(DECIMALS),
    note=st.sampled_from(NOTES),
    seen=st.booleans(),
)
payloads = st.none() | rows | rows | rows | st.just(b"\xc1 does not decode")
times = st.sampled_from([-1, 1, NOW, NOW + 1])
batches = st.lists(st.tuples(keys, payloads, times), max_size=9)


class Histories(RuleBasedStateMachine):
    """One store with its indexes; what it should contain is what it does contain, indexed anew."""

    def __init__(self, engine: Engine, parent: Path) -> None:
        super().__init__()
        self.engine = engine
        self.home = tempfile.TemporaryDirectory(dir=parent)
        self.path = Path(self.home.name) / "store0"
        self.offset = 0

    @initialize(choice=st.sampled_from(CHOICES))
    def start(self, choice: type) -> None:
        self.open(choice)

    def open(self, choice: type) -> None:
        self.rows = indexes_of(choice)
        self.backend = self.engine.open(self.path, StoreOptions(changelog=True))
        self.store = ChangelogStore("Row_Store", self.backend, 510, indexes=self.rows)
        self.store.track(3, is_new=True)

    def run_of(self, batch: list[Any], namespace: bytes, partition: bytes = b"") -> WriteRun:
        run = WriteRun(namespace)
        for values, payload, at in batch:
            encoded = payload
            if isinstance(payload, dict):
                key, encoded = CODEC.encode(CHOICES[0](*values, **payload))
            else:
                key = CODEC.encode_key(values)
            run.write(key + partition, encoded, at)
        return run

    @rule(batch=batches, others=batches, partition=st.integers(0, 2), bulk=st.booleans())
    def write(self, batch: list[Any], others: list[Any], partition: int, bulk: bool) -> None:
        self.offset += 1
        strays = self.run_of(others[:2], b"", partition.to_bytes(4)) if others else None
        changelog_store.SMALL_COUNT = -1 if bulk else 10_000
        self.store.apply(self.run_of(batch, DATA), {0: Position(self.offset)}, strays, ALL_PARTITIONERS)

    @rule(seconds=st.sampled_from([0.0, 0.0, 60.0]))
    def tend(self, seconds: float) -> None:
        self.store.tend_indexes(seconds)

    @rule()
    def prepare(self) -> None:
        while not self.store.prepared:
            assert self.store.tend_indexes(60.0)

    @rule()
    def finish(self) -> None:
        while self.store.tend_indexes(60.0):
            pass
        marks = index_marks_of(self.backend.scan(INDEX_MARKS))
        assert len(marks) == len(() if self.rows is None else self.rows.indexes)

    @rule()
    def flush(self) -> None:
        self.store.flush()

    @rule(ends=st.booleans())
    def end_rows(self, ends: bool) -> None:
        self.store.end_rows_after(LIFE if ends else None)
        self.store.sweep(0)

    @rule(choice=st.sampled_from(CHOICES))
    def reopen(self, choice: type) -> None:
        self.store.close()
        self.open(choice)

    @rule(choice=st.sampled_from(CHOICES))
    def crash(self, choice: type) -> None:
        """Open what is on disk at this moment."""
        if self.engine.persistent:
            copy = copied(self.path, Path(self.home.name))
            self.store.close()
            self.path = copy
        else:
            self.store.close()
        self.open(choice)

    @invariant()
    def is_as_built_anew(self) -> None:
        check_content(self.backend, self.rows)

    @invariant()
    def is_read_in_order(self) -> None:
        try:
            check_reads(self.store)
        except DecodeError:
            raise AssertionError("an index is read while a row does not decode") from None

    def teardown(self) -> None:
        self.store.close()
        self.home.cleanup()


def sizes(path: Path) -> dict[Path, int]:
    found = {}
    for file in path.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            found[file] = file.stat().st_size
    return found


def copied(path: Path, parent: Path) -> Path:
    """Return a copy of the files of an open store, as ``kill -9`` would leave them."""
    for _ in range(100):
        copy = Path(tempfile.mkdtemp(dir=parent)) / "store"
        before = sizes(path)
        with contextlib.suppress(shutil.Error):  # the engine has removed a file meanwhile
            shutil.copytree(path, copy)
            if sizes(path) == before:
                return copy
    raise AssertionError("the files of the store never stay for as long as it takes to copy them")


@pytest.fixture(params=["memory", "rocksdb", "lmdb"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    kind = find_engine(request.param)
    engine = kind(16 << 20, kind.options_type())
    yield engine
    engine.close()


@pytest.mark.slow
def test_any_history(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexes, "SMALL_COUNT", 3)
    monkeypatch.setattr(indexes, "LOOKED_AT", 1)
    monkeypatch.setattr(indexes, "AT_ONCE", 2)
    monkeypatch.setattr(changelog_store, "SMALL_COUNT", 10_000)
    examples = 60 if engine.name == "memory" else 12
    machine: Any = lambda: Histories(engine, tmp_path)  # noqa: E731
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


KILLS = 60 if os.environ.get("STATESTORE_SOAK") == "1" else 4


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["rocksdb", "lmdb"])
def test_killed_at_any_instant(backend: str, tmp_path: Path) -> None:
    """Rows and indexes are those of one batch, and what was written before the last flush is there."""
    noise = random.Random(7)
    kind = find_engine(backend)
    least = 0
    for _ in range(KILLS):
        command = [sys.executable, index_process.__file__, str(tmp_path / "store"), backend]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            for _ in range(1 + noise.randrange(30)):
                line = process.stdout.readline()
                assert line, "it ended by itself"
            process.kill()
        engine = kind(16 << 20, kind.options_type())
        rows = EntityIndexes(model_of(index_process.Row))
        with closing(engine.open(tmp_path / "store", StoreOptions(changelog=True))) as opened:
            store = ChangelogStore("Row_Store", opened, 510, indexes=rows)
            # Without bulk loads nothing need be on disk when the first batch is told.
            number = store.positions().get(0, Position(0)).offset
            assert number >= least
            assert dict(store.scan()) == index_process.content(number)
            check_content(opened, rows)
            while not store.prepared:
                store.tend_indexes(60.0)
            check_content(opened, rows)
            store.flush()
            least = number
        engine.close()
    assert least, "no batch was ever written"


def test_a_table_without_indexes_writes_nothing_of_them(tmp_path: Path, engine: Engine) -> None:
    with closing(engine.open(tmp_path / "store", StoreOptions(changelog=True))) as backend:
        store = ChangelogStore("Row_Store", backend, 510)
        run = WriteRun(DATA)
        run.write(b"k", b"v", 1)
        store.apply(run, {0: Position(1)})
        assert store.prepared
        assert not store.tend_indexes(60.0)
        assert not list(backend.scan(INDEX_MARKS))
        assert [key[:1] for key, _ in backend.scan()] == [b"\0", DATA]


def written(
    backend: Backend, rows: EntityIndexes, number: int, *pairs: tuple[bytes, bytes | None]
) -> ChangelogStore:
    store = ChangelogStore("Row_Store", backend, 510, indexes=rows)
    run = WriteRun(DATA)
    for key, value in pairs:
        run.write(key, value, 1)
    store.apply(run, {0: Position(number)})
    return store


def test_rows_that_a_version_without_indexes_wrote_make_them_build_anew(
    tmp_path: Path, engine: Engine
) -> None:
    cls = declared(F.city)
    rows = EntityIndexes(model_of(cls))
    codec: EntityCodec[Any] = EntityCodec(model_of(cls))
    pairs = [codec.encode(cls(number, "x", "abc"[number % 3], 1.0)) for number in range(6)]
    with closing(engine.open(tmp_path / "store", StoreOptions(changelog=True))) as backend:
        written(backend, rows, 4, *pairs[:4])
        again = ChangelogStore("Row_Store", backend, 510, indexes=rows)
        assert again.prepared
        assert len(again.indexes) == 1
        old = Batch([(DATA + key, b"\0" * HEADER + value) for key, value in pairs[4:]], [DATA + pairs[0][0]])
        backend.write(Batch([*old.puts, *position_pairs({0: Position(7)})], old.deletes))
        found = ChangelogStore("Row_Store", backend, 510, indexes=rows)
        assert not found.prepared
        assert not found.indexes
        check_content(backend, rows)
        while found.tend_indexes(60.0):
            pass
        assert found.prepared
        check_content(backend, rows)
        check_reads(found)
        assert ChangelogStore("Row_Store", backend, 510, indexes=rows).prepared


def test_a_row_that_does_not_decode_ends_the_reading_of_indexes_until_it_does(
    tmp_path: Path, engine: Engine
) -> None:
    """By another record, or by another class."""
    made = [
        make_dataclass("Row", [("key", Annotated[str, Key]), ("value", int), *more])
        for more in ([], [("old", int)], [("old", int, field(default=0))])
    ]
    one, strict, lenient = (
        EntityIndexes(model_of(entity(cls, topic="t", indexes=[F.value]))) for cls in made
    )
    good, bad = b"\x81\xa5value\x05", b"\xc1"
    with closing(engine.open(tmp_path / "store", StoreOptions(changelog=True))) as backend:
        store = written(backend, one, 1, (b"a", good), (b"b", bad))
        assert (store.indexes, store.prepared) == ((), True)
        assert store.index_states == {"value": "not used: a row does not decode"}
        store = written(backend, one, 2, (b"b", good))
        assert len(store.indexes) == 1
        store = ChangelogStore("Row_Store", backend, 510, indexes=strict)
        assert not store.prepared
        while not store.prepared:
            store.tend_indexes(60)
        assert not store.indexes, "old lacks a default"
        store = ChangelogStore("Row_Store", backend, 510, indexes=lenient)
        while not store.prepared:
            store.tend_indexes(60)
        assert len(store.indexes) == 1
        check_content(backend, lenient)


@pytest.mark.skipif(not core.uses("bulk"), reason="no bulk load")
def test_a_snapshot_goes_on_reading_an_index_that_is_begun_anew(
    tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = indexes_of(CHOICES[1])
    assert rows is not None
    pairs = [CODEC.encode(CHOICES[0](number, "", "a", 1.0)) for number in range(20)]
    with closing(engine.open(tmp_path / "store", StoreOptions(changelog=True))) as backend:
        store = written(backend, rows, 1, *pairs[:10])
        with store.snapshot() as before:
            monkeypatch.setattr(changelog_store, "SMALL_COUNT", 3)
            run = WriteRun(DATA)
            for key, value in pairs:
                run.write(key, value, 1)
            store.apply(run, {0: Position(2)})
            assert not store.prepared
            assert not store.indexes
            with store.snapshot() as amid:
                assert not amid.indexes
            while store.tend_indexes(60):
                pass
            assert store.prepared
            [index] = before.indexes
            assert len(list(before.scan_index(index))) == 10
            with store.snapshot() as after:
                [index] = after.indexes
                assert len(list(after.scan_index(index))) == 20
