"""What fields are over: sources with names, rows that there may not be, windows, groups."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from datetime import UTC, datetime
from typing import Annotated

from statestore import F, Key, WindowEnd, WindowSize, WindowStart, entity
from statestore.entity import model_of
from statestore.expressions.expr import Expr
from statestore.fields.types import Field, Nullable, RecordType, Scalar
from statestore.ksql import expressions
from statestore.ksql.scope import Scope
from statestore.relational.checking import Group
from tests.unit.ksql.orders import RECORD, Order


@entity(topic="BARS", key_format="kafka", value_format="json", ksql=True, windows=[5], window_layout="sink")
@dataclass(frozen=True)
class Bar:
    symbol: Annotated[str, Key]
    total: int
    start: Annotated[datetime, WindowStart]
    end: Annotated[datetime, WindowEnd]
    size: Annotated[int, WindowSize]


BAR: RecordType = model_of(Bar).record_type
NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)


def test_columns_have_the_name_of_their_source() -> None:
    scope = Scope((RECORD, Nullable(BAR)), ("ORDERS", "b"))
    text = expressions.condition(((F[Order].small < F[Bar].total) & (F[Bar].total + 1 > F.count)).node, scope)
    assert text == (
        "ORDERS.SMALL < `b`.TOTAL AND `b`.TOTAL IS NOT NULL "
        "AND CAST(`b`.TOTAL AS DECIMAL(19, 0)) + 1 > ORDERS.COUNT"
    )
    assert not scope.faults


def test_the_ends_of_a_window_are_milliseconds() -> None:
    scope = Scope((BAR,))
    assert expressions.condition((F.start >= NOON).node, scope) == "WINDOWSTART >= 1704110400000"
    assert expressions.condition((F.end > F.start).node, scope) == "WINDOWEND > WINDOWSTART"
    assert expressions.ksql_type(F.end.node, scope) == "BIGINT"
    assert not scope.faults
    expressions.expression(F.size.node, scope)
    (fault,) = scope.faults
    assert "no column with the size of a window" in fault


def test_columns_of_groups_are_what_makes_them() -> None:
    group = RecordType(Group, tuple(_named(name) for name in ("total", "n")), positional=True)
    scope = Scope((group,), substitutes={"total": "SUM(A)", "n": "(A + B)"})
    assert expressions.condition(((F.total > 5) & (-F.n < 3)).node, scope) == (
        "SUM(A) > 5 AND -CAST((A + B) AS DECIMAL(19, 0)) < 3"
    )


def _named(name: str) -> Field:
    return Field(name, Scalar(int), False, MISSING, MISSING, name)


def test_every_fault_is_told_once() -> None:
    scope = Scope((RECORD,))
    condition: Expr = (F.amount / 3 > 1) & (F.written > NOON) & (F.amount / 3 > 1) & (F.nmae == "x")
    assert expressions.condition(condition.node, scope) == expressions.UNTRANSLATED
    assert len(scope.faults) == 1  # of names and types only
    condition = (F.amount / 3 > 1) & (F.written > NOON) & (F.amount / 3 > 2)
    expressions.condition(condition.node, scope := Scope((RECORD,)))
    assert [one.partition(": ")[0] for one in scope.faults] == [
        "F.amount / 3",
        "F.written > datetime.datetime(2024, 1, 1, 12, 0, tzinfo=datetime.timezone.utc)",
    ]
