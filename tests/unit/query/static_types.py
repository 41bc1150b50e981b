"""What mypy and pyright know of queries: they check this file in "make lint"; nothing runs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_type

from statestore import F, Query, Row, Table, agg
from statestore.query.facade import TableQuery


@dataclass
class Order:
    id: int


@dataclass
class Customer:
    id: int


@dataclass
class City:
    id: int


@dataclass
class Total:
    n: int


def check(orders: Table[Order], customers: Table[Customer], cities: Table[City]) -> None:
    on = F[Order].id == F[Customer].id
    assert_type(Query.of(Order).where(F.id > 1), Query[Order])
    assert_type(Query.of(Order).select(Total, n=F.id), Query[Total])
    assert_type(Query.of(Order).select(F.id), Query[Row])
    assert_type(Query.of(Order).join(Customer, on=on), Query[tuple[Order, Customer]])
    assert_type(Query.of(Order).left_join(Customer, on=on), Query[tuple[Order, Customer | None]])
    assert_type(Query.of(Order).join(Customer, on=on).join(City, on=on), Query[tuple[Order, Customer, City]])
    assert_type(orders.where(F.id > 1, lambda o: o.id > 3).to_list(), list[Order])
    assert_type(orders.select(Total, n=F.id).first(), Total)
    assert_type(
        orders.join(customers, on=on).left_join(cities, on=on).first(), tuple[Order, Customer, City | None]
    )
    assert_type(orders.map(lambda o: str(o.id)), TableQuery[str])
    assert_type(orders.group_by(F.id).aggregate(n=agg.count()).select(Total), TableQuery[Total])
    assert_type(orders.first_or_default(), Order | None)
