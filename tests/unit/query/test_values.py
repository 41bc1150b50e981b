"""Query values: they compare and pickle, and a clause that cannot be meant is refused at once."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any

import pytest

from statestore import ConfigError, F, Key, Query, QueryError, StateStoreError, agg, entity


@entity(topic="orders")
@dataclass(frozen=True, slots=True)
class Order:
    id: Annotated[int, Key]
    customer: str
    amount: Decimal
    weight: float | None
    tags: list[str]
    paid: bool
    _note: str = ""


@dataclass
class Total:
    customer: str
    total: Decimal
    note: str = ""


@dataclass
class Weight:
    weight: float


ALL: Any = Query.of(Order)
GROUPS = ALL.group_by(F.customer).aggregate(total=agg.sum(F.amount))


def by_id(order: Any) -> int:
    return int(order.id)


async def later(order: Any) -> None: ...


def test_values_compare_hash_and_pickle() -> None:
    def made(limit: int) -> list[Query[Any]]:
        return [
            ALL.where(F.amount > 3).where(F.paid, by_id).order_by(F.id.desc()).skip(1).take(limit).map(by_id),
            GROUPS.having(F.total > limit).select(Total),
            ALL.select(F.id, twice=F.amount * limit),
        ]

    assert made(5) == made(5)
    assert made(5) != made(6)
    assert len({*made(5), *made(5), *made(6)}) == 6
    assert pickle.loads(pickle.dumps(made(5))) == made(5)
    with pytest.raises(AttributeError):
        ALL.limit = 3


def test_a_value_reads_like_its_source() -> None:
    query = ALL.where(F.amount > 3, by_id).where(F.paid).order_by(F.id.desc(), F.customer).skip(1).map(by_id)
    assert repr(query) == (
        "Query.of(Order).where((F.amount > 3) & F.paid, by_id).order_by(F.id.desc(), F.customer).skip(1)"
        ".map(by_id)"
    )
    assert repr(GROUPS.having(F.total > 1).select(Total, note=F.customer)) == (
        "Query.of(Order).group_by(F.customer).aggregate(total=agg.sum(F.amount)).having(F.total > 1)"
        ".select(Total, F.customer, F.total, note=F.customer)"
    )


def test_clauses_add_up() -> None:
    assert ALL.where(F.paid).where(F.id > 1) == ALL.where(F.paid & (F.id > 1)) == ALL.where(F.paid, F.id > 1)
    assert ALL.take(5).skip(2) == ALL.skip(2).take(3)
    assert ALL.take(5).take(7).take(6) == ALL.take(5)
    assert ALL.take(1).skip(2) == ALL.skip(2).take(0)
    assert ALL.skip(1).skip(2) == ALL.skip(3)


NAMES = "id, customer, amount, weight, tags, paid, _note"
FAULTS: list[tuple[Callable[[], Any], str]] = [
    (
        lambda: ALL.where(F.amuont > 1),
        f"where: F.amuont: Order has no field 'amuont' (did you mean 'amount'?); its fields: {NAMES}",
    ),
    (
        lambda: ALL.where(F.customer > 3),
        "where: F.customer > 3: F.customer is a str, 3 an int: they cannot be compared",
    ),
    (
        lambda: ALL.where(F.amount),
        "where: F.amount is a Decimal, not a condition: compare it, as in F.amount == …",
    ),
    (lambda: ALL.where(True), "where: True is no condition: write one such as F.amount > 100"),
    (lambda: ALL.where(later), "later at 0x"),
    (lambda: ALL.where(F.amount.startswith("a")), "F.amount is a Decimal: .startswith() is for str"),
    (lambda: ALL.order_by(F.tags), "order_by: F.tags is a list[str], which has no order: sort by a part"),
    (lambda: ALL.order_by("amount"), "order_by: 'amount' is no field: write F.amount, or F.amount.desc()"),
    (lambda: ALL.order_by(F.idd.desc()), "order_by: F.idd: Order has no field 'idd' (did you mean 'id'?)"),
    (
        lambda: ALL.order_by(F.id).order_by(F.paid),
        "order_by: the order is given already: name all terms in one",
    ),
    (lambda: ALL.take(-1), "take: -1 is no number of rows: give an int from 0 on"),
    (lambda: ALL.skip(1.5), "skip: 1.5 is no number of rows"),
    (lambda: ALL.take(True), "take: True is no number of rows"),
    (
        lambda: ALL.take(1).where(F.paid),
        "where: rows are filtered before they are taken: write where(…) before",
    ),
    (lambda: ALL.take(1).order_by(F.id), "order_by: rows are sorted before they are taken"),
    (lambda: ALL.select(F.id).where(F.paid), "where: it stands before select: Query.of(Order).select(F.id)"),
    (
        lambda: GROUPS.where(F.paid),
        "where: the rows are groups now: write where(…) before group_by, or having(…)",
    ),
    (
        lambda: ALL.having(F.id > 1),
        "having: there are no groups: write where(…), or group_by(…).aggregate(…)",
    ),
    (
        lambda: GROUPS.having(F.totl > 1),
        "query over Group, having: F.totl: Group has no field 'totl' (did you",
    ),
    (lambda: GROUPS.order_by(F.amount), "F.amount: Group has no field 'amount'; its fields: customer, total"),
    (lambda: GROUPS.group_by(F.customer), "group_by: the rows are groups already"),
    (lambda: ALL.order_by(F.id).group_by(F.paid), "group_by: it stands before order_by"),
    (
        lambda: ALL.group_by(F.tags),
        "group_by: F.tags is a list[str]: group by a part of it that is a single value",
    ),
    (lambda: ALL.group_by(F.id % 3), "group_by: F.id % 3 needs a name: write group_by(name=F.id % 3)"),
    (lambda: ALL.group_by(F.paid).aggregate(), "aggregate: nothing to aggregate: write aggregate(total="),
    (
        lambda: ALL.aggregate(total=agg.sum(F.customer)),
        "agg.sum(F.customer): F.customer is of type str; it must be",
    ),
    (lambda: ALL.aggregate(total=agg.avg(F.amuont)), "aggregate: F.amuont: Order has no field 'amuont'"),
    (
        lambda: ALL.aggregate(n=agg.first(F.id, by="event_time")),
        "agg.first(F.id, by='event_time') makes a field of a bar: here use agg.min",
    ),
    (lambda: ALL.aggregate(n=F.id), "aggregate: n=F.id: give an aggregate, as in n=agg.sum(F.amount)"),
    (lambda: ALL.group_by(F.paid).aggregate(paid=agg.count()), "aggregate: 'paid' is a field of group_by"),
    (lambda: ALL.aggregate(_n=agg.count()), "'_n' cannot name a column: take a name without _ in front"),
    (lambda: ALL.select(), "select: no columns: write select(F.customer"),
    (lambda: ALL.select(F.id, id=F.amount), "select: two columns are named 'id': give one another name"),
    (lambda: ALL.select(F._note), "select: F._note needs a name: write select(name=F._note)"),
    (lambda: ALL.select("id"), "select: 'id' is no expression: write F.amount"),
    (
        lambda: ALL.select(n=agg.count()),
        "select: agg.count() is an aggregate: write aggregate(name=agg.count())",
    ),
    (lambda: ALL.select(F.id).select(F.id), "select: the columns are given already"),
    (lambda: ALL.select(int), "select: int is no dataclass: select into a dataclass, or use map(int)"),
    (
        lambda: ALL.select(Total, totl=F.amount),
        "select: Total has no field 'totl' (did you mean 'total'?); its",
    ),
    (
        lambda: ALL.select(Total),
        "Total.total has no value: write select(Total, total=F.…) (F.total: Order has no field",
    ),
    (
        lambda: ALL.select(Total, total=F.id),
        "F.id is an int, but Total.total is declared Decimal: declare it int",
    ),
    (
        lambda: ALL.select(Weight),
        "F.weight can be None, but Weight.weight is declared float: declare it float | None",
    ),
    (lambda: ALL.map(F.id), "map: F.id is no function of one row; for an expression write select(name=F.id)"),
    (
        lambda: ALL.map(later),
        "is a coroutine function, and a table's queries do not await: call it on the rows",
    ),
]


@pytest.mark.parametrize(("make", "fault"), FAULTS, ids=range(len(FAULTS)))
def test_what_cannot_be_meant_is_refused(make: Callable[[], Any], fault: str) -> None:
    with pytest.raises(QueryError) as caught:
        make()
    assert fault in str(caught.value)
    assert str(caught.value).startswith("query over ")
    assert isinstance(caught.value, StateStoreError)
    assert isinstance(caught.value, ValueError)


def test_only_entities_have_tables() -> None:
    with pytest.raises(ConfigError, match="Total is not declared as an entity"):
        Query.of(Total)
