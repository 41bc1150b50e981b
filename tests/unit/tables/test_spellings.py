"""JSON keys in other texts than ours: found, counted and listed by their values, on every engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import make_dataclass
from datetime import UTC, date, datetime
from itertools import count
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import pytest

from statestore import Key, entity
from statestore.backends import Backend, Batch, StoreOptions, find_engine
from statestore.changelog.counts import Counts
from statestore.core import WriteRun
from statestore.entity import EntityModel, model_of
from statestore.fields.attributes import Alias, Format, Name
from statestore.query.rows import count_rows, find, planned_rows, stored_keys
from statestore.serde.entities import EntityCodec
from statestore.storage.changelog_store import ChangelogStore
from statestore.storage.expiry import ExpiringBackend
from statestore.storage.layout import DATA, SPELLINGS, Position

PLACES = {0: Position(1)}
TIMES = count(1)


@pytest.fixture(params=["memory", "rocksdb", "lmdb"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    kind = find_engine(request.param)
    engine = kind(16 << 20, kind.options_type())
    with closing(engine.open(tmp_path / "store", StoreOptions(changelog=True))) as opened:
        yield opened
    engine.close()


@pytest.fixture
def in_memory(tmp_path: Path) -> Iterator[Backend]:
    kind = find_engine("memory")
    with closing(kind(16 << 20, kind.options_type()).open(tmp_path, StoreOptions(changelog=True))) as opened:
        yield opened


def model(*keys: Any, **declared: Any) -> EntityModel:
    fields = [(name, Annotated[(kind, Key, *attributes)]) for name, kind, *attributes in keys]
    cls = make_dataclass("Row", [*fields, ("number", int)])
    return model_of(entity(cls, topic="rows", key_format="json", **declared))


SHOPS = model(("shop", str), ("number_", int))


def store_of(backend: Backend, codec: EntityCodec[Any]) -> ChangelogStore:
    return ChangelogStore("Row_Store", backend, 510, spellings=codec.spellings)


def write(store: ChangelogStore, *changes: tuple[bytes, bytes | None], many: bool = False) -> None:
    run = WriteRun(DATA)
    for key, value in changes:
        run.write(key, value, next(TIMES))
    if many:  # so that the run is loaded in bulk
        for number in range(10_001):
            run.write(b'{"shop":"z","number_":%d}' % number, b"\x81\xa6number\x00", 1)
    store.apply(run, PLACES)


def value(number: int) -> bytes:
    return b"\x81\xa6number" + bytes([number])


def index(backend: Backend) -> list[bytes]:
    return [key for key, _ in backend.scan() if key.startswith(SPELLINGS)]


SPELLED = [
    json.dumps({"shop": "ä", "number_": 1}).encode(),
    json.dumps({"number_": 1, "shop": "ä"}, ensure_ascii=False).encode(),
    '{"shop":"ä","number_":1.0}'.encode(),
    '{"shop":"ä","number_":1e0}'.encode(),
    b'{"shop":"\\u00E4","number_":1}',
    '\n{ "shop" : "\u00e4" , "number_" : 1 }\n'.encode(),
    json.dumps({"shop": "ä", "number_": 1}, indent=2).encode(),
    b'{"\\u0073hop":"\\u00e4","number_":1}',
]


@pytest.mark.parametrize("many", [False, True])
def test_a_row_is_found_under_every_spelling(backend: Backend, many: bool) -> None:
    codec: EntityCodec[Any] = EntityCodec(SHOPS)
    with closing(store_of(backend, codec)) as store:
        counts = Counts()
        assert not store.has_spellings
        ours = codec.encode_key(("ä", 1))
        for number, key in enumerate(SPELLED):
            write(store, (key, value(number)), many=many and number == 0)
            assert find(store, codec, counts, ("ä", 1)) == (key, value(number)), key
            assert set(stored_keys(store, codec, ("ä", 1))) == {ours, *SPELLED[: number + 1]}
        assert store.respelled == len(SPELLED)
        assert find(store, codec, counts, ("a", 1)) is None
        with store.snapshot() as snapshot:
            assert set(stored_keys(snapshot, codec, ("ä", 1))) == {ours, *SPELLED}
        assert count_rows(store, codec, counts) == 1 + 10_001 * many
        write(store, (ours, value(99)))
        assert find(store, codec, counts, ("ä", 1)) == (ours, value(99)), "the newest"
        write(store, *((key, None) for key in stored_keys(store, codec, ("ä", 1))))
        assert find(store, codec, counts, ("ä", 1)) is None
        assert index(backend) == []


def test_a_store_of_canonical_keys_has_no_index(backend: Backend) -> None:
    codec: EntityCodec[Any] = EntityCodec(SHOPS)
    with closing(store_of(backend, codec)) as store:
        keys = [codec.encode_key((shop, 1)) for shop in ("", "a", "ä", "😀", '"', "\n", "\x7f")]
        write(store, *((key, value(1)) for key in keys), (b"no key", value(1)), (keys[0], None))
        assert not store.has_spellings
        assert index(backend) == []
        assert store.respelled == 0


def test_a_store_of_an_older_version_is_indexed_when_it_is_opened(backend: Backend) -> None:
    codec: EntityCodec[Any] = EntityCodec(SHOPS)
    old = ChangelogStore("Row_Store", backend, 510)
    write(old, *((key, value(1)) for key in SPELLED), (codec.encode_key(("b", 2)), value(2)), many=True)
    for _ in range(2):
        store = store_of(backend, codec)
        assert store.has_spellings
        assert set(stored_keys(store, codec, ("ä", 1))) == {codec.encode_key(("ä", 1)), *SPELLED}
        assert len(index(backend)) == len(SPELLED)


def test_the_index_is_made_anew_for_other_names(backend: Backend) -> None:
    old, new = model(("a", int), ("b", int)), model(("a", int), ("c", int, Name("C"), Alias("b")))
    first: EntityCodec[Any] = EntityCodec(old)
    spaced = b'{"a": 1,"b": 2}'
    write(store_of(backend, first), (spaced, value(1)), (first.encode_key((1, 3)), value(2)))
    second: EntityCodec[Any] = EntityCodec(new)
    write(store_of(backend, second), (b'{"a":1,"C":2 }', value(2)))
    store = store_of(backend, second)
    assert find(store, second, Counts(), (1, 2)) == (b'{"a":1,"C":2 }', value(2))
    assert {spaced, b'{"a":1,"C":2 }'} < set(stored_keys(store, second, (1, 2)))
    assert find(store, second, Counts(), (1, 3)) == (first.encode_key((1, 3)), value(2)), "by its alias"


NOON = datetime(2024, 5, 6, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("made", "values", "others"),
    [
        (model(("id", int)), (1000,), [b"1000.0", b"1e3", b" 1000", b"1000\n"]),
        (model(("id", int)), (0,), [b"-0", b"0.0"]),
        (
            model(("id", str)),
            ("a/b😀",),
            [b'"a\\/b\\uD83D\\uDE00" ', '"a/b😀"'.encode(), b'"\\u0061/b\\ud83d\\ude00"'],
        ),
        (
            model(("id", UUID)),
            (UUID(int=10),),
            [b'"0000000000000000000000000000000a"', b'"00000000-0000-0000-0000-00000000000A"'],
        ),
        (model(("id", date)), (date(2024, 1, 2),), [b' "2024-01-02"', b'"2024-01-0\\u0032"']),
        (
            model(("id", datetime)),
            (NOON,),
            [b'"2024-05-06T12:00:00+00:00"', b'"2024-05-06T14:00:00.000+02:00"', b'"2024-05-06 12:00:00Z"'],
        ),
        (model(("id", datetime, Format("epoch_s"))), (NOON,), [b"1714996800.0", b" 1714996800"]),
        (
            model(("id", datetime, Format("%d.%m.%Y"))),
            (NOON.replace(hour=0),),
            [b'"6.5.2024"', b' "06.05.2024"'],
        ),
        (model(("id", bytes)), (b"\0",), [b'"AB=="', b' "AA=="']),
        (
            model(("a", int), ("b", str), ksql=True),
            (1, "x"),
            [b'{"a":1,"b":"x"}', b'{"B":"x","A":1}', b'{"A": 1, "B": "x"}'],
        ),
        (
            model(("a", datetime), ("b", date), ksql=True),
            (NOON, date(1970, 1, 2)),
            [b'{"A":1714996800000,"B":1.0}'],
        ),
    ],
)
def test_every_type_of_key_has_its_spellings(
    in_memory: Backend, made: EntityModel, values: Any, others: list[bytes]
) -> None:
    codec: EntityCodec[Any] = EntityCodec(made)
    store = store_of(in_memory, codec)
    ours = codec.encode_key(values)
    write(store, (ours, value(0)))
    assert index(in_memory) == []
    for key in others:
        assert codec.decode_key(key) == codec.decode_key(ours)
        write(store, (key, value(1)))
    assert set(stored_keys(store, codec, values)) == {ours, *others}


def test_entries_end_with_their_rows(in_memory: Backend) -> None:
    codec: EntityCodec[Any] = EntityCodec(SHOPS)
    now = [1000.0]
    backend = ExpiringBackend(in_memory, 100.0, lambda: now[0])
    store = store_of(backend, codec)
    run = WriteRun(DATA)
    run.write(SPELLED[0], value(1), 1_000_000)
    store.apply(run, PLACES)
    assert find(store, codec, Counts(), ("ä", 1)) is not None
    now[0] = 1101.0
    assert stored_keys(store, codec, ("ä", 1)) == [codec.encode_key(("ä", 1))]
    assert backend.remove_expired(None, 10) == (None, 1)
    assert index(in_memory) == []


def test_entries_are_known_while_their_rows_are_hidden(in_memory: Backend) -> None:
    """The clock may go back, and a hidden row with it into sight."""
    codec: EntityCodec[Any] = EntityCodec(SHOPS)
    now = [1000.0]
    backend = ExpiringBackend(in_memory, 100.0, lambda: now[0])
    run = WriteRun(DATA)
    run.write(SPELLED[0], value(1), 1_000_000)
    store_of(backend, codec).apply(run, PLACES)
    in_memory.write(Batch([], [b"\x00spell"]))  # the entries are made anew when the store is opened
    now[0] = 1101.0
    store = store_of(backend, codec)
    now[0] = 1099.0
    assert find(store, codec, Counts(), ("ä", 1)) is not None
    now[0] = 1101.0
    store = store_of(backend, codec)
    write(store, (SPELLED[0], None))
    assert index(in_memory) == []


def test_a_scan_lists_each_value_once_in_order(in_memory: Backend) -> None:
    codec: EntityCodec[Any] = EntityCodec(SHOPS)
    store = store_of(in_memory, codec)
    write(
        store,
        *((key, value(number)) for number, key in enumerate(SPELLED)),
        (b'{"shop":"a", "number_":5}', value(9)),
    )
    counts = Counts()
    rows = list(
        planned_rows(
            store,
            codec,
            counts,
            codec.key_plan(),
            False,
            None,
            lambda _, key, payload: codec.decode(key, payload),
        ).rows
    )
    assert [(row.shop, row.number_, row.number) for row in rows] == [("a", 5, 9), ("ä", 1, len(SPELLED) - 1)]
    assert counts.non_canonical_keys == 0, "counted when they were applied"
