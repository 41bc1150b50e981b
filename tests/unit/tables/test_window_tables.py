"""Tables of windows against a dict of their records, on every engine, without Kafka."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from statestore import F, Key, WindowEnd, WindowSize, WindowStart, WindowTable, agg, entity
from statestore.backends import StoreOptions, find_engine
from statestore.changelog.counts import Counts
from statestore.changelog.readiness import Progress
from statestore.core import Readable, WriteRun, uses
from statestore.entity import EntityModel, model_of
from statestore.errors import DecodeError, EncodeError
from statestore.serde.entities import EntityCodec
from statestore.storage.changelog_store import ChangelogStore
from statestore.storage.layout import DATA, Position
from statestore.storage.view import StoreReader
from statestore.storage.window_expiry import WindowExpiry

MINUTE = 60_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY = datetime(2024, 3, 1, tzinfo=UTC)


def ms(time: datetime) -> int:
    return (time - EPOCH) // timedelta(milliseconds=1)


def at(minutes: float) -> datetime:
    return DAY + timedelta(minutes=minutes)


@entity(topic="counts", windows=[5], window_layout="sink", retention=60, key_format="kafka")
@dataclass(frozen=True, slots=True)
class Count:
    symbol: Annotated[str, Key]
    start: Annotated[datetime, WindowStart]
    end: Annotated[datetime, WindowEnd]
    size: Annotated[int, WindowSize]
    n: int


@entity(topic="joined", windows=[5], window_layout="changelog", retention=60, key_format="kafka")
@dataclass(frozen=True, slots=True)
class Joined:
    number: Annotated[int, Key]
    start: Annotated[int, WindowStart]
    n: int


@entity(topic="visits", windows="sessions", window_layout="sink", retention=60)
@dataclass(frozen=True, slots=True)
class Visit:
    country: Annotated[str, Key]
    user: Annotated[str, Key]
    start: Annotated[datetime, WindowStart]
    end: Annotated[datetime, WindowEnd]
    size: Annotated[int, WindowSize]
    n: int


@entity(
    topic="texts", windows=[5], window_layout="sink", retention=60, key_format="json", value_format="json"
)
@dataclass(frozen=True, slots=True)
class Text:
    symbol: Annotated[str, Key]
    start: Annotated[datetime, WindowStart]
    n: int


@entity(topic="numbers", windows=[5], window_layout="sink", retention=60)
@dataclass(frozen=True, slots=True)
class Number:
    symbol: Annotated[str, Key]
    number: Annotated[int, Key]
    start: Annotated[datetime, WindowStart]
    n: int


@entity(topic="wholes", windows=[5], window_layout="sink", retention=60, key_format="kafka")
@dataclass(frozen=True, slots=True)
class Whole:
    number: Annotated[int, Key]
    start: Annotated[datetime, WindowStart]
    n: int


def model(cls: type) -> EntityModel:
    of_class = model_of(cls)
    return of_class.of_window(of_class.windows[0])


class Opened(Readable):
    """A store of one window, and as much of a binding as reading takes."""

    def __init__(self, cls: type, engine: Any, path: Path) -> None:
        self.cls, self.model, self.engine, self.path = cls, model(cls), engine, path
        self.codec: EntityCodec[Any] = EntityCodec(self.model)
        self.name = "counts"
        self.mirror = SimpleNamespace(counts=Counts(), progress=Progress())
        self.offset = 0
        self.open()

    def open(self) -> None:
        assert self.model.window is not None
        backend = self.engine.open(self.path, StoreOptions(changelog=True))
        self.readable: ChangelogStore = ChangelogStore(
            "counts",
            WindowExpiry(backend, self.model.window),
            self.engine.max_key_size,
            spellings=self.codec.spellings,
        )

    def apply(self, records: list[tuple[bytes, bytes | None]], timestamp: int = -1) -> None:
        run = WriteRun(DATA)
        for key, payload in records:
            run.write(key, payload, timestamp)
        self.offset += len(records)
        self.readable.apply(run, {0: Position(self.offset)})

    def table(self) -> WindowTable[Any]:
        return WindowTable(cast("Any", self), self.codec, self.cls, cast("Any", None))


Opener = Callable[[type], Opened]


@pytest.fixture(params=["memory", "rocksdb", "lmdb"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    engine = find_engine(request.param)(64 << 20)
    with ExitStack() as stack:
        stack.callback(engine.close)
        opened: list[Opened] = []

        def give(cls: type) -> Opened:
            one = Opened(cls, engine, tmp_path / f"store{len(opened)}")
            opened.append(one)
            stack.callback(lambda: one.readable.close())
            return one

        yield give


SYMBOLS = st.sampled_from(["", "A", "A\0", "A\0\0\1", "A\0b", "AB", "B", "Ä"])
NUMBERS = st.sampled_from([-3, 0, 7])
TEXTS: dict[type, st.SearchStrategy[tuple[Any, ...]]] = {
    Count: st.tuples(SYMBOLS),
    Number: st.tuples(SYMBOLS, NUMBERS),
    Whole: st.tuples(NUMBERS),
    Text: st.tuples(SYMBOLS),
}
STARTS = st.integers(0, 30).map(lambda place: at(5 * place))
Rows = dict[tuple[Any, ...], int]
"""What there is: the value by key and start."""


def made(cls: type, key: tuple[Any, ...], n: int) -> Any:
    *values, start = key
    if cls is Count:
        return Count(values[0], start, start + timedelta(minutes=5), 5 * MINUTE, n)
    return cls(*values, start, n)


def check(table: WindowTable[Any], cls: type, rows: Rows, low: datetime, high: datetime) -> None:
    """Compare all reads with those of a dict; ``low`` and ``high`` are bounds of starts."""
    expected = [made(cls, key, rows[key]) for key in sorted(rows)]
    between = [row for row in expected if low <= row.start < high]
    assert table.to_list() == list(table.fetch_all()) == expected
    assert list(table.scan(reverse=True)) == list(table.fetch_all(reverse=True)) == expected[::-1]
    assert list(table.scan(reverse=True, limit=3)) == expected[::-1][:3]
    assert table.count() == len(expected)
    assert list(table.fetch_all(low, high)) == between
    assert list(table.fetch_all(ms(low), ms(high), reverse=True)) == between[::-1]
    assert table.where(F.start >= low, F.start < high).to_list() == between
    absent = tuple([0 if kind is int else "A" for kind in list(table._codec.key_types.values())[:-1]])
    for key in {name[:-1] for name in rows} | {absent}:
        check_key(table, key, expected, low, high)


def check_key(
    table: WindowTable[Any], key: tuple[Any, ...], expected: list[Any], low: datetime, high: datetime
) -> None:
    names = list(table._codec.key_types)[:-1]
    keys = {row: tuple([getattr(row, name) for name in names]) for row in expected}
    own = [row for row in expected if keys[row] == key]
    between = [row for row in own if low <= row.start < high]
    assert list(table.fetch(*key)) == list(table.scan(prefix=key)) == own
    assert list(table.fetch(*key, reverse=True)) == own[::-1]
    assert list(table.fetch(*key, start=low, stop=high)) == between
    assert list(table.scan((*key, low), (*key, high))) == between
    assert table.latest(*key) == (own[-1] if own else None)
    found = next((row for row in own if row.start == low), None)
    assert table.get(*key, low) == table.get(*key, start=ms(low)) == found
    equal = [F[name] == value for name, value in zip(names, key, strict=True)]
    told = table.where(*equal, F.start > low, F.start <= high)
    assert told.to_list() == [row for row in own if low < row.start <= high]
    # Bounds of several keys.
    after = [row for row in expected if (keys[row], row.start) >= (key, low)]
    assert list(table.scan(start=(*key, low))) == after
    assert list(table.scan((*key, low), prefix=key[:1])) == [row for row in after if keys[row][0] == key[0]]
    before = [row for row in expected if (keys[row], row.start) < (key, low)]
    assert list(table.scan(stop=(*key, low), reverse=True)) == before[::-1]
    assert list(table.scan(stop=key)) == [row for row in expected if keys[row] < key]
    least, most = (tuple([kind() for kind in map(type, key)]), tuple([_GREATEST[type(one)] for one in key]))
    assert list(table.scan((*least, low), most, key)) == [
        row for row in own if (key, row.start) >= (least, low)
    ]


_GREATEST = {str: "\U0010ffff", int: 99}


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("cls", [Count, Number, Text, Whole])
@given(data=st.data())
def test_reads_are_those_of_a_dict_that_forgets_by_event_time(
    opener: Opener, cls: type, data: st.DataObject
) -> None:
    opened = opener(cls)
    rows: Rows = {}
    newest = DAY - timedelta(days=1)
    for _ in range(data.draw(st.integers(1, 3))):
        keys = data.draw(st.lists(st.tuples(TEXTS[cls], STARTS, st.integers(0, 9)), max_size=12))
        records = []
        for key, start, n in keys:
            name = (*key, start)
            encoded, payload = opened.codec.encode(made(cls, name, n))
            if n:
                rows[name] = n
            else:
                rows.pop(name, None)
            newest = max(newest, start)  # a tombstone's, too
            records.append((encoded, payload if n else None))
        opened.apply(records)
        rows = {key: n for key, n in rows.items() if key[-1] > newest - timedelta(hours=1)}
        low, high = data.draw(STARTS), data.draw(STARTS)
        check(opened.table(), cls, rows, low, high)
    opened.readable.close()
    if opened.engine.persistent:
        opened.open()
        check(opened.table(), cls, rows, at(5), at(90))


def record(opened: Opened, row: Any) -> tuple[bytes, bytes]:
    key, payload = opened.codec.encode(row)
    return key, payload


def test_what_has_ended_is_hidden_at_its_limit_counted_and_swept(opener: Opener) -> None:
    opened = opener(Count)
    table = opened.table()
    old, edge, new = (made(Count, ("A", at(start)), 1) for start in (0, 5, 65))
    opened.apply([record(opened, old), record(opened, edge)])
    with opened.readable.pinned() as before:
        opened.apply([record(opened, new)])
        assert before.count() == 2  # of the moment it was taken
    # 65 - 60 = 5: the window that starts exactly then has ended.
    assert table.to_list() == [new]
    assert (table.get("A", at(5)), table.get("A", at(0)), table.latest("A")) == (None, None, new)
    assert opened.readable.get_many([record(opened, one)[0] for one in (old, edge, new)])[:2] == [None, None]
    opened.apply([record(opened, old), record(opened, new)])
    stats = table.stats()
    assert (stats.newest, stats.first, stats.late) == (ms(at(65)), ms(at(5)) + 1, 1)
    assert stats["window"] == "5min"
    assert (opened.readable.sweep(0)[0], table.to_list()) == (2, [new])
    assert opened.readable.windows is not None
    assert list(opened.readable.windows.inner.scan(limit=9))[-1][0] == DATA + record(opened, new)[0]


def test_a_start_in_the_future_ends_no_other_rows(opener: Opener) -> None:
    opened = opener(Count)
    rows = [made(Count, ("A", at(start)), 1) for start in (0, 61, 5_000)]
    opened.apply([record(opened, row) for row in rows], ms(at(1)))
    table = opened.table()
    stats = table.stats()
    assert (table.to_list(), stats.newest, stats.early) == (rows[1:], ms(at(61)), 1)
    opened.apply([record(opened, rows[2])], ms(at(5_000)))
    assert table.to_list() == rows[2:]


def test_another_process_sees_what_the_stored_times_say(opener: Opener) -> None:
    opened = opener(Count)
    old, new = (made(Count, ("A", at(start)), 1) for start in (0, 65))
    opened.apply([record(opened, old)])
    assert opened.readable.windows is not None
    assert opened.model.window is not None
    other = StoreReader(WindowExpiry(opened.readable.windows.inner, opened.model.window, followed=True), 8)
    keys = [record(opened, row)[0] for row in (old, new)]
    assert [key for key, _ in other.scan()] == keys[:1]
    with opened.readable.pinned() as before:
        opened.apply([record(opened, new)])
        assert [key for key, _ in before.scan()] == keys[:1]
    assert [key for key, _ in other.scan()] == keys[1:]
    assert [key for key, _ in other.scan(reverse=True, limit=5)] == keys[1:]
    assert (other.get(keys[0]), other.get_many(keys)[0]) == (None, None)
    assert list(other.scan(limit=0)) == []


def test_a_longer_retention_after_a_restart_does_not_bring_back_what_has_ended(opener: Opener) -> None:
    opened = opener(Count)
    rows = [made(Count, ("A", at(start)), 1) for start in (0, 30, 65)]
    opened.apply([record(opened, row) for row in rows])
    if not opened.engine.persistent:
        return
    opened.readable.close()
    assert opened.model.window is not None
    longer = replace(opened.model.window, retention=timedelta(days=7))
    opened.model = replace(opened.model, window=longer)
    opened.open()
    assert opened.table().to_list() == rows[1:]
    opened.apply([record(opened, made(Count, ("A", at(200)), 1))])
    assert len(opened.table().to_list()) == 3


def test_foreign_keys_move_no_event_time(opener: Opener) -> None:
    opened = opener(Count)
    row = made(Count, ("A", at(0)), 1)
    opened.apply([record(opened, row), (b"A\xff\xff\xff\xff\xff\xff\xff\xff", b"x"), (b"A", b"x")])
    table = opened.table()
    assert table.get("A", at(0)) == row
    assert table.stats().newest == ms(at(0))
    assert list(table.fetch("A", stop=at(1))) == [row]
    with pytest.raises(DecodeError, match="not a key of"):
        table.to_list()
    opened.apply([(record(opened, row)[0], None)])
    assert table.get("A", at(0)) is None


def test_a_tombstone_moves_event_time_whatever_batch_it_comes_in(opener: Opener) -> None:
    row, late = made(Count, ("A", at(0)), 1), made(Count, ("A", at(61)), 1)
    for is_one_batch in (True, False):
        opened = opener(Count)
        records = [record(opened, row), record(opened, late), (record(opened, late)[0], None)]
        for batch in [records] if is_one_batch else [[one] for one in records]:
            opened.apply(batch)
        assert opened.table().to_list() == []
        assert opened.table().stats().newest == ms(at(61))


def test_a_changelog_may_have_several_values_for_one_window(opener: Opener) -> None:
    opened = opener(Joined)
    start, value = ms(at(0)), opened.codec.encode(Joined(1, 0, 0))[1]
    values = {n: opened.codec.encode(Joined(1, 0, n))[1] for n in range(6)}

    def key(number: int, time: int, sequence: int) -> bytes:
        return struct.pack(">qqi", number, time, sequence)

    opened.apply([(key(1, start, 5), values[5]), (key(1, start, 2), values[2]), (key(2, start, 0), value)])
    opened.apply([(key(1, start + 1, 0), values[1])])
    table = opened.table()
    expected = [Joined(1, start, 2), Joined(1, start, 5)]
    assert list(table.fetch(1)) == [*expected, Joined(1, start + 1, 1)]
    assert table.to_list() == [*expected, Joined(1, start + 1, 1), Joined(2, start, 0)]
    assert table.get(1, start) == table[1, start] == expected[-1]
    assert table.get_many([(1, start), (1, start + 9)]) == [expected[-1], None]
    assert table.where(F.number == 1, F.start == start).to_list() == expected
    assert (1, start) in table
    assert (1, start + 9) not in table
    opened.apply([(key(1, start, 5), None)])
    assert table.get(1, start) == expected[0]


def test_sessions_are_found_by_their_ends_and_kept_by_them(opener: Opener) -> None:
    opened = opener(Visit)

    def visit(user: str, start: float, end: float, country: str = "de") -> Visit:
        return Visit(country, user, at(start), at(end), round((end - start) * MINUTE), 1)

    rows = [
        visit("a", 0, 10),
        visit("a", 20, 20),
        visit("a", 30, 90),
        visit("b", 5, 31),
        visit("b", 0, 300, "at"),
    ]
    opened.apply([record(opened, row) for row in rows[:-1]])
    assert record(opened, rows[0])[0] == b"de\0\0a" + struct.pack(">qq", ms(at(10)), ms(at(0)))
    table = opened.table()
    assert table.to_list() == rows[2:4]  # 90 - 60 = 30: what ends then, or before, has ended
    assert list(table.fetch("de", "a")) == [rows[2]]
    assert table.get("de", "a", at(90), at(30)) == rows[2]
    assert table.get("de", "a", start=at(30), end=at(90)) == table.latest("de", "a") == rows[2]
    assert list(table.fetch("de", "b", start=at(5), stop=at(6))) == [rows[3]]
    assert list(table.fetch("de", "b", start=at(5.5))) == list(table.fetch("de", "b", stop=ms(at(5)))) == []
    assert list(table.fetch_all(at(5), at(30))) == [rows[3]]
    assert table.where(F.country == "de", F.user == "a", F.end >= at(90)).to_list() == [rows[2]]
    opened.apply([record(opened, rows[4])])
    assert table.to_list() == rows[4:]


def test_a_json_key_in_another_text_is_found(opener: Opener) -> None:
    opened = opener(Text)
    times = struct.pack(">q", ms(at(0)))
    opened.apply([(b'"\\u0041"' + times, b'{"n": 1}'), (b'"B"' + times, b'{"n": 2}')])
    table = opened.table()
    assert table.get("A", at(0)) == table.latest("A") == Text("A", at(0), 1)
    assert list(table.fetch("A")) == [Text("A", at(0), 1)]
    assert table.to_list() == [Text("A", at(0), 1), Text("B", at(0), 2)]


def test_conditions_on_key_and_start_are_one_seek(opener: Opener) -> None:
    table = opener(Count).table()
    told = table.where(F.symbol == "A", F.start > at(0), F.start <= at(30)).explain()
    assert "one seek" in told
    assert "scan" not in told
    told = table.where(F.start > at(0)).explain()
    assert "read all rows" in told
    assert uses("program") == ("\nfilter: F.start > " in told)


def test_the_times_of_a_session_are_not_taken_for_each_other(opener: Opener) -> None:
    opened = opener(Visit)
    visit = Visit("de", "ann", at(0), at(3), 3 * MINUTE, 1)
    opened.apply([record(opened, visit)])
    table = opened.table()
    assert table.get("de", "ann", start=at(0), end=at(3)) == visit
    assert table.get("de", "ann", at(0), end=at(3)) == visit, "start may be the last value of the key"
    assert table.get("de", "ann", at(3), at(0)) == visit, "the order of keys"
    assert table.get("de", "ann", start=at(1), end=at(3), default=0) == 0
    with pytest.raises(
        EncodeError, match=r"a session of Visit ends at .* before it starts at .*: give start="
    ):
        table.get("de", "ann", at(0), at(3))
    with pytest.raises(EncodeError, match="before it starts"):
        table.get("de", "ann", start=at(3), end=at(0))


def test_what_is_no_key_is_told(opener: Opener) -> None:
    table = opener(Count).table()
    with pytest.raises(EncodeError, match=r"give the key \(symbol\), not \('A', 3\)"):
        table.fetch("A", 3)
    with pytest.raises(EncodeError, match="before 1970"):
        table.get("A", datetime(1969, 1, 1, tzinfo=UTC))
    with pytest.raises(EncodeError, match="whole milliseconds"):
        table.get("A", at(0) + timedelta(microseconds=1))
    with pytest.raises(EncodeError, match="needs a zone"):
        table.fetch("A", start=datetime(2024, 1, 1))
    for read in (partial(table.fetch, "A"), table.fetch_all):
        with pytest.raises(EncodeError, match=r"^stop 2024-01-01T00:00:00: a time needs a zone"):
            read(stop=datetime(2024, 1, 1))
    with pytest.raises(EncodeError, match=r"the key is \(symbol, start\), got 1 values"):
        table.get("A")


def test_what_a_window_fills_is_a_field_like_any_other(opener: Opener) -> None:
    opened = opener(Count)
    rows = [
        made(Count, (symbol, at(start)), n) for symbol, start, n in [("A", 0, 1), ("A", 5, 3), ("B", 0, 2)]
    ]
    opened.apply([record(opened, row) for row in rows])
    table = opened.table()
    assert table.order_by(F.end.desc(), F.symbol).to_list() == [rows[1], rows[0], rows[2]]
    assert table.where(F.size == 5 * MINUTE, F.end <= at(5)).to_list() == [rows[0], rows[2]]
    found = table.group_by(F.start).aggregate(n=agg.sum(F.n)).order_by(F.start).to_list()
    assert [(row.start, row.n) for row in found] == [(at(0), 3), (at(5), 3)]
    assert [tuple(row) for row in table.select(F.symbol, F.end).take(1).to_list()] == [("A", at(5))]
    assert list(table.keys()) == [("A", at(0)), ("A", at(5)), ("B", at(0))]
    with table.snapshot() as before:
        opened.apply([(record(opened, rows[0])[0], None)])
        assert (before.to_list(), table.to_list()) == (rows, rows[1:])


def test_a_snapshot_reads_windows_of_its_moment(opener: Opener) -> None:
    opened = opener(Count)
    table = opened.table()
    opened.apply([record(opened, Count("A", at(minutes), at(5), 0, minutes)) for minutes in (0, 5, 10)])
    table._manager = None
    with table.snapshot() as snapshot:
        opened.apply([record(opened, Count("A", at(100), at(5), 0, 100))])  # ends the first, and all after it
        assert [row.n for row in table.fetch("A")] == [100]
        assert [row.n for row in snapshot.fetch("A", start=at(5))] == [5, 10]
        assert [row.n for row in snapshot.fetch_all(reverse=True)] == [10, 5, 0]
        ends = [snapshot.latest("A"), snapshot.get("A", start=at(0))]
        assert [None if row is None else row.n for row in ends] == [10, 0]
