"""Evaluating expressions: against a slow and plain reference, over random expressions and entities."""

from __future__ import annotations

import decimal
import itertools
import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statestore import F
from statestore.expressions.evaluation import compiled, evaluate
from statestore.expressions.expr import Condition, Expr, Value
from statestore.expressions.type_checking import expression_faults, expression_type
from statestore.fields.inspection import read_record_type
from statestore.fields.types import Nullable, Scalar, type_name


@dataclass(frozen=True)
class Address:
    city: str
    count: int


@dataclass(frozen=True)
class Order:
    id: int
    customer: str
    amount: Decimal
    paid: bool
    placed: datetime
    note: str | None
    rating: int | None
    address: Address
    billing: Address | None
    tags: list[str]
    prices: dict[str, Decimal]


ORDER = read_record_type(Order, [], [])
ORDER_1 = Order(
    id=7,
    customer="ada",
    amount=Decimal("19.90"),
    paid=True,
    placed=datetime(2026, 1, 1, tzinfo=UTC),
    note=None,
    rating=None,
    address=Address("London", 3),
    billing=None,
    tags=["a", "b"],
    prices={"eur": Decimal(2)},
)

VALUES: list[tuple[Expr, Any]] = [
    (F.amount, Decimal("19.90")),
    (F.address["count"] + 1, 4),
    (F.billing["city"] == "London", None),
    (F.tags[1], "b"),
    (F.tags[2], None),
    (F.prices["eur"], Decimal(2)),
    (F.prices["usd"], None),
    (F.id / 2, 3.5),
    (-F.id % 4, 1),
    (F.id / (F.id - 7), None),
    (F.amount / 0, None),
    (F.id % 0, None),
    (F.amount / 3, Decimal("6.6333333333333333333333333333333333333")),
    (1 - F.amount, Decimal("-18.90")),
    (F.rating + 1, None),
    (F.note == "x", None),
    ((F.note == "x") & (F.id == 1), False),
    ((F.note == "x") | (F.id == 7), True),
    ((F.note == "x") & F.paid, None),
    (~(F.note == "x"), None),
    (F.note.is_null() & ~F.id.is_null(), True),
    (F.rating.in_([]), False),
    (F.rating.in_([1]), None),
    (F.rating.between(1, 3), None),
    (F.id.between(F.rating, 3), False),
    (F.customer.in_(["ada", "alan"]), True),
    (F.placed == datetime.fromisoformat("2026-01-01T02:00+02:00"), True),
    (F.customer.startswith("ad") & F.customer.endswith("da") & F.customer.contains("d"), True),
    (F.customer.startswith("d") | F.customer.endswith("d") | F.customer.contains("A"), False),
    (F.note.contains("x"), None),
    (F.customer.like("a_a") & F.customer.like("%") & F.customer.like("a%"), True),
    (F.customer.like("a_") | F.customer.like("d%") | F.customer.like("A%"), False),
    (F.note.like("%"), None),
]


@pytest.mark.parametrize(("expr", "value"), VALUES, ids=lambda value: str(value)[:60])
def test_examples(expr: Expr, value: Any) -> None:
    assert expression_faults(expr, ORDER) == []
    result = evaluate(expr, ORDER_1)
    assert (type(result), result) == (type(value), value)


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("a.c", ["a.c"], ["abc", "a.cd", "xa.c"]),
        ("%\n_", ["\nx", "a\n\nb"], ["\n", "a\nbc"]),
        (r"1\_0\%", ["1_0%"], ["1x0%", r"1\_0\%", "1_0"]),
        (r"a\\%", ["a\\", r"a\b"], ["a", "ab", "a%"]),
        ("", [""], ["a"]),
    ],
)
def test_patterns_of_like(pattern: str, matching: list[str], others: list[str]) -> None:
    is_like = compiled(F.customer.like(pattern))
    texts = [*matching, *others]
    assert [text for text in texts if is_like(replace(ORDER_1, customer=text))] == matching


def test_decimals_do_not_depend_on_the_threads_context() -> None:
    long = replace(ORDER_1, amount=Decimal("1234567890.123456789"))
    with decimal.localcontext(prec=3):
        assert evaluate(-F.amount * 1, long) == Decimal("-1234567890.123456789")


@pytest.mark.parametrize(("left", "right"), list(itertools.product((7, -7, 6, -6), (3, -3))))
def test_a_remainder_has_the_sign_of_its_right_side_whatever_the_type(left: int, right: int) -> None:
    order = replace(ORDER_1, id=left, amount=Decimal(left))
    for expr in (F.id % right, F.id % float(right), F.id % Decimal(right), F.amount % right):
        assert evaluate(expr, order) == left % right
    assert evaluate(right % F.amount, order) == right % left


@pytest.mark.parametrize("nan", [Decimal("NaN"), Decimal("sNaN")])
def test_nan_is_unequal_to_everything(nan: Decimal) -> None:
    order = replace(ORDER_1, amount=nan)
    assert evaluate(F.amount.in_([1, Decimal("2.5")]), order) is False
    assert evaluate(F.id / F.amount, order).is_nan()
    assert evaluate(F.amount % 2, order).is_nan()
    for expr in (F.amount == 1, F.amount < 1, F.amount >= F.amount, F.amount == F.amount):
        assert evaluate(expr, order) is False
    assert evaluate(F.amount != F.amount, order) is True


def test_what_was_not_checked_is_an_error() -> None:
    with pytest.raises(AttributeError):
        evaluate(F.nothing, ORDER_1)
    with pytest.raises(TypeError):
        evaluate(F.customer > 3, ORDER_1)


# Random expressions. The generator makes an expression together with what it must give: a function of the
# entity, written as SQL defines it and not as it is evaluated.

Reference = Any
COMPARE = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}
COMPUTE = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b}


def strict(function: Any, *operands: Reference) -> Reference:
    """Return ``function`` of the operands' values, unknown if one of them is."""

    def value(entity: Order) -> Any:
        values = [operand(entity) for operand in operands]
        return None if None in values else function(*values)

    return value


def sql_and(operands: list[Reference]) -> Reference:
    def value(entity: Order) -> bool | None:
        values = [operand(entity) for operand in operands]
        return False if False in values else None if None in values else True

    return value


def sql_not(operand: Reference) -> Reference:
    return strict(lambda value: not value, operand)


def sql_or(operands: list[Reference]) -> Reference:
    return sql_not(sql_and([sql_not(operand) for operand in operands]))


def constant(value: Any) -> Reference:
    return lambda _: value


small = st.integers(-4, 4)
words = st.sampled_from(["", "a", "b", "ada"])

integers: st.SearchStrategy[tuple[Value, Reference]] = st.sampled_from(
    [
        (F.id, lambda entity: entity.id),
        (F["rating"], lambda entity: entity.rating),
        (F[Order].address["count"], lambda entity: entity.address.count),
        (F.billing["count"], lambda entity: entity.billing and entity.billing.count),
    ]
)
strings: st.SearchStrategy[tuple[Value, Reference]] = st.sampled_from(
    [
        (F.customer, lambda entity: entity.customer),
        (F.note, lambda entity: entity.note),
        (F.tags[1], lambda entity: (*entity.tags, None, None)[1]),
    ]
)


@st.composite
def computed(draw: st.DrawFn, inner: st.SearchStrategy[Any]) -> tuple[Value, Reference]:
    left, left_value = draw(inner)
    if draw(st.booleans()):
        right, right_value = draw(inner)
    else:
        right = draw(small)
        right_value = constant(right)
    match draw(st.sampled_from(["+", "-", "*", "/", "%", "neg", "reflected"])):
        case "neg":
            return -left, strict(lambda value: -value, left_value)
        case "reflected":
            number = draw(small)
            return number - left, strict(lambda value: number - value, left_value)
        case "/":  # the quotient is compared as a fraction of integers: exact
            return left * 1, left_value
        case "%":
            return left % right, strict(
                lambda a, b: None if b == 0 else a - b * math.floor(Fraction(a, b)), left_value, right_value
            )
        case op:
            expr = {"+": left + right, "-": left - right, "*": left * right}[op]
            return expr, strict(COMPUTE[op], left_value, right_value)


numbers = st.recursive(integers, computed, max_leaves=4)


@st.composite
def compared(draw: st.DrawFn) -> tuple[Condition, Reference]:
    kinds: Any = [(numbers, small), (strings, words)]
    operands, constants = draw(st.sampled_from(kinds))
    left, left_value = draw(operands)

    def side() -> tuple[Any, Reference]:
        if draw(st.booleans()):
            drawn: tuple[Any, Reference] = draw(operands)
            return drawn
        value = draw(constants)
        return value, constant(value)

    match draw(st.sampled_from([*COMPARE, "null", "in", "between"])):
        case "null":
            return left.is_null(), lambda entity: left_value(entity) is None
        case "in":
            values: list[Any] = draw(st.lists(constants, max_size=3))
            equal = [strict(COMPARE["=="], left_value, constant(value)) for value in values]
            return left.in_(values), sql_or(equal)
        case "between":
            (low, low_value), (high, high_value) = side(), side()
            within = [
                strict(COMPARE["<="], low_value, left_value),
                strict(COMPARE["<="], left_value, high_value),
            ]
            return left.between(low, high), sql_and(within)
        case op:
            right, right_value = side()
            made: Condition = COMPARE[op](left, right)
            return made, strict(COMPARE[op], left_value, right_value)


@st.composite
def joined(draw: st.DrawFn, inner: st.SearchStrategy[Any]) -> tuple[Condition, Reference]:
    (left, left_value), (right, right_value) = draw(inner), draw(inner)
    match draw(st.sampled_from(["&", "|", "~", "=="])):
        case "&":
            return left & right, sql_and([left_value, right_value])
        case "|":
            return left | right, sql_or([left_value, right_value])
        case "~":
            return ~left, sql_not(left_value)
        case _:
            return left == right, strict(COMPARE["=="], left_value, right_value)


flags: st.SearchStrategy[tuple[Condition, Reference]] = st.just((F.paid, lambda entity: entity.paid))
conditions = st.recursive(st.one_of(compared(), flags), joined, max_leaves=8)

addresses = st.builds(Address, words, small)
orders = st.builds(
    replace,
    st.just(ORDER_1),
    id=small,
    customer=words,
    paid=st.booleans(),
    note=st.none() | words,
    rating=st.none() | small,
    address=addresses,
    billing=st.none() | addresses,
    tags=st.lists(words, max_size=3),
)


@given(st.one_of(conditions, numbers), st.lists(orders, min_size=1, max_size=4))
def test_random_expressions_give_what_sql_says(drawn: tuple[Expr, Reference], some: list[Order]) -> None:
    expr, reference = drawn
    assert expression_faults(expr, ORDER) == []
    type_ = expression_type(expr, ORDER)
    assert type_ is not None
    bare = type_.item if isinstance(type_, Nullable) else type_
    assert isinstance(bare, Scalar), type_name(type_)
    evaluated = compiled(expr)
    for order in some:
        value = evaluated(order)
        assert value == reference(order)
        assert type(value) is bare.type or (value is None and isinstance(type_, Nullable))


@given(conditions)
def test_random_expressions_read_like_their_source(drawn: tuple[Expr, Reference]) -> None:
    again = eval(repr(drawn[0]), {"F": F, "Order": Order})
    assert again.node == drawn[0].node
