"""The statements of a program: in an order in which they can be sent, each once."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Annotated, Any

import pytest

from statestore import F, Key, KsqlError, Query, agg, entity, ksql
from statestore.ksql import PersistentQuery
from tests.unit.ksql import shop
from tests.unit.ksql.shop import ByCustomer, City, Customer, Order, Shipped

COUNTS = Query.of(Order).group_by(F.customer).aggregate(orders=agg.count())
BUSY = PersistentQuery(Query.of(ByCustomer).where(F.orders > 10), into="BUSY")
BUSIER = PersistentQuery(Query.of(ByCustomer).where(F.orders > 100), into="BUSIER")


def module(**values: Any) -> ModuleType:
    made = ModuleType("plan")
    vars(made).update(values)
    return made


def names(found: tuple[ksql.Statement, ...]) -> list[str]:
    return [one.name for one in found]


def test_what_is_read_comes_first() -> None:
    found = ksql.collect([module(busy=BUSY, counts=PersistentQuery(COUNTS, into=ByCustomer))])
    assert names(found) == ["BY_CUSTOMER", "BUSY"]


def test_a_class_that_a_query_makes_has_no_statement_of_its_own() -> None:
    found = ksql.collect([shop, module(counts=PersistentQuery(COUNTS, into=ByCustomer), busy=BUSY)])
    (made,) = [one for one in found if one.name == "BY_CUSTOMER"]
    assert made.is_persistent
    order = names(found)
    assert order.index("ORDERS") < order.index("BY_CUSTOMER") < order.index("BUSY")
    assert {"CANDLES_1MIN", "CANDLES_5MIN", "QUOTES_60MIN", "COUNTS_5MIN"} <= set(order)
    assert order.count("TICKS") == 1  # which two bar classes read


def test_rows_are_inserted_into_what_is_there() -> None:
    joined = Query.of(Order).join(Customer, on=F[Order].customer == F[Customer].id)
    found = ksql.collect([module(more=PersistentQuery(joined, into=Shipped).insert()), shop])
    actions = [one.action for one in found if one.name == "SHIPPED"]
    assert actions == ["create stream", "insert into"]


def test_equal_queries_count_once() -> None:
    again = PersistentQuery(Query.of(ByCustomer).where(F.orders > 10), into="BUSY")
    assert names(ksql.collect([module(a=BUSY, b=BUSY, c=again), module(d=BUSIER)])) == ["BUSY", "BUSIER"]


def test_two_of_one_name() -> None:
    other = PersistentQuery(Query.of(ByCustomer).where(F.orders > 20), into="BUSY")
    with pytest.raises(KsqlError) as raised:
        ksql.collect([module(a=BUSY, b=other)])
    assert "b: BUSY is a's" in str(raised.value)
    assert "test_collect.py" in str(raised.value)


@pytest.mark.parametrize("given", ["shop", None, 5, shop, [5]])
def test_modules_are_a_list(given: Any) -> None:
    with pytest.raises(KsqlError, match="give a list of modules"):
        ksql.collect(given)


def test_a_circle() -> None:
    one = PersistentQuery(Query.of(City), into="TWO")

    @entity(topic="two", ksql=True, key_format="kafka", value_format="json")
    @dataclass
    class Two:
        name: Annotated[str, Key]
        people: int

    other = PersistentQuery(Query.of(Two), into=City)
    with pytest.raises(KsqlError, match="TWO, CITIES read each other in a circle"):
        ksql.collect([module(a=one, b=other)])


def test_the_faults_of_all_come_at_once() -> None:
    first = PersistentQuery(Query.of(City).take(1), into="A")
    second = PersistentQuery(Query.of(City).skip(1), into="B")
    with pytest.raises(KsqlError) as raised:
        ksql.collect([module(first=first, second=second)])
    assert [fault.partition(":")[0] for fault in raised.value.faults] == ["first", "second"]
    assert all("test_collect.py:" in fault for fault in raised.value.faults)


def test_modules_by_name() -> None:
    assert names(ksql.collect(["tests.unit.ksql.shop"]))[0] == "ORDERS"
