"""Programs over stored pairs against their twin, the evaluation of decoded entities."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from functools import cache
from typing import Annotated, Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statestore import F, Key, core, entity
from statestore.entity import model_of
from statestore.errors import DecodeError
from statestore.expressions.aggregates import Aggregate, agg
from statestore.expressions.evaluation import DECIMALS, compiled
from statestore.expressions.expr import Expr
from statestore.expressions.type_checking import expression_faults
from statestore.fields.attributes import Float32, Int32, MaxLength, Precision
from statestore.fields.types import Nullable, Scalar
from statestore.query.compile import compile_filter, compile_groups
from statestore.query.grouping import Aggregation
from statestore.relational.checking import Column
from statestore.serde.entities import EntityCodec

pytestmark = pytest.mark.skipif(
    core.IMPLEMENTATION == "pure" or not core.uses("decoder") or not core.uses("program"),
    reason="there are no programs here",
)


@entity(topic="things")
@dataclass(frozen=True, slots=True)
class Thing:
    code: Annotated[str, Key]
    number: Annotated[int, Key]
    name: str
    count: int
    ratio: float
    price: Annotated[Decimal, Precision(9, 2)]
    amount: Decimal
    at: datetime
    day: date
    good: bool
    data: bytes
    id: UUID
    few: Annotated[int, Int32] | None = None
    half: Annotated[float, Float32] | None = None
    title: Annotated[str, MaxLength(5)] | None = None
    other: datetime | None = None
    share: Decimal | None = None


RECORD = model_of(Thing).record_type
NAMES = [field.name for field in RECORD.fields]


@cache
def codec() -> EntityCodec[Thing]:
    return EntityCodec(model_of(Thing))


INTS = st.sampled_from([0, 1, -1, 2, 7, 2**53, 2**53 + 1, 2**62, 2**63 - 1, -(2**63), 2**31]) | st.integers(
    -(2**63), 2**63 - 1
)
REALS = st.sampled_from([0.0, -0.0, 1.0, 0.5, 2.0**53, 2.0**63, -(2.0**63), 1e300, math.inf, -math.inf])
DECIMALS_ = st.sampled_from(
    [
        Decimal(text)
        for text in ("0", "0.00", "1", "1.0", "1.5", "-1.50", "99.99", "123456789012345678.9", "1E+3")
    ]
) | st.decimals(-(10**6), 10**6, places=3, allow_nan=False)
TEXTS = st.sampled_from(["", "a", "ab", "b", "ä", "\uffff", "\U00010000", "a\0b", "zz"]) | st.text(max_size=6)
TIMES = st.sampled_from(
    [datetime(1970, 1, 1, tzinfo=UTC), datetime(2026, 3, 1, 12, tzinfo=UTC)]
) | st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))
DAYS = st.sampled_from([date(1970, 1, 1), date(2026, 3, 1)]) | st.dates()
DATA = st.sampled_from([b"", b"\0", b"a", b"\xff"]) | st.binary(max_size=5)
IDS = st.sampled_from([UUID(int=0), UUID(int=1), UUID(int=2**127)]) | st.uuids()
CONSTANTS: dict[type, st.SearchStrategy[Any]] = {
    int: INTS | st.sampled_from([2**63, -(2**70)]),
    float: REALS | st.floats(allow_nan=False),
    Decimal: DECIMALS_ | st.decimals(allow_nan=False),
    str: TEXTS,
    bytes: DATA,
    datetime: TIMES | TIMES.map(lambda time: time.astimezone(timezone(timedelta(hours=-5)))),
    date: DAYS,
    bool: st.booleans(),
    UUID: IDS,
}
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "code": TEXTS,
    "number": INTS,
    "name": TEXTS,
    "count": INTS,
    "ratio": REALS | st.floats(),
    "price": st.decimals(-(10**6), 10**6, places=2, allow_nan=False),
    "amount": DECIMALS_ | st.decimals(),
    "at": TIMES,
    "day": DAYS,
    "good": st.booleans(),
    "data": DATA,
    "id": IDS,
    "few": st.none() | st.integers(-(2**31), 2**31 - 1),
    "half": st.none() | st.floats(width=32),
    "title": st.none() | st.text(max_size=5),
    "other": st.none() | TIMES,
    "share": st.none() | DECIMALS_,
}


@st.composite
def pairs(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A stored pair: mostly as we write it, else as others do."""
    thing = Thing(**{name: draw(values) for name, values in VALUES.items()})
    key, payload = codec().encode(thing)
    if draw(st.integers(0, 5)) == 0:
        fields = msgspec.msgpack.decode(payload)
        change = draw(st.sampled_from(["order", "more", "missing", "long", "text", "zero", "whole"]))
        if change == "order":
            fields = dict(reversed(fields.items()))
        elif change == "more":
            fields["unknown"] = 1
        elif change == "missing":
            del fields["few"], fields["title"]
        elif change == "long":
            fields["title"] = "longer than five"
        elif change == "text":
            fields["price"], fields["amount"] = "1.5", "1E+1"
        elif change == "zero":
            fields["price"], fields["amount"] = "-0.00", "-0"
        else:
            fields["ratio"] = 3
        payload = msgspec.msgpack.encode(fields)
    return key, payload


KINDS: dict[type, list[str]] = {}
for _field in RECORD.fields:
    _type = _field.type.item if isinstance(_field.type, Nullable) else _field.type
    assert isinstance(_type, Scalar)
    KINDS.setdefault(_type.type, []).append(_field.name)


@st.composite
def values(draw: st.DrawFn, kind: type, depth: int = 2) -> Any:
    """An expression of ``kind``."""
    choice = draw(st.integers(0, 5))
    if kind in (int, float) and depth and choice < 3:
        if kind is int and draw(st.integers(0, 4)) == 0:
            return -draw(values(int, depth - 1))
        sides: list[type] = [int, int] if kind is int else draw(st.sampled_from([[float, int], [int, float]]))
        left, right = (draw(values(side, depth - 1)) for side in sides)
        if not isinstance(left, Expr):
            left = draw(fields_of(sides[0]))
        match draw(st.sampled_from("+-*%" if kind is int else "+-*/")):
            case "+":
                return left + right
            case "-":
                return left - right
            case "*":
                return left * right
            case "%":
                return left % right
            case _:
                return left / right
    if choice == 3:
        return draw(CONSTANTS[kind])
    return draw(fields_of(kind))


def fields_of(kind: type) -> st.SearchStrategy[Any]:
    return st.sampled_from(KINDS[kind]).map(lambda name: F[name])


COMPARE = [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]
OTHERS: dict[type, list[type]] = {int: [int, float, Decimal], float: [int, float], Decimal: [int, Decimal]}
TEXT_TESTS = ["startswith", "endswith", "contains", "like"]


@st.composite
def conditions(draw: st.DrawFn, depth: int = 2) -> Any:
    joined = draw(st.sampled_from(["&", "|", "~", "", "", ""])) if depth else ""
    if joined:
        one, other = draw(conditions(depth - 1)), draw(conditions(depth - 1))
        return (one & other) if joined == "&" else (one | other) if joined == "|" else ~one
    kind = draw(st.sampled_from(list(KINDS)))
    left = draw(values(kind))
    if not isinstance(left, Expr):
        left = draw(fields_of(kind))
    return draw(comparisons(left, kind))


@st.composite
def comparisons(draw: st.DrawFn, left: Any, kind: type) -> Any:
    kinds = st.sampled_from(OTHERS.get(kind, [kind]))
    match draw(st.sampled_from(["null", "in", "between", "text", "compare", "compare", "compare"])):
        case "null":
            return left.is_null()
        case "in":
            return left.in_([draw(CONSTANTS[draw(kinds)]) for _ in range(draw(st.integers(0, 4)))])
        case "between" if kind is not bool:
            return left.between(draw(values(draw(kinds))), draw(values(draw(kinds))))
        case "text" if kind is str:
            text = draw(st.sampled_from(["", "a", "ä", "b\0", "a_%"]))
            return getattr(left, draw(st.sampled_from(TEXT_TESTS)))(text)
        case "text" if kind is bool:
            return left
    compare = draw(st.sampled_from(COMPARE[:2] if kind is bool else COMPARE))
    return compare(left, draw(values(draw(kinds))))


def stored(rows: Sequence[tuple[bytes, bytes]]) -> Any:
    return iter([(b"\1" + key, bytes(8) + payload) for key, payload in rows])


def shown(rows: Sequence[Any]) -> list[str]:
    return [repr(row) for row in rows]


@given(conditions(), st.lists(pairs(), max_size=8))
def test_a_filter_accepts_the_rows_that_the_evaluation_accepts(
    condition: Any, rows: list[tuple[bytes, bytes]]
) -> None:
    if expression_faults(condition, RECORD):
        return
    found = compile_filter(condition.node, codec(), RECORD)
    twin = compiled(condition)
    wanted = [row for row in (codec().decode(*pair) for pair in rows) if twin(row)]
    if isinstance(found, str):
        return
    assert shown(list(found.rows(stored(rows), codec().decode))) == shown(wanted)
    assert found.count(stored(rows), codec().decode) == len(wanted)
    assert found.count(stored(rows), codec().decode, most=2) == min(2, len(wanted))


@st.composite
def aggregates(draw: st.DrawFn) -> list[Column]:
    found: list[Aggregate] = [agg.count()]
    for _ in range(draw(st.integers(0, 4))):
        make = draw(st.sampled_from([agg.count, agg.sum, agg.avg, agg.min, agg.max]))
        numbers = make in (agg.sum, agg.avg)
        kinds = [int, float, Decimal] if numbers else [kind for kind in KINDS if kind is not bool]
        value = draw(values(draw(st.sampled_from(kinds))))
        if isinstance(value, Expr):
            found.append(make(value))
    return [Column(f"column{number}", one) for number, one in enumerate(found)]


@given(
    conditions(depth=1) | st.none(),
    st.lists(st.sampled_from(NAMES), max_size=3),
    aggregates(),
    st.lists(pairs(), max_size=12),
)
def test_groups_have_what_python_computes(
    condition: Any, names: list[str], wanted: list[Column], rows: list[tuple[bytes, bytes]]
) -> None:
    if condition is not None and expression_faults(condition, RECORD):
        return
    keys = [Column(name, F[name].node) for name in names]
    accepts = (lambda _: True) if condition is None else compiled(condition)
    decoded = [row for row in (codec().decode(*pair) for pair in rows) if accepts(row)]
    node = None if condition is None else condition.node
    aggregation = Aggregation(keys, wanted, [RECORD])
    found = compile_groups(node, [one.node for one in keys], aggregation.measures, codec(), RECORD)
    if isinstance(found, str):
        return
    twin = outcome(lambda: aggregation.of_rows(decoded))
    native = outcome(lambda: aggregation.of_groups(found.groups(stored(rows), codec().decode)))
    assert native == twin


def outcome(call: Any) -> Any:
    """The results of ``call`` as text: NaN equals itself there, and 1.0 does not equal 1."""
    return [repr([normal(value) for value in row]) for row in call()]


def normal(value: Any) -> Any:
    """A decimal as the number it is: of equal ones either may be the least."""
    return value.normalize(DECIMALS) if isinstance(value, Decimal) else value


@pytest.mark.parametrize(
    ("condition", "native", "reason"),
    [
        (F.count > 2**63, None, "F.count > 9223372036854775808: a constant has more than 64 bits"),
        (
            F.amount == Decimal("Infinity"),
            None,
            "F.amount == Decimal('Infinity'): the constant Infinity is not",
        ),
        (F.amount > Decimal("0." + "1" * 19), None, "a constant has more than 18 digits"),
        (F.amount * 2 > 1, None, "F.amount * 2 > 1: Decimals are computed in Python"),
        (F.name.like("a%"), None, "F.name.like('a%'): there is no native step for it"),
        (
            (F.count > 1) & F.name.like("a%") & F.good,
            (F.count > 1) & F.good,
            "F.name.like('a%'): there is no",
        ),
        ((F.count > 1) | F.name.like("a%"), None, "there is no native step for it"),
    ],
)
def test_what_is_left_to_python_has_a_reason(condition: Any, native: Any, reason: str) -> None:
    assert not expression_faults(condition, RECORD)
    found = compile_filter(condition.node, codec(), RECORD)
    if isinstance(found, str):
        assert native is None
        assert reason in found
    else:
        assert found.native == native.node
        assert reason in found.reasons[0]


def test_deep_conditions_are_left_to_python() -> None:
    condition: Any = F.good
    for _ in range(200):
        condition = ~condition
    assert compile_filter(condition.node, codec(), RECORD) == (
        f"{condition!r}: has more than 100 conditions within one another"
    )


@entity(topic="made")
@dataclass(frozen=True, slots=True)
class Made:
    id: Annotated[int, Key]
    name: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name.upper())


@entity(topic="nested")
@dataclass
class Listed:
    id: Annotated[int, Key]
    names: list[str]


def test_classes_that_change_their_fields_or_have_others_than_scalars_are_left_to_python() -> None:
    for cls, reason in ((Made, "which may change their fields"), (Listed, "of scalar fields")):
        of_class: EntityCodec[Any] = EntityCodec(model_of(cls))
        found = compile_filter((F.id > 1).node, of_class, model_of(cls).record_type)
        assert isinstance(found, str)
        assert reason in found


def test_an_error_of_a_row_is_raised_and_the_scan_goes_on_after_it() -> None:
    at, day = datetime(2026, 1, 1, tzinfo=UTC), date(2026, 1, 1)
    price = Decimal("1.50")
    thing = Thing("code", 1, "name", 2, 0.5, price, Decimal(3), at, day, True, b"data", UUID(int=1))
    key, payload = codec().encode(thing)
    found = compile_filter((F.count > 1).node, codec(), RECORD)
    assert not isinstance(found, str)
    rows = found.rows(stored([(key, payload), (key, b"\xc1"), (key, payload)]), codec().decode)
    assert next(rows) == thing
    with pytest.raises(DecodeError):
        next(rows)
    assert list(rows) == [thing]
    with pytest.raises(DecodeError):
        found.count(stored([(key, b"\xc1")]), codec().decode)
