"""What expressions say and refuse, before they are given an entity."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

import statestore
from statestore.expressions.expr import Expr, Fields

F: Any = statestore.F  # what type checkers refuse is refused here at run time
agg: Any = statestore.agg


class Order:
    pass


SPELLED = [
    "F.amount > 100",
    "F.amount >= Decimal('0.5')",
    "F.a == 'ada'",
    "F.a != b'x'",
    "(F.a > 1) & (F.b < 2) & F.c",
    "(F.a > 1) & F.b | ~F.c",
    "F.a & (F.b | F.c)",
    "~(F.a > 1)",
    "~(F.a & F.b)",
    "(F.a > 1) == F.b",
    "(F.a & F.b) == F.c",
    "F.a + F.b * 2 > 3",
    "(F.a + F.b) * 2 - -5",
    "F.a - (F.b - F.c)",
    "F.a - F.b - F.c",
    "-(F.a + 1) / 2 % 3",
    "-5 % F.a",
    "1 - F.a",
    "F.a.in_([1, 2.5, 'x'])",
    "(F.a + 1).in_([])",
    "F.a.between(1, F.b + 1)",
    "F.a.is_null()",
    "F.a.startswith('x') | F.b['desc'].like('a%\\\\_') & ~(F.c.contains('') == F.c.endswith('x'))",
    "(F.a > 1).is_null()",
    "F.address['count'] == 3",
    "F.tags[0] == 'x'",
    "F[Order].amount > F.limit",
    "F['class'] == 1",
    "F['two words'] == 1",
    "F.in_ == F.between",
    "F.at == datetime(2026, 1, 1, tzinfo=UTC)",
    "F.day == date(2026, 1, 1)",
    "F.id == UUID(int=1)",
]


@pytest.mark.parametrize("text", SPELLED)
def test_an_expression_reads_like_its_source(text: str) -> None:
    names: dict[str, Any] = {
        "F": F,
        "Order": Order,
        "Decimal": Decimal,
        "UUID": UUID,
        "UTC": UTC,
        "datetime": datetime,
        "date": date,
    }
    expr = eval(text, names)
    if "date" not in text and "UUID" not in text:  # these node_text as constants do
        assert repr(expr) == text
    else:
        import datetime as module

        assert eval(repr(expr), {**names, "datetime": module}).node == expr.node
    for again in (eval(text, names), pickle.loads(pickle.dumps(expr)), copy.deepcopy(expr), copy.copy(expr)):
        assert type(again) is type(expr)
        assert again.node == expr.node
        assert hash(again) == hash(expr)


def test_different_expressions_differ() -> None:
    nodes = [eval(text, {"F": F, "Order": Order, "Decimal": Decimal}).node for text in SPELLED[:-3]]
    assert len(set(nodes)) == len(nodes)
    assert (F.a == 1).node != (F.a == True).node  # noqa: E712 - not the same question
    assert (F.a == 1).node != (F.a == 1.0).node
    assert F[Order].a.node != F.a.node


def test_the_constant_may_stand_first() -> None:
    assert repr(100 < F.amount) == "F.amount > 100"  # noqa: SIM300
    assert repr("ada" == F.name) == "F.name == 'ada'"  # noqa: SIM300


def test_a_chain_is_one_level_deep() -> None:
    conditions = F.n == 0
    for number in range(1, 5000):
        conditions = conditions | (F.n == number)
    assert hash(conditions) == hash(pickle.loads(pickle.dumps(conditions)))
    assert repr(conditions).count("|") == 4999


@pytest.mark.parametrize(
    "question",
    [
        lambda: F.a > 1 and F.b > 1,
        lambda: F.a or F.b,
        lambda: not F.a,
        lambda: 1 < F.a < 3,
        lambda: F.a in [1, 2],
        lambda: bool(F.a == F.a),
        lambda: min(F.a, F.b),
        lambda: max(F.a + 1, 3),
        lambda: sorted([F.a, F.b]),
        lambda: {F.a: 1}[F["a"]],
    ],
)
def test_what_python_decides_at_once_is_refused_with_the_fix(question: Callable[[], object]) -> None:
    with pytest.raises(TypeError, match=r"is not true or false.*\(F\.a > 1\) & \(F\.b > 2\).*between.*in_"):
        question()


@pytest.mark.parametrize("expr", [F, F[Order], F.a, F.a + 1, F.a > 1])
def test_nothing_is_iterated_for_ever(expr: Any) -> None:
    for iterate in (min, list, iter, lambda it: 1 in it):
        with pytest.raises(TypeError):
            iterate(expr)


@pytest.mark.parametrize(
    ("make", "fix"),
    [
        (lambda: F.a == None, r"is_null\(\)"),  # noqa: E711 - the point of it
        (lambda: F.a.between(None, 3), r"is_null\(\)"),
        (lambda: F.a.in_([1, None]), r"is_null\(\)"),
        (lambda: F.a == [1], r"is of type list"),
        (lambda: F.a != object(), "is of type object"),
        (lambda: F.a.in_("abc"), r"in_\(\[…\]\)"),
        (lambda: F.a.in_(5), r"in_\(\[…\]\)"),
        (lambda: agg.count() > 1, r"write aggregate\(x=agg\.count\(\)\)\.having\(F\.x > …\)"),
        (lambda: F.a.in_([F.b]), "only constants are allowed"),
        (lambda: F.a > 1 & F.b < 2, r"1 beside F\.b.*put each comparison in parentheses"),
        (lambda: (F.a > 1) | True, "put each comparison in parentheses"),
        (lambda: (F.a > 1) & F.b > 2, r"has no order: put each comparison in parentheses"),
        (lambda: (F.a > 1) > 2, r"has no order"),
        (lambda: F.a[1.5], "give the name of a field"),
        (lambda: F[1], "F\\['field'\\] or F\\[EntityClass\\]"),
        (lambda: F[Order][int], "EntityClass"),
        (lambda: F.a.startswith(F.b), "give a str"),
    ],
)
def test_what_cannot_be_meant_is_refused(make: Callable[[], object], fix: str) -> None:
    with pytest.raises(TypeError, match=fix):
        make()


def test_constants_that_no_field_equals() -> None:
    for value in (float("nan"), Decimal("NaN"), Decimal("sNaN")):
        with pytest.raises(ValueError, match="NaN"):
            F.a == value  # noqa: B015 - refused
    with pytest.raises(ValueError, match=r"no time zone.*tzinfo=UTC"):
        F.a > datetime(2026, 1, 1)  # noqa: B015 - refused


def test_nested_fields_are_in_brackets_since_a_method_may_have_their_name() -> None:
    with pytest.raises(AttributeError, match=r"write F\.address\['city'\]"):
        F.address.city  # noqa: B018 - refused
    with pytest.raises(AttributeError):
        (F.a > 1).city  # noqa: B018 - refused
    assert repr(F.address["in_"]) == "F.address['in_']"


def test_values_do_not_change() -> None:
    for target in (F, F.a, F.a > 1):
        with pytest.raises(AttributeError):
            target.node = None
        with pytest.raises(AttributeError):
            del target.node


def test_f_itself() -> None:
    assert pickle.loads(pickle.dumps(F)) is F
    assert copy.deepcopy(F) is F
    assert repr(pickle.loads(pickle.dumps(F[Customer]))) == "F[Customer]"
    assert not hasattr(F, "__wrapped__")
    assert isinstance(F, Fields)
    assert isinstance(F.anything, Expr)


class Customer:
    pass


def test_a_pattern_cannot_end_with_a_backslash() -> None:
    with pytest.raises(ValueError, match=r"the pattern ends with a backslash.*write two for one backslash"):
        F.a.like("50\\")
    F.a.like("50\\\\")


def test_an_order_reads_like_its_source_and_is_a_value() -> None:
    orders = [F.a.desc(), F[Order].a.desc(), (F.a + 1).desc()]
    assert list(map(repr, orders)) == ["F.a.desc()", "F[Order].a.desc()", "(F.a + 1).desc()"]
    assert pickle.loads(pickle.dumps(orders)) == orders
