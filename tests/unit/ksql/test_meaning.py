"""Both meanings agree: expressions, translated, give in ksqlDB what ``evaluate`` gives here."""

from __future__ import annotations

import operator
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, Final

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from statestore import F, Query
from statestore.expressions.evaluation import evaluate
from statestore.expressions.expr import Condition, Expr, Value
from statestore.expressions.type_checking import expression_faults
from statestore.ksql import expressions, transient
from tests.unit.ksql.orders import (
    RECORD,
    TYPES,
    Order,
    days,
    floats,
    instants,
    ints,
    order_with,
    orders,
    raws,
    refs,
    scope_of_orders,
    stored,
    texts,
)
from tests.unit.ksql.parser import COMPARISONS, Tree, parsed
from tests.unit.ksql.server import computed, type_of

Values = st.SearchStrategy[Any]
Conditions = st.SearchStrategy[Condition]

_COMPARE: Final = [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]
_COMPUTE: Final = [operator.add, operator.sub, operator.mul, operator.truediv, operator.mod]
_NUMBERS: Final = (
    ints
    | floats
    | st.sampled_from([Decimal("1.5"), Decimal("0.0000001"), Decimal(3), Decimal("-7.25"), 1.5, 8])
)
_TIMES: Final = instants | st.just(datetime(1970, 1, 1, 0, 0, 1, 1, tzinfo=UTC))


def _fields(*names: str) -> Values:
    return st.sampled_from([F[name] for name in names])


_number_fields: Final = _fields(
    "small", "count", "maybe", "amount", "fee", "rate", "ratio"
) | st.sampled_from([F.address["floor"], F.tags["a"], F.tags["b'c"], F.prices[0], F.prices[1]])
_numbers: Final[Values] = st.recursive(
    _number_fields,
    lambda inner: (
        st.builds(lambda op, a, b: op(a, b), st.sampled_from(_COMPUTE), inner, inner | _NUMBERS)
        | st.builds(lambda op, a, b: op(b, a), st.sampled_from(_COMPUTE), inner, _NUMBERS)
        | st.builds(operator.neg, inner)
    ),
    max_leaves=4,
)


def _tests(values: Values, constants: Values) -> Conditions:
    """Return conditions on values of one kind."""
    return (
        st.builds(lambda op, a, b: op(a, b), st.sampled_from(_COMPARE), values, values | constants)
        | st.builds(lambda a, b: a.in_(b), values, st.lists(constants, max_size=3))
        | st.builds(lambda a, low, high: a.between(low, high), values, values | constants, values | constants)
        | st.builds(lambda a: a.is_null(), values)
    )


_text_fields: Final = _fields("name", "note") | st.just(F.address["city"])
_patterns: Final = texts.map(lambda text: text + "\\" if (len(text) - len(text.rstrip("\\"))) % 2 else text)
_SIMPLE: Final[dict[str, Conditions]] = {
    "numbers": _tests(_numbers, _NUMBERS),
    "texts": _tests(_text_fields, texts),
    "parts of texts": st.builds(
        lambda of, name, text: getattr(of, name)(text),
        _text_fields,
        st.sampled_from(["startswith", "endswith", "contains"]),
        texts,
    )
    | st.builds(lambda of, text: of.like(text), _text_fields, _patterns),
    "times": _tests(_fields("at", "until", "sent"), _TIMES),
    "others": st.one_of(
        _tests(_fields("day"), days),
        _tests(_fields("ref"), refs),
        _tests(_fields("raw"), raws),
        st.builds(lambda a, b: a == b, _fields("paid", "seen"), _fields("paid", "seen") | st.booleans()),
        st.builds(lambda a: a.is_null(), _fields("address", "tags", "written", "seen")),
    ),
}
"""Conditions on one value, by its kind."""


def _joined(simple: Conditions) -> Conditions:
    """Return conditions that are made of others."""
    return st.recursive(
        simple | _fields("paid", "seen"),
        lambda inner: st.one_of(
            st.builds(operator.and_, inner, inner),
            st.builds(operator.or_, inner, inner),
            st.builds(operator.invert, inner),
            st.builds(
                lambda op, a, b: op(a, b),
                st.sampled_from([operator.eq, operator.ne]),
                inner,
                inner | st.booleans(),
            ),
            st.builds(lambda a: a.is_null(), inner),
        ),
        max_leaves=3,
    )


_CONDITIONS: Final = {kind: simple | _joined(simple) for kind, simple in _SIMPLE.items()}


def _translated(expr: Expr, translate: Callable[..., str]) -> str:
    """Return the text of an expression that both sides can have, with no note that they differ somewhere."""
    assume(not expression_faults(expr, RECORD))
    scope = scope_of_orders()
    text = translate(expr.node, scope)
    assume(not scope.faults)
    assume(not scope.notes)
    return text


@pytest.mark.parametrize("kind", _CONDITIONS)
@given(data=st.data(), order=orders)
def test_a_condition_is_true_for_the_same_rows(kind: str, data: st.DataObject, order: Order) -> None:
    condition = data.draw(_CONDITIONS[kind])
    text = _translated(condition, expressions.condition)
    assert type_of(text, TYPES) == "BOOLEAN"
    assert computed(text, TYPES, stored(order)) is (evaluate(condition, order) is True), text


@given(st.one_of(*_CONDITIONS.values()), orders)
def test_a_condition_of_a_pull_query_compares_only(condition: Condition, order: Order) -> None:
    text = _translated(condition, partial(expressions.condition, is_pull=True))
    _check_is_plain(parsed(text), is_alone=True)
    assert computed(text, TYPES, stored(order)) is (evaluate(condition, order) is True), text


def _check_is_plain(tree: Tree, *, is_alone: bool = False) -> None:
    """Fail for what the server refuses in a pull query over a table, or takes apart."""
    if tree[0] in ("and", "or"):
        for part in tree[1:]:
            _check_is_plain(part)
        return
    assert tree[0] in (*COMPARISONS, "between", "in")
    # The server moves a NOT out of a comparison that stands alone, wherever in it.
    assert not is_alone or "'not'" not in repr(tree)


@given(st.one_of(*_CONDITIONS.values()), orders)
def test_a_condition_has_the_same_value_as_a_column(condition: Condition, order: Order) -> None:
    text = _translated(condition, expressions.expression)
    assert computed(text, TYPES, stored(order)) is evaluate(condition, order), text


@given(_numbers, orders)
def test_a_computation_gives_the_same_number(number: Value, order: Order) -> None:
    text = _translated(number, expressions.expression)
    expected = evaluate(number, order)
    found = computed(text, TYPES, stored(order))
    assert found == expected or (found != found and expected != expected), text
    if expected is not None:
        scope = scope_of_orders()
        type_ = type_of(text, TYPES)
        written = expressions.ksql_type(number.node, scope)
        assert written == (type_ if isinstance(type_, str) else f"DECIMAL({type_[1]}, {type_[2]})")


NAN: Final = float("nan")


@pytest.mark.parametrize("ratio", [NAN, float("inf"), None, 1.0])
@pytest.mark.parametrize("compare", _COMPARE)
def test_nan_and_infinity_compare_alike(
    compare: Callable[[Any, Any], Condition], ratio: float | None
) -> None:
    order = order_with(ratio=ratio)
    for condition in (
        compare(F.ratio, 1.5),
        compare(F.ratio, F.rate),
        compare(F.ratio, 2),
        F.ratio.in_([1.0]),
    ):
        for one in (condition, ~condition):
            text = expressions.condition(one.node, scope_of_orders())
            assert computed(text, TYPES, stored(order)) is (evaluate(one, order) is True), text


def test_an_instant_between_two_milliseconds_is_between_them_there_too() -> None:
    between = datetime(2024, 1, 1, 0, 0, 0, 500, tzinfo=UTC)
    for compare in _COMPARE:
        for at in (between.replace(microsecond=0), between.replace(microsecond=1000)):
            condition = compare(F.at, between)
            text = expressions.condition(condition.node, scope_of_orders())
            order = order_with(at=at, until=at + timedelta(days=1))
            assert computed(text, TYPES, stored(order)) is evaluate(condition, order)


def test_a_pull_query_says_what_it_takes_otherwise() -> None:
    query = Query.of(Order).where((F.rate > 1.5) & (F.count < F.ratio) & (F.amount > 1))
    said = ": a pull query takes NaN for the greatest number, and -0.0 for less than 0.0"
    found = transient.select(query).notes
    assert [one.removesuffix(said) for one in found if one.endswith(said)] == [
        "F.rate > 1.5",
        "F.count < F.ratio",
    ]
    assert not any(one.endswith(said) for one in transient.select(query, "changes").notes)
