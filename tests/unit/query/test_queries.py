"""Queries on tables: every clause and every result."""

from __future__ import annotations

import gc
import math
import pickle
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, cast

import pytest

from statestore import F, Key, Query, QueryError, Row, RowCountError, StoreClosedError, Table, agg, entity
from statestore.backends import StoreOptions, find_engine
from statestore.changelog.counts import Counts
from statestore.core import IMPLEMENTATION, Readable, WriteRun
from statestore.entity import model_of
from statestore.errors import StoreNotReadyError
from statestore.query import grouping
from statestore.query.source import ScanPolicy
from statestore.serde.entities import EntityCodec
from statestore.storage.changelog_store import ChangelogStore
from statestore.storage.layout import DATA, Position


@entity(topic="orders")
@dataclass(frozen=True, slots=True)
class Order:
    shop: Annotated[str, Key]
    id: Annotated[int, Key]
    customer: str | None
    amount: Decimal
    weight: float | None
    tags: list[str]


@entity(topic="customers")
@dataclass(frozen=True, slots=True)
class Customer:
    name: Annotated[str, Key]
    city: str


ROWS = [
    Order("ber", -1, "ada", Decimal("10.5"), 1.5, ["a"]),
    Order("ber", 2, None, Decimal(20), None, []),
    Order("ber", 7, "alan", Decimal(5), 0.25, []),
    Order("par", 1, "ada", Decimal(1), 2.0, ["b", "c"]),
    Order("par", 3, "grace", Decimal("7.25"), None, []),
    Order("rom", 4, "alan", Decimal(100), 8.0, []),
]


class Source(Readable):
    """As much of a binding as reading takes."""

    def __init__(self, store: ChangelogStore) -> None:
        self.readable: Any = store.view
        self.stale: Any = None
        self.name = "orders"
        self.mirror = SimpleNamespace(counts=Counts())

    def reading(self, allow_stale: bool) -> Any:
        if not allow_stale:
            raise StoreNotReadyError("not ready", lag=1)
        return self.stale


@pytest.fixture(params=["memory", "rocksdb", "lmdb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ChangelogStore]:
    engine = find_engine(request.param)(64 << 20)
    backend = engine.open(tmp_path / "store", StoreOptions(changelog=True))
    with closing(ChangelogStore("orders", backend, engine.max_key_size)) as store:
        write(store, *ROWS)
        yield store
    engine.close()


def write(store: ChangelogStore, *rows: Any) -> None:
    codec: EntityCodec[Any] = EntityCodec(model_of(Order))
    run = WriteRun(DATA)
    for row in rows:
        key, payload = codec.encode(row)
        run.write(key, payload, 1_000)
    store.apply(run, {0: Position(1)})


@pytest.fixture
def orders(store: ChangelogStore) -> Table[Order]:
    codec: EntityCodec[Order] = EntityCodec(model_of(Order))
    return Table(cast("Any", Source(store)), codec, Order, cast("Any", None))


def ids(rows: Any) -> list[int]:
    return [row.id for row in rows]


@pytest.mark.skipif(
    IMPLEMENTATION == "pure", reason="the twin of the row maker leaves all rows to the collector"
)
def test_the_collector_leaves_out_rows_of_scalars(orders: Table[Order]) -> None:
    """Without them a loop is not kept waiting while the collector looks at hundreds of thousands."""
    groups = orders.group_by(F.customer).aggregate(rows=agg.count(), most=agg.max(F.amount)).to_list()
    selected = orders.select(F.shop, F.weight, half=F.amount / 2).to_list()
    assert len(groups) == 4
    assert not any(map(gc.is_tracked, [*groups, *selected]))
    assert all(map(gc.is_tracked, orders.select(F.id, F.tags)))


def test_every_clause(orders: Table[Order]) -> None:
    assert ids(orders.where(F.shop == "ber")) == [-1, 2, 7]
    assert ids(orders.where(F.shop == "ber", F.id > 0)) == [2, 7]
    assert ids(orders.where(F.amount > 6, lambda order: order.id != 4)) == [-1, 2, 3]
    assert ids(orders.order_by(F.amount)) == [1, 7, 3, -1, 2, 4]
    assert ids(orders.order_by(F.customer, F.amount.desc())) == [-1, 1, 4, 7, 3, 2]
    assert ids(orders.order_by(F.weight.desc()).take(4)) == [4, 1, -1, 7]
    assert ids(orders.order_by(F.shop.desc(), F.id.desc()).take(2)) == [4, 3]
    assert ids(orders.skip(1).take(3)) == ids(orders.take(4).skip(1)) == [2, 7, 1]
    assert orders.where(F.id == 2).select(F.shop, twice=F.amount * 2).to_list() == [("ber", Decimal(40))]
    assert orders.map(lambda order: order.id).map(str).take(2).to_list() == ["-1", "2"]


def test_every_result(orders: Table[Order]) -> None:
    late = orders.where(F.id > 2)
    assert late.to_list() == list(late) == list(late.scan()) == [ROWS[2], *ROWS[4:]]
    assert (late.first(), late.first_or_default(), late.take(1).single()) == (ROWS[2],) * 3
    assert (late.count(), late.any(), late.skip(1).take(5).count()) == (3, True, 2)
    none = orders.where(F.id > 2, F.id < 3)
    assert (none.count(), none.any(), none.first_or_default(), none.first_or_default(default=1)) == (
        0,
        False,
        None,
        1,
    )
    assert (orders.sum(F.amount), orders.min(F.amount), orders.max(F.weight)) == (Decimal("143.75"), 1, 8.0)
    assert orders.avg(F.weight) == 2.9375
    assert (none.sum(F.amount), none.min(F.amount), none.avg(F.weight)) == (0, None, None)
    assert orders.order_by(F.amount.desc()).take(2).sum(F.amount) == 120
    assert orders.select(twice=F.amount * 2).max(F.twice) == 200
    assert late.take(1).to_dicts() == [
        {"shop": "ber", "id": 7, "customer": "alan", "amount": Decimal(5), "weight": 0.25, "tags": []}
    ]
    seen: list[Any] = []
    late.for_each(seen.append)
    assert seen == late.to_list()
    with pytest.raises(TypeError, match="ask it with any"):
        assert late


def test_groups(orders: Table[Order]) -> None:
    groups = orders.group_by(F.customer).aggregate(
        n=agg.count(), total=agg.sum(F.amount), low=agg.min(F.weight)
    )
    assert groups.order_by(F.total.desc()).to_list() == [
        ("alan", 2, Decimal(105), 0.25),
        (None, 1, Decimal(20), None),
        ("ada", 2, Decimal("11.5"), 1.5),
        ("grace", 1, Decimal("7.25"), None),
    ]
    assert groups.having(F.n > 1).count() == 2
    row = groups.having(F.customer == "ada").single()
    assert (row.customer, row.n, row._fields) == ("ada", 2, ("customer", "n", "total", "low"))
    assert repr(row) == "Row(customer='ada', n=2, total=Decimal('11.5'), low=1.5)"
    assert pickle.loads(pickle.dumps(row)) == row
    assert groups.to_dicts()[0]["customer"] == "ada"
    whole = orders.where(F.shop == "x").aggregate(n=agg.count(), mean=agg.avg(F.amount))
    assert whole.to_list() == [(0, None)]


def test_groups_have_lists(orders: Table[Order]) -> None:
    groups = orders.group_by(F.customer).aggregate(
        ids=agg.collect_list(F.id), shops=agg.collect_set(F.shop), most=agg.topk(F.amount, 1)
    )
    found = {row.customer: (sorted(row.ids), sorted(row.shops), row.most) for row in groups.to_list()}
    expected: dict[str | None, Any] = {}
    for order in orders.to_list():
        ids, shops, most = expected.setdefault(order.customer, ([], set(), []))
        ids.append(order.id)
        shops.add(order.shop)
        most.append(order.amount)
    assert found == {
        name: (sorted(ids), sorted(shops), [max(most)]) for name, (ids, shops, most) in expected.items()
    }
    whole = orders.aggregate(some=agg.collect_list(F.weight), most=agg.topk(F.amount, 2)).single()
    assert sorted(whole.some) == sorted(one.weight for one in orders.to_list() if one.weight is not None)
    assert whole.most == sorted((one.amount for one in orders.to_list()), reverse=True)[:2]
    none = orders.where(F.shop == "x").aggregate(some=agg.collect_list(F.tags), most=agg.topk(F.amount, 2))
    assert none.to_list() == [([], [])]


def test_the_greatest_values_of_many(orders: Table[Order]) -> None:
    values = [float(number % 97) for number in range(1000)] + [math.nan, 96.0]
    step = grouping._Parts((model_of(Order).record_type,))._kind(agg.topk(F.weight, 3))[1]
    kept: Any = None
    for value in values:
        kept = step(kept, value)
    assert len(kept) < 110
    result = grouping._list_of(agg.topk(F.weight, 3))(kept)
    assert [str(value) for value in result] == ["nan", "96.0", "96.0"]


@pytest.mark.parametrize("aggregate", [agg.first(F.id), agg.last(F.id), agg.ohlc(F.weight)], ids=repr)
def test_what_needs_an_order_of_records_runs_on_ksqldb_only(orders: Table[Order], aggregate: Any) -> None:
    query = Query.of(Order).group_by(F.customer).aggregate(value=aggregate)
    runs: list[Callable[[], object]] = [
        lambda: orders.query(query),
        lambda: orders.aggregate(value=aggregate),
        lambda: orders.group_by(F.customer).aggregate(value=aggregate),
    ]
    for run in runs:
        with pytest.raises(
            QueryError, match="runs on ksqlDB only, over a stream, since a table keeps no order"
        ):
            run()


def test_a_value_runs_on_the_table_of_its_class(orders: Table[Order]) -> None:
    value = Query.of(Order).where(F.shop == "par").select(F.id)
    assert orders.query(value).to_list() == [(1,), (3,)]
    assert orders.where(F.shop == "par").select(F.id).value == value
    with pytest.raises(QueryError, match=r"cannot run on Query.of\(Order\): give it the tables of Cust"):
        orders.query(Query.of(Customer))
    with pytest.raises(QueryError, match="cannot run on"):
        orders.where(F.id > 1).query(value)
    assert orders.query(pickle.loads(pickle.dumps(value))).to_list() == [(1,), (3,)]
    with pytest.raises(
        TypeError, match=r"reads a store of this process: pickle its .value, a Query, and run"
    ):
        pickle.dumps(orders.query(value))


def test_a_snapshot_answers_as_of_its_instant(orders: Table[Order], store: ChangelogStore) -> None:
    with orders.snapshot() as snapshot:
        query = snapshot.where(F.shop == "rom")
        write(store, replace(ROWS[5], amount=Decimal(1)), replace(ROWS[5], id=9))
        assert query.to_list() == ROWS[5:]
        assert orders.where(F.shop == "rom").sum(F.amount) == 101
        assert query.explain().startswith("orders: ordered keys (shop, id), about ")
    with pytest.raises(StoreClosedError):
        query.to_list()


def test_rows_are_those_of_the_call(orders: Table[Order], store: ChangelogStore) -> None:
    queries = [
        orders.where(F.amount > 0),
        orders.where(F.shop.in_(["ber", "rom"])),
        orders.order_by(F.amount),
    ]
    iterators = [iter(query) for query in queries]
    write(store, replace(ROWS[0], customer="new"), replace(ROWS[0], id=100))
    assert [len(list(one)) for one in iterators] == [6, 4, 6]
    assert [len(query.to_list()) for query in queries] == [7, 5, 7]


def test_a_table_that_stops_being_ready_or_is_closed(orders: Table[Order], store: ChangelogStore) -> None:
    source: Any = orders._binding
    query = orders.where(F.shop.in_(["ber", "par"]), F.amount > 0)
    begun = [
        iter(query),
        iter(orders.where(F.amount > 0)),
        iter(orders.where(F.shop == "ber", F.id.in_([2, 7]))),
    ]
    source.stale, source.readable = source.readable, None
    with pytest.raises(StoreNotReadyError):
        query.to_list()
    for read in (query.to_list, query.scan, query.first, query.to_dicts):
        assert read(allow_stale=True)
    assert (query.count(allow_stale=True), query.sum(F.id, allow_stale=True)) == (5, 12)
    assert [next(one) for one in begun] == [ROWS[0], ROWS[0], ROWS[1]], "what was begun goes on"
    store.close()
    for one in begun:
        with pytest.raises(StoreClosedError):
            list(one)
    with pytest.raises(StoreClosedError):
        query.to_list(allow_stale=True)


@pytest.mark.parametrize(
    "store", ["lmdb"], indirect=True
)  # which tells how many snapshots and scans are open
def test_a_read_that_ends_early_releases_the_store(orders: Table[Order], store: ChangelogStore) -> None:
    views: Callable[[], int] = cast("Any", store._backend)._lifetime.holding

    def fail(_: Order) -> Any:
        raise ValueError("mine")

    failing: list[Callable[[], Any]] = [
        orders.where(fail).to_list,
        orders.where(F.shop == "ber", fail).count,
        orders.where(F.shop.in_(["ber", "par"]), fail).any,
        orders.where(F.shop == "ber", F.id.in_([2, 7]), fail).any,
        orders.order_by(F.amount).map(fail).to_list,
        lambda: orders.where(F.id > 0).for_each(fail),
    ]
    for read in failing:
        with pytest.raises(ValueError, match="mine") as caught:
            read()
        assert (views(), str(caught.value)) == (0, "mine"), "also while the error holds the frames"
    begun: Any = iter(orders.where(F.amount > 0))
    assert (next(begun), views()) == (ROWS[0], 1)
    begun.close()
    assert views() == 0
    for query in (orders.where(F.amount > 6), orders.where(F.shop == "ber"), orders.order_by(F.id)):
        assert (len(query.take(1).to_list()), query.any(), views()) == (1, True, 0)


def test_no_row_or_several(orders: Table[Order]) -> None:
    none = orders.where(F.shop == "x")
    with pytest.raises(RowCountError, match=r"first\(\): no row in Query.of\(Order\).where\(F.shop == 'x'\)"):
        none.first()
    with pytest.raises(LookupError, match=r"single\(\): no row"):
        none.single()
    with pytest.raises(RowCountError, match=r"single\(\): several rows"):
        orders.single()


def test_results_that_need_columns(orders: Table[Order]) -> None:
    mapped = orders.map(lambda order: order.id)
    for ask in (mapped.to_dicts, lambda: mapped.sum(F.id)):
        with pytest.raises(QueryError, match="what map returns has no fields: write"):
            ask()
    with pytest.raises(QueryError, match=r"sum: agg.sum\(F.customer\): F.customer is of type str"):
        orders.sum(F.customer)


@dataclass
class Total:
    customer: str | None
    total: Decimal
    note: str = "none"


def test_rows_of_a_class(orders: Table[Order]) -> None:
    assert orders.where(F.shop == "rom").select(Total, total=F.amount * 2).to_list() == [
        Total("alan", Decimal(200))
    ]
    totals = orders.group_by(F.customer).aggregate(total=agg.sum(F.amount)).order_by(F.total).select(Total)
    assert totals.first() == Total("grace", Decimal("7.25"))
    assert totals.to_dicts()[0] == {"customer": "grace", "total": Decimal("7.25")}
    assert isinstance(orders.select(F.id).first(), Row)


PLANS = [
    (lambda t: t.where(F.shop == "ber", F.id == 2), ["read at most 1 row, by key"]),
    (lambda t: t.where(F.shop.in_(["b", "c"]), F.id.in_([2, 3, 2])), ["read at most 4 rows, by key"]),
    (
        lambda t: t.where(F.shop == "ber", F.id > 2, F.amount > 1),
        ["read the rows of F.shop == 'ber' & F.id > 2 (one seek, in key order)", "filter: F.amount > 1"],
    ),
    (
        lambda t: t.where(F.shop.startswith("b")).order_by(F.shop.desc(), F.id.desc()).take(3),
        [
            "read the rows of F.shop.startswith('b') (one seek, in key order)",
            "in reverse key order",
            "order by F.shop.desc(), F.id.desc(): as read",
            "take 3 rows, then stop reading",
        ],
    ),
    (
        lambda t: t.where(F.id > 3, F.id < 4),
        ["read nothing: no id fulfils F.id > 3 & F.id < 4"],
    ),
    (
        lambda t: t.where(F.id > 3).order_by(F.amount).skip(1).take(2),
        [
            "read all rows, about 6 (one seek, in key order)",
            "full scan: no condition that can seek: those on shop, the first key field, can, not on id alone "
            "(==, in_, between, <, <=, >, >=, startswith, joined by &)",
            "filter: F.id > 3",
            "order by F.amount: keep the first 3 rows",
            "skip 1 row",
            "take 2 rows",
        ],
    ),
    (
        lambda t: t.group_by(F.customer).aggregate(n=agg.count()).having(F.n > 1).select(F.n).map(str),
        [
            "read all rows, about 6 (one seek, in key order)",
            "full scan: no condition: all rows are asked for",
            "group by customer, in memory",
            "filter groups: F.n > 1",
            "select n",
            "map, in Python: str",
        ],
    ),
    (
        lambda t: t.take(3),
        ["read all rows, about 6 (one seek, in key order)", "take 3 rows, then stop reading"],
    ),
]


@pytest.mark.parametrize("store", ["memory"], indirect=True)
@pytest.mark.parametrize(("make", "lines"), PLANS, ids=range(len(PLANS)))
def test_a_plan_explains_itself(orders: Table[Order], make: Callable[[Any], Any], lines: list[str]) -> None:
    told = re.sub(r"about \d+", "about 6", make(orders).explain())  # an estimate
    told = re.sub(r", in Python(: F.*?)? \(.*\)$", r"\1", told, flags=re.MULTILINE)  # the class has a list
    assert told.split("\n") == ["orders: ordered keys (shop, id), about 6 rows", *lines]


@pytest.mark.parametrize("store", ["memory"], indirect=True)
def test_scans_can_be_refused_or_warned_of(
    orders: Table[Order], store: ChangelogStore, caplog: pytest.LogCaptureFixture
) -> None:
    codec: EntityCodec[Order] = EntityCodec(model_of(Order))

    def table(on_scan: Any) -> Table[Order]:
        return Table(cast("Any", Source(store)), codec, Order, cast("Any", None), ScanPolicy(on_scan))

    refusing, warning = table("error"), table("warn")
    reads: list[Callable[[Any], Any]] = [
        lambda t: t.where(F.amount > 3).to_list(),
        lambda t: t.where(F.amount > 3).count(),
        lambda t: t.where(F.amount > 3).scan(),
        lambda t: t.where(lambda order: order.id > 3).first(),
        lambda t: t.order_by(F.amount).take(2).to_list(),
        lambda t: t.sum(F.amount),
        lambda t: t.snapshot().where(F.id == 4).any(),
    ]
    for read in reads:
        with pytest.raises(
            QueryError, match=r"looks at all rows of 'orders': .*; if that is meant, add .on_scan"
        ):
            read(refusing)
        read(orders)
        read(warning)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 5, "once for each reason"
    assert told[0].startswith(
        "Query.of(Order).where(F.amount > 3) looks at all rows of 'orders': no condition that"
    )
    meant: list[Any] = [
        refusing.take(3),
        refusing.select(F.id),
        refusing.order_by(F.shop),
        refusing.where(F.shop == "ber", F.amount > 1),
        refusing.where(F.amount > 3).on_scan("allow"),
        refusing.where(F.id > 3, F.id < 3),
    ]
    for query in meant:
        query.to_list()
    with pytest.raises(QueryError, match="looks at all rows"):
        orders.where(F.amount > 3).on_scan("error").to_list()
    with pytest.raises(
        QueryError, match="on_scan: 'no' is not known: choose one of 'allow', 'warn', 'error'"
    ):
        orders.on_scan(cast("Any", "no"))
