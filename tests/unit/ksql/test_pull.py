"""Pull queries over tables: WHERE has comparisons only, joined by AND and OR, and means the same."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from statestore import F, Query
from statestore.expressions.expr import Condition
from tests.unit.ksql.shop import Counted, Customer
from tests.unit.ksql.shop import Order as Ordered


@pytest.mark.parametrize(
    ("condition", "text"),
    [
        (
            (F.id == "a") & F.city.is_null(),
            "CUSTOMER_ID = 'a' AND CASE WHEN CITY IS NULL THEN 1 ELSE 0 END = 1",
        ),
        (
            ~F.city.in_(["a"]),
            "1 = 1 AND CASE WHEN CITY IS NOT NULL AND NOT CITY IN ('a') THEN 1 ELSE 0 END = 1",
        ),
        (F.city.in_([]), "1 = 0"),
        (~F.name.in_([]), "1 = 1"),
        (F.id.in_(["a", "b"]), "CUSTOMER_ID IN ('a', 'b')"),
    ],
)
def test_what_a_pull_query_has_not_is_compared_as_a_whole(condition: Condition, text: str) -> None:
    query = Query.of(Customer).where(condition)
    assert f"\nWHERE {text};" in query.to_ksql()


def test_a_pull_query_has_no_other_window_than_one() -> None:
    query = Query.of(Counted).where(F.start != datetime(2024, 1, 1, tzinfo=UTC))
    assert "CASE WHEN WINDOWSTART <> 1704067200000 THEN 1 ELSE 0 END = 1" in query.to_ksql()


def test_a_pull_query_over_a_stream_has_all_conditions() -> None:
    assert "\nWHERE COUPON IS NOT NULL;" in Query.of(Ordered).where(~F.coupon.is_null()).to_ksql()
