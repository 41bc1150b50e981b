"""Tables read by ranges of keys: the same rows in the same order, whatever the format of the keys."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, cast
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statestore import EncodeError, Key, StoreClosedError, entity
from statestore.backends import StoreOptions, find_engine
from statestore.changelog.counts import Counts
from statestore.core import Readable, WriteRun
from statestore.entity import model_of
from statestore.errors import DecodeError
from statestore.fields.attributes import Alias, Int32
from statestore.serde.entities import EntityCodec
from statestore.serde.formats import FormatContext
from statestore.settings import RegistrySettings
from statestore.storage.changelog_store import ChangelogStore
from statestore.storage.layout import DATA, Position
from statestore.storage.view import StoreReader
from statestore.tables.table import Table

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
POOLS: dict[Any, list[Any]] = {
    int: [-(2**63), -(2**31), -257, -256, -2, -1, 0, 1, 2, 9, 10, 255, 256, 2**31 - 1, 2**63 - 1],
    Int32: [-(2**31), -257, -1, 0, 1, 9, 10, 255, 2**31 - 1],
    str: ["", "\0", "a", "a\0", "aa", "ab", 'a"', "a b", "b", "B", "ß", "\uffff", "\U0001f600", "\U0010ffff"],
    bytes: [b"", b"\0", b"\0\xff", b"a", b"ab", b"\xff", b"\xff\xff"],
    UUID: [UUID(int=number) for number in (0, 1, 2**64, 2**127 - 1, 2**127, 10**38, 2**128 - 1)],
    datetime: [EPOCH + timedelta(milliseconds=ms) for ms in (-(10**13), -1, 0, 1, 10**12, 10**13)],
    date: [date(1, 1, 1), date(1969, 12, 31), date(1970, 1, 1), date(2024, 2, 29), date(9999, 12, 31)],
}
MIXED: list[tuple[Any, ...]] = [(int, str), (str, int), (str, str), (date, UUID), (bytes, datetime, bytes)]
KEYS: list[tuple[str, tuple[Any, ...]]] = [
    *[("ordered", (kind,)) for kind in POOLS],
    *[("ordered", kinds) for kinds in MIXED],
    *[("kafka", (kind,)) for kind in (int, Int32, str, bytes, UUID)],
    ("raw", (bytes,)),
    *[("json", (kind,)) for kind in POOLS],
    *[("json", kinds) for kinds in MIXED],
    *[("avro", (kind,)) for kind in POOLS],
    *[("avro", kinds) for kinds in MIXED],
]
CONTEXT = FormatContext(RegistrySettings(url="mock://scans"))


@cache
def entity_of(key_format: str, kinds: tuple[Any, ...]) -> type[Any]:
    """Return an entity with key fields ``k0``, ``k1``, … and a value."""
    types = [Annotated[int, Key, Int32] if kind is Int32 else Annotated[kind, Key] for kind in kinds]
    fields: list[Any] = [(f"k{number}", type_) for number, type_ in enumerate(types)]
    made = dataclasses.make_dataclass("Row", [*fields, ("text", str)], frozen=True, slots=True)
    return entity(made, topic="rows", key_format=key_format)


class Bound(Readable):
    """As much of a binding as reading takes."""

    def __init__(self, store: ChangelogStore) -> None:
        self.readable: ChangelogStore = store
        self.name = "rows"
        self.mirror = SimpleNamespace(counts=Counts())


class Filled:
    """A table over a store that is written without Kafka."""

    def __init__(self, store: ChangelogStore, cls: type[Any]) -> None:
        self.store, self.cls = store, cls
        self.codec: EntityCodec[Any] = EntityCodec(model_of(cls), CONTEXT)
        binding = Bound(store)
        self.counts: Counts = binding.mirror.counts
        self.table: Table[Any] = Table(cast("Any", binding), self.codec, cls, cast("Any", None))

    def put(self, key: bytes, payload: bytes | None, timestamp: int = 1) -> None:
        run = WriteRun(DATA)
        run.write(key, payload, timestamp)
        self.store.apply(run, {0: Position(1)})

    def add(self, values: tuple[Any, ...], text: str = "x") -> None:
        self.put(*self.codec.encode(self.cls(*values, text)))

    def delete(self, values: tuple[Any, ...]) -> None:
        self.put(self.codec.encode_key(values), None)


@contextmanager
def filled(cls: type[Any], backend: str = "memory", path: Path = Path("unused")) -> Iterator[Filled]:
    engine = find_engine(backend)(64 << 20)
    with ChangelogStore(
        "rows", engine.open(path / "store", StoreOptions(changelog=True)), engine.max_key_size
    ) as store:
        yield Filled(store, cls)
    engine.close()


def keys_of(rows: Iterator[Any]) -> list[tuple[Any, ...]]:
    return [dataclasses.astuple(row)[:-1] for row in rows]


def in_range(key: tuple[Any, ...], start: Any, stop: Any, prefix: Any) -> bool:
    """The meaning of a range, by the values."""
    if start is not None and key[: len(start)] < start:
        return False
    if stop is not None and key[: len(stop)] >= stop:
        return False
    if not prefix:
        return True
    if len(prefix) == len(key) and isinstance(key[-1], str | bytes):
        return bool(key[:-1] == prefix[:-1] and key[-1].startswith(prefix[-1]))
    return bool(key[: len(prefix)] == prefix)


@pytest.mark.slow
@settings(max_examples=3 * settings().max_examples, deadline=None)
@given(st.sampled_from(KEYS), st.data())
def test_a_scan_is_a_filter_over_the_sorted_rows(
    declared: tuple[str, tuple[Any, ...]], data: st.DataObject
) -> None:
    key_format, kinds = declared
    whole = st.tuples(*[st.sampled_from(POOLS[kind]) for kind in kinds])
    bound = st.none() | whole.flatmap(lambda key: st.integers(0, len(key)).map(lambda count: key[:count]))
    with filled(entity_of(key_format, kinds)) as rows:
        added, deleted = data.draw(st.sets(whole)), data.draw(st.sets(whole, max_size=3))
        for key in added:
            rows.add(key, repr(key))
        for key in deleted:
            rows.delete(key)
        left = sorted(added - deleted)
        table = rows.table
        assert keys_of(table.scan()) == left
        assert table.count() == len(left)
        assert {key: getattr(table.get(*key), "text", None) for key in added | deleted} == {
            key: repr(key) if key in left else None for key in added | deleted
        }
        assert all((key in table) == (key in left) for key in added | deleted)
        for _ in range(5):
            start, stop, prefix = data.draw(bound), data.draw(bound), data.draw(bound)
            reverse, limit = data.draw(st.booleans()), data.draw(st.none() | st.integers(0, 4))
            wanted = [key for key in left if in_range(key, start, stop, prefix)]
            found = table.scan(start, stop, prefix, reverse, limit)
            assert keys_of(found) == (wanted[::-1] if reverse else wanted)[:limit]


@settings(max_examples=10 * settings().max_examples, deadline=None)
@given(st.sampled_from(KEYS), st.data())
def test_a_key_has_bytes_of_its_own_and_comes_back(
    declared: tuple[str, tuple[Any, ...]], data: st.DataObject
) -> None:
    key_format, kinds = declared
    kept: dict[Any, Any] = {
        int: st.integers(-(2**63), 2**63 - 1),
        Int32: st.integers(-(2**31), 2**31 - 1),
        str: st.text(),
        bytes: st.binary(),
        UUID: st.uuids(),
        datetime: st.datetimes(timezones=st.just(UTC)),
        date: st.dates(),
    }
    one, other = data.draw(st.tuples(*[st.tuples(*[kept[kind] for kind in kinds])] * 2))
    codec: EntityCodec[Any] = EntityCodec(model_of(entity_of(key_format, kinds)), CONTEXT)
    assert (codec.encode_key(one) == codec.encode_key(other)) == (one == other)
    for key in (one, other):
        assert codec.decode_key(codec.encode_key(key)) == key
        assert codec.key_encodings(key)[0] == codec.encode_key(key)


BACKENDS = ["memory", "rocksdb", "lmdb"]
LONGS = [-(2**63), -5, -1, 0, 3, 2**40]


@pytest.fixture(params=BACKENDS)
def longs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Filled]:
    """Rows with Java's longs as keys: two ranges of bytes."""
    with filled(entity_of("kafka", (int,)), request.param, tmp_path) as rows:
        for number in LONGS:
            rows.add((number,))
        yield rows


def test_negative_keys_come_first_although_their_bytes_come_last(longs: Filled) -> None:
    assert next(key for key, _ in longs.store.scan()) == bytes(8)
    assert [row.k0 for row in longs.table] == LONGS
    assert [row.k0 for row in longs.table.scan(reverse=True, limit=4)] == LONGS[:1:-1]
    assert [row.k0 for row in longs.table.scan(-1, 3)] == [-1, 0]
    assert [row.k0 for row in longs.table.scan(limit=0)] == []
    with pytest.raises(ValueError, match="limit must be None or >= 0"):
        longs.table.scan(limit=-1)


def test_a_scan_of_several_ranges_sees_one_instant(longs: Filled) -> None:
    rows = longs.table.scan()
    assert next(rows).k0 == LONGS[0]
    longs.add((4,))
    longs.delete((3,))
    assert [row.k0 for row in rows] == LONGS[1:]
    assert [row.k0 for row in longs.table.scan(0)] == [0, 4, 2**40]


@pytest.mark.parametrize("key_format", ["kafka", "json"])
def test_a_scan_that_has_ended_holds_no_snapshot(
    key_format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with filled(entity_of(key_format, (int,)), "lmdb", tmp_path) as rows:
        rows.add((1,))
        taken: list[StoreReader] = []
        snapshot = rows.store.snapshot

        def noted() -> StoreReader:
            taken.append(snapshot())
            return taken[-1]

        monkeypatch.setattr(rows.store, "snapshot", noted)
        scan = rows.table.scan()
        assert [row.k0 for row in scan] == [1]
        with pytest.raises(StoreClosedError):
            taken[0].get(b"1")
        assert next(scan, None) is None


@pytest.mark.parametrize("steps", [0, 1, 4])
def test_each_step_of_several_ranges_after_the_end_of_the_store_says_so(longs: Filled, steps: int) -> None:
    rows = longs.table.scan()
    for _ in range(steps):
        next(rows)
    longs.store.close()
    for _ in range(2):
        with pytest.raises(StoreClosedError):
            next(rows)


def test_a_key_that_is_no_key_of_the_class_does_not_end_the_scan(longs: Filled) -> None:
    longs.put(b"\xff\xff", b"\x81\xa4text\xa1x", timestamp=77)
    found: list[Any] = []
    rows = longs.table.scan()
    while True:
        try:
            found.append(next(rows).k0)
        except DecodeError as error:
            found.append(str(error))
        except StopIteration:
            break
    (message,) = [one for one in found if isinstance(one, str)]
    assert message == (
        "table 'rows', key b'\\xff\\xff', timestamp 77 ms: Row: not a key of (k0): LongSerializer writes 8 "
        "bytes, but the stored key has 2: b'\\xff\\xff'"
    )
    assert [one for one in found if one != message] == LONGS
    assert longs.counts.decode_errors == 1


def test_a_long_key_is_not_told_in_full(longs: Filled) -> None:
    longs.put(b"\xff" * 500, b"\x81\xa4text\xa1x")
    with pytest.raises(DecodeError) as caught:
        longs.table.to_list()
    assert len(str(caught.value)) < 600


def test_a_limit_counts_keys_that_are_none_of_the_class() -> None:
    with filled(entity_of("json", (int,))) as rows:
        rows.put(b"{", b"\x81\xa4text\xa1x")
        rows.add((1,))
        rows.add((2,))
        assert list(rows.table.scan(limit=0)) == []
        scan = rows.table.scan(limit=2)
        with pytest.raises(DecodeError, match="not a key"):
            next(scan)
        assert [row.k0 for row in scan] == [1]


@pytest.mark.parametrize(
    ("key_format", "kinds", "bounds", "said"),
    [
        ("ordered", (int, str), (), "ordered keys: one seek, in key order"),
        ("kafka", (str,), ("a",), "kafka keys: one seek, in key order"),
        ("kafka", (UUID,), (), "kafka keys: one seek, in key order"),
        ("kafka", (int,), (), "kafka keys: 2 seeks (in byte order, negative keys come last), in key order"),
        (
            "kafka",
            (int,),
            (-1, 1),
            "kafka keys: 2 seeks (in byte order, negative keys come last), in key order",
        ),
        ("kafka", (int,), (0,), "kafka keys: one seek, in key order"),
        ("kafka", (int,), (None, 0), "kafka keys: one seek, in key order"),
        ("kafka", (int,), (None, None, 5), "kafka keys: one seek, in key order"),
        ("kafka", (int,), (3, 3), "kafka keys: no seek: nothing can be there"),
        ("json", (int, str), (), "json keys: full scan, filtered and sorted into key order"),
        ("raw", (bytes,), (b"a",), "raw keys: one seek, in key order"),
    ],
)
def test_explain_says_how_a_range_is_found(
    key_format: str, kinds: tuple[Any, ...], bounds: tuple[Any, ...], said: str
) -> None:
    with filled(entity_of(key_format, kinds)) as rows:
        assert rows.table.explain(*bounds) == said


@pytest.mark.parametrize(
    ("key_format", "kinds", "values", "message"),
    [
        ("kafka", (int,), ("1",), r"Row\.k0: expected int, got '1'"),
        ("kafka", (int,), (True,), r"Row\.k0: expected int, got True"),
        ("kafka", (int,), (2**63,), r"Row\.k0: expected int of 64 bits"),
        ("kafka", (Int32,), (2**31,), r"Row.* 32 bits"),
        ("kafka", (int,), (1, 2), r"Row \(k0\): the key is \(int\), got 2 values"),
        ("kafka", (UUID,), ("1",), r"Row\.k0: expected UUID, got '1'"),
        ("kafka", (UUID,), (UUID(int=1), 2), r"Row \(k0\): the key is \(uuid\), got 2 values"),
        ("kafka", (str,), (b"1",), r"Row\.k0: expected str, got b"),
        ("raw", (bytes,), ("1",), r"Row\.k0: expected bytes, got '1'"),
        ("ordered", (int, str), (1, 2), r"Row\.k1: expected str, got 2"),
        ("json", (int, str), (1, 2), r"Row\.k1: expected str, got 2"),
        ("json", (int, str), (1, "a", 2), r"Row \(k0, k1\): the key is \(k0, k1\), got 3 values"),
    ],
)
def test_what_is_no_key_is_refused_naming_the_field(
    key_format: str, kinds: tuple[Any, ...], values: tuple[Any, ...], message: str
) -> None:
    with filled(entity_of(key_format, kinds)) as rows:
        reads: list[Callable[[], object]] = [
            lambda: rows.table.get(*values),
            lambda: rows.table.scan(values),
            lambda: rows.table.scan(None, values),
            lambda: rows.table.explain(prefix=values),
            lambda: values in rows.table,
        ]
        for read in reads:
            with pytest.raises(EncodeError, match=message):
                read()


@entity(topic="renamed", key_format="json")
@dataclasses.dataclass(frozen=True, slots=True)
class Renamed:
    symbol: Annotated[str, Key, Alias("name")]
    day: Annotated[int, Key]
    text: str


TEXT = b"\x81\xa4text\xa1"


@pytest.fixture(params=BACKENDS)
def renamed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Filled]:
    with filled(Renamed, request.param, tmp_path) as rows:
        yield rows


def test_a_row_under_two_encodings_is_the_newest_and_counted(renamed: Filled) -> None:
    old, new = b'{"name":"a","day":1}', b'{"symbol":"a","day":1}'
    renamed.put(old, TEXT + b"o", timestamp=5)
    assert renamed.table.get("a", 1) == Renamed("a", 1, "o")
    renamed.put(new, TEXT + b"n", timestamp=4)
    assert renamed.counts.duplicate_keys == 0
    assert renamed.table.get("a", 1) == Renamed("a", 1, "o")
    assert renamed.counts.duplicate_keys == 1
    renamed.put(new, TEXT + b"m", timestamp=6)
    assert renamed.table.get("a", 1) == renamed.table.to_list()[0] == Renamed("a", 1, "m")
    assert renamed.table.count() == len(renamed.table.to_list()) == 1
    assert renamed.counts.duplicate_keys == 5
    assert ("a", 1) in renamed.table
    renamed.put(new, None)
    assert renamed.table.get("a", 1) == Renamed("a", 1, "o")
    renamed.put(old, None)
    assert ("a", 1) not in renamed.table
    assert renamed.table.get("a", 1) is None
    assert renamed.counts.non_canonical_keys == 0


@pytest.mark.parametrize("texts", [(b"x", b"y"), (b"y", b"x")])
def test_of_two_rows_of_the_same_age_get_and_scan_take_the_same(
    renamed: Filled, texts: tuple[bytes, bytes]
) -> None:
    for name, text in zip((b"name", b"symbol"), texts, strict=True):
        renamed.put(b'{"%b":"a","day":1}' % name, TEXT + text, timestamp=5)
    assert [renamed.table.get("a", 1)] == renamed.table.to_list()


def test_a_key_in_another_text_is_found_by_scans(renamed: Filled) -> None:
    renamed.put(b'{"day": 1, "symbol": "a"}', TEXT + b"x")
    renamed.put(b'{"symbol":"a","day":-1}', TEXT + b"y")
    assert renamed.table.get("a", -1) == Renamed("a", -1, "y")
    assert renamed.table.to_list() == [Renamed("a", -1, "y"), Renamed("a", 1, "x")]


def test_rows_in_no_order_of_bytes_are_sorted_as_of_one_instant(renamed: Filled) -> None:
    for day in (10, 9, -1):
        renamed.add(("b", day))
    rows = renamed.table.scan(limit=2)
    renamed.delete(("b", -1))
    renamed.add(("a", 0))
    assert [(row.symbol, row.day) for row in rows] == [("b", -1), ("b", 9)]
    assert [row.day for row in renamed.table.scan(("a",), ("b", 10))] == [0, 9]
    with pytest.raises(ValueError, match="limit must be None or >= 0"):
        renamed.table.scan(limit=-1)


def test_each_step_of_sorted_rows_after_the_end_of_the_store_says_so(renamed: Filled) -> None:
    for day in range(3):
        renamed.add(("b", day))
    rows = renamed.table.scan()
    next(rows)
    renamed.store.close()
    for _ in range(2):
        with pytest.raises(StoreClosedError):
            next(rows)


def test_keys_that_are_none_come_first_where_rows_are_sorted_and_do_not_end_the_scan(renamed: Filled) -> None:
    renamed.add(("b", 1))
    renamed.put(b"{}", TEXT + b"x", timestamp=9)
    rows = renamed.table.scan()
    with pytest.raises(DecodeError, match=r"timestamp 9 ms: Renamed: not a key of .*symbol is missing"):
        next(rows)
    assert [row.day for row in rows] == [1]
    assert renamed.counts.decode_errors == 1
    assert renamed.table.count() == 2
