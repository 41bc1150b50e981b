"""Expressions checked against a class: names, operands, and the type of what comes out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import pytest

from statestore import F
from statestore.expressions.evaluation import compiled
from statestore.expressions.expr import Expr
from statestore.expressions.type_checking import expression_faults, expression_type
from statestore.fields.inspection import read_record_type
from statestore.fields.types import Nullable, type_name


@dataclass(frozen=True)
class Address:
    city: str
    count: int
    street: str | None = None


@dataclass(frozen=True)
class Order:
    id: int
    customer: str
    amount: Decimal
    weight: float
    paid: bool
    placed: datetime
    day: date
    token: UUID
    raw: bytes
    note: str | None
    rating: int | None
    address: Address
    billing: Address | None
    tags: list[str]
    prices: dict[str, Decimal]


@dataclass(frozen=True)
class Customer:
    id: int


ORDER = read_record_type(Order, [], [])
NAMES = ", ".join(field.name for field in ORDER.fields)
NOW = datetime(2026, 1, 1, tzinfo=UTC)

TYPES: list[tuple[Expr, str]] = [
    (F.amount, "Decimal"),
    (F[Order].amount, "Decimal"),
    (F.note, "str | None"),
    (F.amount > 100, "bool"),
    (F.note == "x", "bool | None"),
    (F.note.is_null(), "bool"),
    (F.paid & ~(F.id > 1), "bool"),
    (F.paid | (F.rating > 1), "bool | None"),
    (F.paid == (F.id > 1), "bool"),
    (F.id + 1, "int"),
    (F.id * F.weight, "float"),
    (F.id * F.amount, "Decimal"),
    (F.id / 2, "float"),
    (F.amount / 2, "Decimal"),
    (F.id / F.id, "float | None"),
    (F.id / 0, "float | None"),
    (F.id % 7, "int"),
    (-F.rating, "int | None"),
    (F.id.in_([1, 2.0]), "bool"),
    (F.rating.in_([1]), "bool | None"),
    (F.rating.in_([]), "bool"),
    (F.placed.between(NOW, F.placed), "bool"),
    (F.token > UUID(int=1), "bool"),
    (F.raw < b"x", "bool"),
    (F.address["count"] + 1, "int"),
    (F.address["street"], "str | None"),
    (F.billing["count"], "int | None"),
    (F.address, "Address"),
    (F.tags[0], "str | None"),
    (F.prices["x"] * 2, "Decimal | None"),
    (F.billing.is_null(), "bool"),
    (F.customer.startswith("a"), "bool"),
    (F.note.like("a%"), "bool | None"),
]


@pytest.mark.parametrize(("expr", "name"), TYPES, ids=lambda value: str(value)[:60])
def test_types(expr: Expr, name: str) -> None:
    assert expression_faults(expr, ORDER) == []
    type_ = expression_type(expr, ORDER)
    assert type_ is not None
    assert type_name(type_) == name


FAULTS: list[tuple[Expr, str]] = [
    (F.amuont > 1, f"F.amuont: Order has no field 'amuont' (did you mean 'amount'?); its fields: {NAMES}"),
    (F.zzz, f"F.zzz: Order has no field 'zzz'; its fields: {NAMES}"),
    (
        F.address["town"] == "x",
        "F.address['town']: Address has no field 'town'; its fields: city, count, street",
    ),
    (F[Customer].id == 1, "F[Customer].id: is a field of Customer, but this expression is over Order"),
    (F.customer["x"], "F.customer['x']: F.customer is a str and has no parts"),
    (F.tags["x"], "F.tags['x']: an item of list[str] has a position 0, 1, 2, …, not 'x'"),
    (F.tags[-1], "F.tags[-1]: an item of list[str] has a position 0, 1, 2, …, not -1"),
    (F.prices[1], "F.prices[1]: a key of dict[str, Decimal] is of type str, not 1"),
    (
        F.customer > 3,
        "F.customer > 3: F.customer is a str, 3 an int: they cannot be compared",
    ),
    (F.id == "3", "F.id == '3': F.id is an int, '3' a str: they cannot be compared"),
    (F.paid == 1, "F.paid == 1: F.paid is a bool, 1 an int: they cannot be compared"),
    (F.paid < True, "F.paid < True: F.paid is a bool, which has no order: use == or !="),
    (
        F.amount > 0.1,
        "F.amount > 0.1: F.amount is a Decimal, 0.1 a float: a float and a Decimal are rarely equal: "
        "write a constant in the field's type, 0.1 or Decimal('0.1'), or give both fields the same type",
    ),
    (
        F.placed > date(2026, 1, 1),
        "F.placed > datetime.date(2026, 1, 1): F.placed is a datetime, datetime.date(2026, 1, 1) a date: "
        "a date is a day, a datetime an instant: compare with the datetime at which the day begins",
    ),
    (F.address == F.billing, "F.address == F.billing: F.address is an Address: compare its fields"),
    (F.tags == "x", "F.tags == 'x': F.tags is a list[str]: only .is_null() is possible"),
    (F.customer + "x", "F.customer + 'x': F.customer is a str: + is for int, float, Decimal"),
    (F.placed - F.placed, "F.placed - F.placed: F.placed is a datetime: - is for int, float, Decimal"),
    (-F.paid, "-F.paid: F.paid is a bool: - is for int, float, Decimal"),
    (F.weight % 2, "F.weight % 2: F.weight is a float: % is for int"),
    (
        F.amount * F.weight,
        "F.amount * F.weight: float and Decimal do not mix: write a constant in the field's type, 0.1 or "
        "Decimal('0.1'), or give both fields the same type",
    ),
    (F.amount.contains("1"), "F.amount.contains('1'): F.amount is a Decimal: .contains() is for str"),
    (F.raw.like("a"), "F.raw.like('a'): F.raw is a bytes: .like() is for str"),
    (F.paid & F.id, "F.paid & F.id: F.id is an int, not a condition: compare it"),
    (~F.customer, "~F.customer: F.customer is a str, not a condition: compare it"),
    (F.id.in_([1, "2"]), "F.id.in_([1, '2']): F.id is an int, '2' a str: they cannot be compared"),
    (F.id.between(1, "2"), "F.id.between(1, '2'): F.id is an int, '2' a str: they cannot be compared"),
]


@pytest.mark.parametrize(("expr", "fault"), FAULTS, ids=lambda value: str(value)[:40])
def test_faults(expr: Expr, fault: str) -> None:
    assert expression_faults(expr, ORDER) == [fault]
    assert expression_type(expr, ORDER) is None


def test_all_faults_at_once_each_once() -> None:
    expr = (F.customer > 3) & (F.zzz == F.zzz) & F.paid | (F.day.is_null() & (F.id + "x" > 1))
    assert [fault.partition(":")[0] for fault in expression_faults(expr, ORDER)] == [
        "F.customer > 3", "F.zzz", "F.id + 'x'"
    ]  # fmt: skip


def test_over_several_records() -> None:
    customer = read_record_type(Customer, [], [])
    both = (ORDER, customer)
    assert expression_faults((F[Order].id == F[Customer].id) & (F.amount > 1), *both) == []
    known = expression_type(F[Customer].id, ORDER, Nullable(customer))  # of a left join
    assert known is not None
    assert type_name(known) == "int | None"
    (fault,) = expression_faults(F.id == 1, *both)
    assert fault == "F.id: several classes have this field: write F[Order].id or F[Customer].id"
    (fault,) = expression_faults(F.amuont == 1, *both)
    assert fault.startswith(
        "F.amuont: neither of Order, Customer has a field 'amuont' (did you mean 'amount'?)"
    )
    row = (None, Customer(3))
    assert compiled(F[Order].id + 1, *both)(row) is None
    assert compiled(F[Customer].id + 1, *both)(row) == 4
