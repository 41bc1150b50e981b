"""Names and literals: whatever they contain, the server reads back what went in."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from statestore import F, KsqlError
from statestore.expressions.expr import Condition
from statestore.ksql import expressions, lexis
from statestore.ksql.scope import Scope
from tests.unit.ksql.lexer import KEYWORDS, Token, tokens
from tests.unit.ksql.orders import RECORD, scope_of_orders
from tests.unit.ksql.parser import parsed
from tests.unit.ksql.server import computed

_PIECES: Final = [
    "'",
    "`",
    '"',
    "\n",
    "\r",
    "\t",
    "\0",
    ";",
    "--",
    "/*",
    "*/",
    "${x}",
    "$",
    "\\",
    "%",
    "é",
    "😀",
    " ",
]
_hostile: Final = st.lists(st.sampled_from(_PIECES) | st.text(max_size=3), max_size=6).map("".join)
_no_variable: Final = _hostile.filter(lambda text: "${" not in text)
_names: Final = (
    _no_variable.filter(bool) | st.sampled_from(sorted(KEYWORDS)) | st.from_regex(r"\A[0-9a-z]\w{0,3}\Z")
)


def _read(text: str) -> tuple[str, str]:
    (token,) = tokens(text)
    return token.kind, token.text


@given(_names)
@example("x" * 10_000)
@example("--")
@example("1A")
@example("\u0130")  # its lower case is two characters
def test_a_name_is_read_as_it_was(name: str) -> None:
    assert _read(lexis.quoted(name)) == ("name", name)


@given(_no_variable)
@example("x" * 100_000)
@example("it''s; DROP TABLE t; --")
def test_a_text_is_read_as_it_was(text: str) -> None:
    assert _read(lexis.string(text)) == ("string", text)


@given(_hostile)
@example("${x}${y}")
@example("$${x}")
def test_a_text_may_look_like_a_variable(text: str) -> None:
    written = lexis.literal(text)
    assert "${" not in written
    assert computed(written, {}, {}) == text


@pytest.mark.parametrize("name", ["", "a${b}", "\ud800"])
def test_no_name_at_all(name: str) -> None:
    with pytest.raises(KsqlError):
        lexis.quoted(name)


@pytest.mark.parametrize("name", ["", "a b", "a.b", "é", "a;b", "`", "a$"])
def test_no_name_of_a_source(name: str) -> None:
    with pytest.raises(KsqlError, match="cannot name a stream or table"):
        lexis.source_name(name)
    assert tokens(lexis.source_name("a-b")) == [Token("name", "a-b")]


@pytest.mark.parametrize("text", ["${x}", "\ud800"])
def test_no_text_of_a_property(text: str) -> None:
    with pytest.raises(KsqlError, match="the text"):
        lexis.string(text)


_CONSTANTS: Final = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20, places=9)
    | st.uuids()
    | st.binary(max_size=4)
)


@given(_CONSTANTS)
@example(-(2**63))
@example(2**63 - 1)
@example(5e-324)
@example(-0.0)
@example(1.7976931348623157e308)
@example(Decimal("1E-37"))
@example(Decimal("9" * 38))
@example(Decimal("1E+37"))
@example(Decimal("-0E-9"))
@example(Decimal("-99999999999999999999.999999999"))
def test_a_constant_has_its_value(constant: Any) -> None:
    found = computed(lexis.literal(constant), {}, {})
    expected: Any = str(constant) if isinstance(constant, UUID) else constant
    assert found == expected
    assert not isinstance(found, float) or math.copysign(1, found) == math.copysign(1, expected)


@pytest.mark.parametrize(
    "instant", [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)]
)
def test_the_first_and_the_last_year(instant: datetime) -> None:
    assert computed(lexis.literal(instant), {}, {}) == int(instant.timestamp()) * 1000
    assert computed(lexis.literal(instant.date()), {}, {}) == (instant.date() - date(1970, 1, 1)).days


@pytest.mark.parametrize(
    "constant",
    [
        2**63,
        -(2**63) - 1,
        math.inf,
        -math.inf,
        math.nan,
        Decimal("NaN"),
        Decimal("Infinity"),
        Decimal("9" * 39),
        Decimal("1E+38"),
        Decimal("1E-38"),
        "\udfff",
    ],
)
def test_a_constant_without_a_literal(constant: Any) -> None:
    with pytest.raises(KsqlError, match=r"has no literal|beyond the 64 bits|digits|half a surrogate pair"):
        lexis.literal(constant)


@given(_hostile, st.integers(-(2**53), 2**53), st.floats(-1e15, 1e15))
def test_a_condition_with_hostile_constants_is_one_condition(text: str, number: int, fraction: float) -> None:
    condition = (
        (F.name == text)
        & F.name.startswith(text)
        & F.name.contains(text)
        & F.note.like(text.replace("\\", "\\\\"))
        & F.name.in_([text, "b"])
        & (F.count - number > fraction)
        & (F.rate - fraction > number)
        & (-F.rate < -fraction)
    )
    scope = scope_of_orders()
    found = expressions.condition(condition.node, scope)
    assert not scope.faults
    parsed(found)


def test_a_name_of_a_field_cannot_break_out() -> None:
    scope = Scope((RECORD,), ("a-b",), (True,))
    assert tokens(expressions.condition((F.tags["a'] OR 1"] > 1).node, scope)) == [
        Token("name", "a-b", 0),
        Token("sign", ".", 5),
        Token("name", "TAGS", 6),
        Token("sign", "[", 10),
        Token("string", "a'] OR 1", 11),
        Token("sign", "]", 22),
        Token("sign", ">", 24),
        Token("integer", "1", 26),
    ]


def test_deep_expressions_are_refused() -> None:
    makes: list[Callable[[Condition], Condition]] = [operator.invert, lambda one: one.is_null()]
    for make in makes:
        condition = F.paid == F.seen
        for _ in range(1000):
            condition = make(condition)
        scope = scope_of_orders()
        expressions.condition(condition.node, scope)
        assert scope.faults == [
            "an expression is nested more than 100 levels deep, which ksqlDB's parser may not survive: "
            "compute a part of it in a stream of its own"
        ]
    condition = F.paid == F.seen
    for _ in range(50):
        condition = condition == F.seen  # doubles the text each time
    scope = scope_of_orders()
    expressions.condition(condition.node, scope)
    (fault,) = scope.faults
    assert "more than 200000 characters" in fault


def test_a_long_list_of_conditions_is_not_deep() -> None:
    condition = F.count == 0
    for number in range(1000):
        condition |= F.count == number
    scope = scope_of_orders()
    found = expressions.condition(condition.node, scope)
    assert not scope.faults
    parsed(found)
