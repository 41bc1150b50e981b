"""The tables of ``docs/ksql.md``, "Both meanings": what each row says is so."""

from __future__ import annotations

import pytest

from statestore.expressions.evaluation import evaluate
from statestore.ksql import aggregates, expressions
from statestore.ksql.conditions import is_condition
from statestore.ksql.scope import Scope
from tests.unit.ksql.meanings import AGGREGATES, MEANINGS, AggregateMeaning, Meaning, Said
from tests.unit.ksql.orders import TYPES, scope_of_orders, stored
from tests.unit.ksql.parser import parsed
from tests.unit.ksql.server import computed


def _check(said: Said, text: str, scope: Scope) -> None:
    found = scope.faults if said.text is None else scope.notes
    assert [one.split(": ", 1)[1] for one in found[:1]] == ([said.more] if said.more else [])
    if said.text is not None:
        assert text == said.text
        parsed(text)


@pytest.mark.parametrize("row", MEANINGS, ids=repr)
def test_an_expression_is_translated_as_the_table_says(row: Meaning) -> None:
    value = evaluate(row.expr, row.order)
    assert repr(value) == row.here
    node, scope = row.expr.node, scope_of_orders()
    is_test = is_condition(node, scope)
    text = expressions.condition(node, scope) if is_test else expressions.expression(node, scope)
    _check(row.said, text, scope)
    if row.said.text is not None:
        found = computed(text, TYPES, stored(row.order))
        assert found == (value is True if is_test else value)


@pytest.mark.parametrize("row", AGGREGATES, ids=lambda row: f"{row.aggregate!r} over a {row.over}")
def test_an_aggregate_is_translated_as_the_table_says(row: AggregateMeaning) -> None:
    scope = scope_of_orders()
    text = aggregates.aggregate(row.aggregate, scope, over="table" if row.over == "table" else "stream")
    _check(row.said, text, scope)


def test_the_tables_have_all_their_rows() -> None:
    assert len(MEANINGS) > 45
    assert len(AGGREGATES) > 20
    assert any(row.is_tried for row in MEANINGS)
