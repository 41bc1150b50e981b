"""The interface of a table: the same names with the same meaning for entities, bytes and snapshots.

What each of them gives is compared with a dict of the same rows, on every engine.
"""

from __future__ import annotations

import re
from collections.abc import Callable, ItemsView, Iterator, KeysView, ValuesView
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, cast

import pytest

from statestore import (
    BytesTable,
    EncodeError,
    F,
    Key,
    KeyTypeError,
    Record,
    RowIterator,
    StoreClosedError,
    StoreNotReadyError,
    Table,
    entity,
)
from statestore.backends import StoreOptions, find_engine
from statestore.changelog.counts import Counts
from statestore.core import Readable, WriteRun
from statestore.entity import model_of
from statestore.serde.entities import EntityCodec
from statestore.storage.changelog_store import ChangelogStore
from statestore.storage.layout import DATA, Position
from statestore.tables.timestamps import instant


@entity(topic="orders")
@dataclass(frozen=True, slots=True)
class Order:
    order_id: Annotated[int, Key]
    customer: str


@entity(topic="lines")
@dataclass(frozen=True, slots=True)
class Line:
    order: Annotated[str, Key]
    number: Annotated[int, Key]
    text: str = ""


@entity(topic="documents", key_format="json")
@dataclass(frozen=True, slots=True)
class Document:
    """The order of its keys is not that of their bytes."""

    number: Annotated[int, Key]
    text: str = ""


class Binding(Readable):
    """As much of a binding as reading takes."""

    def __init__(self, store: ChangelogStore) -> None:
        self.readable: Any = store.view
        self.store = store
        self.name = "rows"
        self.mirror = SimpleNamespace(counts=Counts())

    def reading(self, allow_stale: bool) -> Any:
        if not allow_stale:
            raise StoreNotReadyError("not ready", lag=1)
        return self.store.view


@dataclass
class Case:
    """A table and the rows that it should have."""

    table: Any
    binding: Binding
    rows: dict[Any, Any]
    """Values by key, in the order of the keys."""
    row: Callable[[Any, Any], Any]
    """Makes a row of the table of a key and a value."""
    absent: Any
    start: Any
    stop: Any
    prefix: Any
    starts: Callable[[Any], bool]
    """Whether a key begins with ``prefix``."""

    @property
    def called(self) -> Callable[[Any], tuple[Any, ...]]:
        """What makes a key the arguments of ``get``."""
        return lambda key: key if isinstance(key, tuple) else (key,)


def entities(binding: Binding, cls: Any) -> Table[Any]:
    return Table(cast("Any", binding), EntityCodec(model_of(cls)), cls, cast("Any", None))


def encoded(*rows: Any) -> list[tuple[bytes, bytes]]:
    codec: EntityCodec[Any] = EntityCodec(model_of(type(rows[0])))
    return [codec.encode(row) for row in rows]


ORDERS = {number: Order(number, f"c{number}") for number in (-3, 1, 2, 10, 42)}
LINES = {(name, n): Line(name, n, f"{name}{n}") for name in ("a", "ab", "b") for n in (1, 2)}
DOCUMENTS = {number: Document(number, f"d{number}") for number in (-3, 1, 2, 10, 42)}
BYTES = {key: b"value of " + key for key in (b"a", b"ab", b"b", b"ba", b"c")}
KINDS = ["orders", "lines", "documents", "bytes"]


@pytest.fixture(params=["memory", "rocksdb", "lmdb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ChangelogStore]:
    engine = find_engine(request.param)(64 << 20)
    backend = engine.open(tmp_path / "store", StoreOptions(changelog=True))
    with closing(ChangelogStore("rows", backend, engine.max_key_size)) as store:
        yield store
    engine.close()


def put(store: ChangelogStore, *pairs: tuple[bytes, bytes]) -> None:
    run = WriteRun(DATA)
    for key, payload in pairs:
        run.write(key, payload, 1_000)
    store.apply(run, {0: Position(9)})


@pytest.fixture(params=KINDS)
def case(request: pytest.FixtureRequest, store: ChangelogStore) -> Case:
    binding = Binding(store)
    match request.param:
        case "bytes":
            put(store, *BYTES.items())
            table: Any = BytesTable(cast("Any", binding))
            rows: dict[Any, Any] = BYTES
            return Case(
                table, binding, rows, lambda k, v: (k, v), b"x", b"ab", b"c", b"a", lambda k: k[:1] == b"a"
            )
        case "lines":
            put(store, *encoded(*LINES.values()))
            return Case(
                entities(binding, Line), binding, LINES, lambda _k, v: v, ("x", 1), ("a", 2), ("b", 2), "a",
                lambda key: key[0] == "a",
            )  # fmt: skip
        case "orders":
            put(store, *encoded(*ORDERS.values()))
            return Case(
                entities(binding, Order), binding, ORDERS, lambda _k, v: v, 7, 1, 42, 2, lambda key: key == 2
            )
    put(store, *encoded(*DOCUMENTS.values()))
    return Case(
        entities(binding, Document), binding, DOCUMENTS, lambda _k, v: v, 7, 1, 42, 2, lambda key: key == 2
    )


@pytest.mark.parametrize("what", ["table", "snapshot"])
def test_everything_reads_as_a_dict_of_the_same_rows(case: Case, what: str) -> None:
    table, rows, called = case.table, case.rows, case.called
    read = table if what == "table" else table.snapshot()
    keys, listed = list(rows), [case.row(key, value) for key, value in rows.items()]

    assert [read.get(*called(key)) for key in keys] == list(rows.values())
    assert read.get(*called(case.absent)) is None
    assert read.get(*called(case.absent), default=5) == 5
    assert read.get_many([case.absent, *keys]) == [None, *rows.values()]
    assert [read[key] for key in keys] == list(rows.values())
    with pytest.raises(KeyError, match=f"'rows' has no row with the key {re.escape(repr(case.absent))}"):
        read[case.absent]
    assert [key in read for key in (*keys, case.absent)] == [True] * len(keys) + [False]
    assert (len(read), read.count(), bool(read)) == (len(keys), len(keys), True)

    views: list[tuple[Any, type[Any], list[Any]]] = [
        (read.keys(), KeysView, keys),
        (read.values(), ValuesView, list(rows.values())),
        (read.items(), ItemsView, list(rows.items())),
    ]
    for view, kind, wanted in views:
        assert isinstance(view, kind)
        for _ in range(2):  # unlike an iterator
            assert list(view) == wanted
        assert (list(reversed(view)), len(view)) == (wanted[::-1], len(wanted))
        assert all(one in view for one in wanted)
    assert case.absent not in read.keys()  # noqa: SIM118 - the view is what is tested
    assert (case.absent, 5) not in read.items()
    assert 5 not in read.values()
    assert read.keys() & {keys[0], case.absent} == {keys[0]}
    assert dict(read) == dict(read.items()) == rows

    assert read.to_list() == list(read.scan()) == list(read) == listed
    assert list(reversed(read)) == read.to_list(reverse=True) == listed[::-1]
    for arguments, chosen in (
        ({"start": case.start, "stop": case.stop}, [k for k in keys if case.start <= k < case.stop]),
        ({"prefix": case.prefix}, [key for key in keys if case.starts(key)]),
    ):
        found = [case.row(key, rows[key]) for key in chosen]
        assert found
        assert read.to_list(**arguments) == list(read.scan(**arguments)) == found
        assert read.count(**arguments) == len(found)
        assert read.to_list(**arguments, reverse=True, limit=1) == found[-1:]
    assert read.to_list(limit=0) == []

    record = read.get_record(*called(keys[1]))
    assert record == Record(keys[1], rows[keys[1]], instant(1_000), partition=0, offset=None)
    assert read.get_record(*called(case.absent)) is None
    timed = read.get_with_timestamp(*called(keys[1]))
    assert timed is not None
    assert (timed.timestamp, timed.row) == (record.timestamp, record.value)


def test_every_reading_method_takes_stale_rows_where_it_is_told_to(case: Case) -> None:
    case.binding.readable = None
    table, rows, key = case.table, case.rows, next(iter(case.rows))
    reads: list[Callable[..., Any]] = [
        lambda **how: table.get(*case.called(key), **how) == rows[key],
        lambda **how: table.get_many([key], **how) == [rows[key]],
        lambda **how: table.get_record(*case.called(key), **how).value == rows[key],
        lambda **how: table.get_with_timestamp(*case.called(key), **how).row == rows[key],
        lambda **how: len(list(table.scan(**how))) == len(rows),
        lambda **how: len(list(table.scan_with_timestamps(**how))) == len(rows),
        lambda **how: len(table.to_list(**how)) == len(rows),
        lambda **how: table.count(**how) == len(rows),
        lambda **how: table.approximate_count(**how) >= 0,
        lambda **how: list(table.keys(**how)) == list(rows) and key in table.keys(**how),
        lambda **how: list(table.values(**how)) == list(rows.values()),
        lambda **how: dict(table.items(**how)) == rows and len(table.items(**how)) == len(rows),
        lambda **how: table.snapshot(**how).to_list() == [case.row(*item) for item in rows.items()],
    ]
    for read in reads:
        assert read(allow_stale=True)
        with pytest.raises(StoreNotReadyError):
            read()
    for operator in (
        lambda: table[key], lambda: key in table, lambda: len(table), lambda: list(table),
        lambda: list(table.keys()), lambda: reversed(table),
    ):  # fmt: skip
        with pytest.raises(StoreNotReadyError):
            operator()
    assert table  # which reads nothing


def test_a_scan_says_what_it_reads_and_how_far_it_is(store: ChangelogStore) -> None:
    put(store, *encoded(*ORDERS.values()))
    table = entities(Binding(store), Order)
    scan = table.scan(start=1, limit=3, reverse=True)
    assert repr(scan) == "<scan of table 'rows', start=1, reverse=True, limit=3: 0 rows read>"
    assert next(scan) == ORDERS[42]
    assert repr(scan) == "<scan of table 'rows', start=1, reverse=True, limit=3: 1 row read>"
    assert (len(list(scan)), scan.count) == (2, 3)
    assert repr(scan) == "<scan of table 'rows', start=1, reverse=True, limit=3: exhausted after 3 rows>"
    scan.close()
    assert list(scan) == []
    with table.snapshot() as snapshot, snapshot.scan(prefix=2) as rows:
        assert repr(rows) == "<scan of a snapshot of table 'rows', prefix=2: 0 rows read>"
    assert repr(rows) == "<scan of a snapshot of table 'rows', prefix=2: closed after 0 rows>"
    assert repr(iter(table.keys())) == "<keys of table 'rows': 0 rows read>"
    assert repr(table.where(F.order_id > 2).scan()) == (
        "<rows of Query.of(Order).where(F.order_id > 2): 0 rows read>"
    )


@pytest.mark.parametrize("read", ["scan", "where", "keys", "items", "timestamps"])
def test_the_step_after_a_scan_was_closed_raises_and_does_not_end_a_loop(
    store: ChangelogStore, read: str
) -> None:
    put(store, *encoded(*ORDERS.values()))
    table = entities(Binding(store), Order)
    scans: dict[str, Callable[[], Any]] = {
        "scan": table.scan,
        "where": lambda: table.where(F.order_id > -5).scan(),
        "keys": lambda: iter(table.keys()),
        "items": lambda: iter(table.items()),
        "timestamps": table.scan_with_timestamps,
    }
    scan = scans[read]()
    assert isinstance(scan, RowIterator)
    next(scan)
    scan.close()
    scan.close()
    with pytest.raises(StoreClosedError, match="was closed after 1 row: begin it anew"):
        next(scan)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda lines: lines.get(("a", 1)), "give the values of the key one by one: get('a', 1), not get(("),
        (lambda lines: lines.get_record(["a", 1]), "give the values of the key one by one: get('a', 1)"),
        (lambda lines: lines.get(LINES["a", 1]), "give the key of the entity: 'a', 1"),
        (lambda lines: LINES["a", 1] in lines, "give the key of the entity: 'a', 1"),
        (lambda lines: lines.get_many([LINES["a", 1]]), "give the key of the entity: 'a', 1"),
        (lambda lines: lines.scan(start=LINES["a", 1]), "give the key of the entity: 'a', 1"),
        (lambda lines: lines[LINES["a", 1]], "give the key of the entity: 'a', 1"),
        (lambda lines: lines.get("a", "1"), "Line.number: expected int, got '1'; give 1"),
        (lambda lines: lines.get(1, 1), "Line.order: expected str, got 1; give '1'"),
        (lambda lines: lines["a":"b"], "a table has no slices: scan(start='a', stop='b') reads"),
        (lambda lines: lines.get_many("a"), "get_many takes several keys, not 'a': get_many(['a'])"),
        (lambda lines: lines.get_many(5), "get_many takes several keys, not 5: get_many([5])"),
    ],
)
def test_what_is_no_key_is_refused_with_what_to_give_instead(
    store: ChangelogStore, call: Callable[[Any], Any], text: str
) -> None:
    with pytest.raises(TypeError, match=re.escape(text)):
        call(entities(Binding(store), Line))


def test_a_default_given_by_its_place_is_refused_with_its_name(store: ChangelogStore) -> None:
    with pytest.raises(KeyTypeError, match=r"a default is named: get\(42, default=None\)"):
        entities(Binding(store), Order).get(42, None)


def test_a_value_of_the_right_type_that_no_key_has_is_no_error_of_types(store: ChangelogStore) -> None:
    with pytest.raises(EncodeError) as caught:
        entities(Binding(store), Order).get(2**70)
    assert not isinstance(caught.value, TypeError)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda table: table.get("a"), "a key must be bytes, not str: 'a'; encode it"),
        (lambda table: "a" in table, "a key must be bytes, not str: 'a'; encode it"),
        (lambda table: table["a"], "a key must be bytes, not str"),
        (lambda table: table.get_record("a"), "a key must be bytes, not str"),
        (lambda table: table.scan("a"), "a key of table 'rows' must be bytes, not str: 'a'; encode it"),
        (lambda table: table.count(prefix=5), "a key of table 'rows' must be bytes, not int"),
        (lambda table: table.get_many(b"ab"), "get_many takes several keys, not b'ab': get_many([b'ab'])"),
    ],
)
def test_a_table_of_bytes_says_the_same(store: ChangelogStore, call: Callable[[Any], Any], text: str) -> None:
    with pytest.raises(TypeError, match=re.escape(text)):
        call(BytesTable(cast("Any", Binding(store))))
