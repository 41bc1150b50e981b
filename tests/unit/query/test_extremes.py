"""Values and numbers of rows at the ends of what there can be: decimals that are NaN, a huge take or skip."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import pytest

from statestore import EncodeError, F, Key, Table, agg, core, entity
from statestore.storage.changelog_store import ChangelogStore
from tests.unit.query.tables import Filled, store_of


@entity(topic="prices")
@dataclass(frozen=True, slots=True)
class Price:
    id: Annotated[int, Key]
    amount: Decimal
    other: Decimal | None = None


@entity(topic="offers")
@dataclass(frozen=True, slots=True)
class Offer:
    id: Annotated[int, Key]
    amount: Decimal


AMOUNTS = ["NaN", "1", "sNaN", "-Infinity", "-NaN", "2", "1.0", "Infinity"]


@pytest.fixture
def prices(store: ChangelogStore) -> Table[Any]:
    filled = Filled(store, Price, ())
    filled.change([Price(number, Decimal(text)) for number, text in enumerate(AMOUNTS)])
    return filled.table


def ids(query: Any) -> list[int]:
    return [row.id for row in query.to_list()]


def test_a_decimal_nan_is_greater_than_every_number(prices: Table[Any]) -> None:
    assert ids(prices.order_by(F.amount)) == [3, 1, 6, 5, 7, 0, 2, 4]
    assert ids(prices.order_by(F.amount.desc())) == [4, 2, 0, 7, 5, 6, 1, 3]
    assert ids(prices.order_by(F.amount, F.id.desc()).take(3)) == [3, 6, 1]
    assert str(prices.min(F.amount)) == "-Infinity"
    assert prices.max(F.amount).is_nan()
    assert prices.where(F.id > 4).max(F.amount) == Decimal("Infinity")
    assert ids(prices.order_by(F.amount - F.amount).take(3)) == [1, 5, 6]  # infinity less itself is NaN


def test_lists_of_values_that_are_no_numbers(prices: Table[Any]) -> None:
    query = prices.aggregate(
        all=agg.collect_list(F.amount), each=agg.collect_set(F.amount), most=agg.topk(F.amount, 5)
    )
    row = query.single()
    assert [str(one) for one in row.all] == AMOUNTS
    assert [str(one) for one in row.each] == ["NaN", "1", "-Infinity", "2", "Infinity"]
    assert [str(one) for one in row.most[3:]] == ["Infinity", "2"]
    assert all(one.is_nan() for one in row.most[:3])
    if core.IMPLEMENTATION == "native" and core.uses("decoder") and core.uses("program"):
        assert "(collect_list makes a list)" in query.explain()


@pytest.mark.parametrize("only", [F.id.in_([0, 1, 2]), F.id < 3], ids=["Python", "a scan"])
def test_least_and_greatest_of_groups_with_a_decimal_nan(prices: Table[Any], only: Any) -> None:
    (row,) = prices.where(only).aggregate(low=agg.min(F.amount), high=agg.max(F.amount))
    assert (row.low, str(row.high)) == (Decimal(1), "sNaN")
    (row,) = prices.where(F.id.in_([0])).aggregate(low=agg.min(F.amount), high=agg.max(F.amount))
    assert row.low.is_nan()


def test_decimal_nans_are_one_group(prices: Table[Any]) -> None:
    found = prices.group_by(F.amount).aggregate(n=agg.count()).to_list()
    assert [(str(row.amount), row.n) for row in found] == [
        ("NaN", 3),
        ("1", 2),
        ("-Infinity", 1),
        ("2", 1),
        ("Infinity", 1),
    ]


def test_a_nan_has_no_partner(tmp_path: Path) -> None:
    with ExitStack() as stack:
        tables: list[Any] = []
        for cls in (Price, Offer):
            (tmp_path / cls.__name__).mkdir()
            filled = Filled(stack.enter_context(store_of("memory", tmp_path / cls.__name__)), cls, ())
            filled.change([cls(number, Decimal(text)) for number, text in enumerate(AMOUNTS)])
            tables.append(filled.table)
        prices, offers = tables
        same = F[Price].amount == F[Offer].amount
        found = [(one.id, other.id) for one, other in prices.join(offers, on=same)]
        assert found == [(1, 1), (1, 6), (3, 3), (5, 5), (6, 1), (6, 6), (7, 7)]
        by_key = prices.left_join(offers, on=(F[Price].id == F[Offer].id) & same)
        assert [one.id for one, other in by_key if other is None] == [0, 2, 4]


HUGE = [sys.maxsize, 2**63, 2**70]


@pytest.mark.parametrize("count", HUGE)
@pytest.mark.parametrize(
    "make",
    [
        lambda prices: prices,
        lambda prices: prices.where(F.amount > 0),
        lambda prices: prices.where(F.id.in_([1, 2, 3])),
        lambda prices: prices.order_by(F.amount),
        lambda prices: prices.where(lambda row: row.id > 1).order_by(F.id.desc()),
    ],
    ids=["all", "filtered", "by key", "sorted", "in Python"],
)
def test_more_rows_than_there_are(prices: Table[Any], make: Callable[[Any], Any], count: int) -> None:
    query = make(prices)
    wanted = ids(query)
    assert ids(query.take(count)) == wanted
    assert ids(query.skip(1).take(count)) == wanted[1:]
    assert query.skip(1).take(count).count() == len(wanted) - 1
    assert query.skip(1).take(count).select(F.id).to_arrow().column("id").to_pylist() == wanted[1:]
    nothing = query.skip(count).skip(count).take(count)
    assert nothing.to_list() == []
    assert not nothing.any()
    assert nothing.select(F.id).to_arrow().num_rows == 0


def test_an_int_that_no_column_can_have_is_told_with_the_remedy(prices: Table[Any]) -> None:
    with pytest.raises(EncodeError, match=r"Row\.z: the column is of int64.*compute a float.*to_dicts\(\)"):
        prices.select(z=F.id * 2**63).to_arrow()
