"""Statements as they are, for people to read: ``golden/*.sql``.

After a change that is meant, ``python -m tests.unit.ksql.test_golden`` writes the files anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import pytest

from statestore import F, Hopping, Query, agg, ksql
from statestore.ksql import PersistentQuery, Sessions, Statement
from tests.unit.ksql.shop import (
    ByCustomer,
    Candle,
    City,
    Counted,
    Customer,
    Living,
    Order,
    Paid,
    Payment,
    Quote,
    Shipped,
    Total,
    Visit,
)

FOLDER = Path(__file__).with_name("golden")
SHIPPED = Query.of(Order).join(Customer, on=F[Order].customer == F[Customer].id)
COUNTS = Query.of(Order).group_by(F.customer).aggregate(orders=agg.count())
BIG = (
    Query.of(Order)
    .where((F.price >= Decimal("99.50")) & F.country.in_(["FR", "Côte d'Ivoire"]) & ~F.coupon.is_null())
    .group_by(F.country, F.customer)
    .aggregate(orders=agg.count(), turnover=agg.sum(F.price), last=agg.last(F.placed))
    .having(F.orders > 2)
)


def of(*queries: PersistentQuery) -> list[Statement]:
    return [statement for query in queries for statement in query.statements()]


GOLDEN: dict[str, list[Statement]] = {
    "entities": [
        *[ksql.create(one) for one in (Order, Payment, Customer, Total, Counted, Visit)],
        ksql.create(City, or_replace=True),
        ksql.drop(Order),
        ksql.drop(City, delete_topic=True),
    ],
    "queries": of(
        PersistentQuery(COUNTS, into=ByCustomer),
        PersistentQuery(BIG.select(F.country, F.customer, F.orders), into=Total),
        PersistentQuery(BIG, into="BIG").as_stream(),
        PersistentQuery(Query.of(Order).select(F.customer, F.number, cost=F.price * F.pieces), into="COSTS",
                        partition_by=F.customer),
        PersistentQuery(Query.of(City).where(F.people > 1_000_000), into="LARGE").or_replace(),
    ),
    "joins": of(
        PersistentQuery(SHIPPED, into=Shipped),
        PersistentQuery(SHIPPED, into=Shipped).insert(),
        PersistentQuery(Query.of(Order).join(Payment, on=F[Order].number == F[Payment].order), into=Paid,
                        within=("0s", "1h"), grace="5min"),
        PersistentQuery(Query.of(Customer).join(City, on=F[Customer].city == F[City].name), into=Living),
        PersistentQuery(
            SHIPPED.left_join(City, on=F[Order].country == F[City].name)
            .select(F[Order].country, F[Order].number, F[Customer].name, F[City].people),
            into="THREE",
        ),
    ),
    "windows": of(
        PersistentQuery(COUNTS, into=Counted, window=5, grace="30s", retention="7d", window_start="opened"),
        PersistentQuery(COUNTS, into=Visit, window=Sessions("30min"), grace="0s"),
        PersistentQuery(COUNTS, into="HOPS", window=Hopping("1h", "5min"), window_end="until"),
        PersistentQuery(COUNTS, into="FINALS", window="1d", grace="1h", emit="final"),
    ),
    "bars": [*ksql.statements(Candle), *ksql.statements(Quote)[1:]],
    "selects": [
        ksql.select(Query.of(City).where(F.people.between(1, 5) | F.name.startswith("Pa")).take(10)),
        ksql.select(Query.of(Counted).where(F.customer == "it's")),
        ksql.select(COUNTS, "changes"),
        ksql.select(SHIPPED.select(F[Order].number, F[Customer].city), "changes"),
    ],
}  # fmt: skip


def text_of(statements: Sequence[Statement]) -> str:
    return "\n\n".join(one.text for one in statements) + "\n"


@pytest.mark.parametrize("name", GOLDEN)
def test_statements_are_as_they_were(name: str) -> None:
    assert text_of(GOLDEN[name]) == (FOLDER / f"{name}.sql").read_text(encoding="utf-8")


def test_no_file_is_left_over() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(GOLDEN)


if __name__ == "__main__":
    for name, statements in GOLDEN.items():
        (FOLDER / f"{name}.sql").write_text(text_of(statements), encoding="utf-8")
