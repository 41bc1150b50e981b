"""Conditions on key fields, and orders: what looking at all rows gives, read without looking at all."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from itertools import cycle, permutations, product
from pathlib import Path
from typing import Any

import pytest

from statestore import F
from statestore.expressions.evaluation import compiled
from statestore.expressions.expr import Condition
from statestore.query.plan import plan_of
from statestore.query.reading import KeyScan
from tests.unit.query.tables import COMPARE, KEYS, POOLS, Filled, constants_of, filled, in_order


def conditions(name: str, kind: Any) -> Iterator[Condition]:
    """Every kind of condition with every constant."""
    field = F[name]
    some = constants_of(kind)
    for compare, constant in product(COMPARE, some):
        yield compare(field, constant)
        yield compare(constant, field)
    for low, high in product(some[:8], some[:8]):
        yield field.between(low, high)
        yield (field > low) & (field < high)
        yield field.in_([high, low, high])
        yield (field == low) | field.in_([high])
        yield field.in_([low, high]) & (field != low) & (field >= high)
    if kind is str:
        for text in (*some, "%", "a%"):
            yield field.startswith(text)
            yield field.like(text)


@pytest.fixture
def table(request: pytest.FixtureRequest) -> Iterator[Filled]:
    key_format, kinds = request.param
    with filled(key_format, kinds, "memory", Path("unused")) as table:
        keys = product(*[POOLS[kind] for kind in kinds])
        table.change([table.cls(*key, None, Decimal(0), None, "", True) for key in keys])
        yield table


@pytest.mark.parametrize("table", KEYS, indirect=True, ids=str)
def test_a_condition_on_a_key_field(table: Filled) -> None:
    rows = table.naive()
    accesses: set[str] = set()
    for name, kind in zip(table.names, table.kinds, strict=True):
        for condition in conditions(name, kind):
            query = table.table.where(condition)
            is_true = compiled(condition)
            assert query.to_list() == [row for row in rows if is_true(row) is True], query.explain()
            access = plan_of(query.value, [table.codec]).first.access
            accesses.add(f"seeks={access.seeks}" if isinstance(access, KeyScan) else type(access).__name__)
    is_ordered = table.codec.key_plan().accepts is None
    assert accesses == {"NoRows", "seeks=False"} | ({"seeks=True"} if is_ordered else set()) | (
        {"PointReads"} if len(table.names) == 1 else set()
    )


def test_every_order() -> None:
    """Of a key of three fields: each order of them and others, in each direction, behind each condition."""
    kinds = (date, str, int)
    fields = [F.k0, F.k1, F.k2, F.n, F.k2 * -1 % 2]
    terms: list[Any] = [term for field in fields for term in (field, field.desc())]
    orders = [*permutations(terms, 1), *permutations(terms, 2), *permutations(terms[:6], 3)]
    days = POOLS[date][:3]
    some = [F.k0 == days[1], F.k1 == "a", F.k1.in_(["a", "b"]) & (F.k0 == days[2])]
    some.append(F.k0.in_(days[1:]) & (F.k1 == "a") & F.k2.in_([1, 2]))
    with filled("ordered", kinds, "memory", Path("unused")) as table:
        keys = product(days, ["a", "b"], [1, 2])
        numbers = cycle([1, None, 1, 2, None])
        table.change([table.cls(*key, next(numbers), Decimal(0), None, "", True) for key in keys])
        as_read = 0
        for condition in ((), *((one,) for one in some)):
            asked = table.table.where(*condition)
            rows = asked.to_list()
            for order in orders:
                query = asked.order_by(*order)
                wanted = in_order(query.value, rows)
                assert query.to_list() == wanted, query.explain()
                assert query.take(3).to_list() == wanted[:3], query.explain()
                as_read += plan_of(query.value, [table.codec]).first.sorted
        assert as_read > 50
