"""Records of other programs that are read, changed and written back: members, digits and key columns stay."""

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statestore import (
    ConfigError,
    DecodeError,
    EncodeError,
    Extra,
    F,
    Format,
    Key,
    Precision,
    entity,
    normalise,
)
from statestore.entity import model_of
from statestore.fields.stored_schema import conflicts, unreadable
from statestore.serde.entities import EntityCodec


@entity(topic="orders", value_format="json", key_in_value=True)
@dataclass(frozen=True)
class Order:
    order_id: Annotated[int, Key]
    amount: Annotated[Decimal, Format("number")]
    others: Annotated[dict[str, Any], Extra] = field(default_factory=dict)
    parts: list[Annotated[Decimal, Format("number")]] = field(default_factory=list)


@entity(topic="readings", key_in_value=True)
@dataclass(frozen=True, slots=True)
class Reading:
    sensor: Annotated[str, Key]
    value: float
    others: Annotated[dict[str, Any], Extra] = field(default_factory=dict)


ORDERS, READINGS = EntityCodec[Order](model_of(Order)), EntityCodec[Reading](model_of(Reading))

texts = st.text(st.characters(codec="utf-8"), max_size=6)
numbers = st.one_of(
    st.integers(), st.decimals(allow_nan=False, allow_infinity=False).filter(lambda number: number != 0)
)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
undeclared = texts.filter(lambda name: name not in ("order_id", "amount", "parts", "sensor", "value"))
to_json = msgspec.json.Encoder(decimal_format="number").encode


def digits(text: bytes) -> Any:
    """Return the JSON value of ``text``, each number with all its digits: 1.10 is not 1.1."""
    return json.loads(text, parse_float=lambda number: ("number", Decimal(number).as_tuple()))


@given(st.dictionaries(undeclared, json_values, max_size=4), numbers, st.lists(numbers, max_size=2))
def test_json_of_another_program_comes_back_with_every_member_and_digit(
    others: dict[str, Any], amount: Any, parts: list[Any]
) -> None:
    theirs = to_json({**others, "parts": parts, "order_id": 7, "amount": amount})
    read = ORDERS.decode(b"\x80\0\0\0\0\0\0\7", theirs)
    key, ours = ORDERS.encode(read)
    assert digits(ours) == digits(theirs)
    assert ORDERS.decode(key, ours) == read == normalise(read)


def test_one_field_is_replaced_and_the_rest_stays() -> None:
    theirs = (
        b'{"v":2,"order_id":7,"amount":19.90,"rate":1.10,"tags":["a",{"n":1e2}],"big":9007199254740993000000}'
    )
    read = ORDERS.decode(b"\x80\0\0\0\0\0\0\7", theirs)
    assert read.amount == Decimal("19.90")
    assert read.others["rate"] == Decimal("1.10")
    changed = ORDERS.encode(replace(read, amount=Decimal("20.00")))[1]
    assert digits(changed) == digits(theirs.replace(b"19.90", b"20.00")) | {"parts": []}


msgpack_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False),
    texts,
    st.binary(max_size=4),
    st.datetimes(timezones=st.just(UTC)),
    st.builds(msgspec.msgpack.Ext, st.integers(0, 127), st.binary(max_size=3)),
)
msgpack_values = st.recursive(
    msgpack_scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts | st.integers(0, 9), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(undeclared, msgpack_values, max_size=4))
def test_msgpack_of_another_program_comes_back_with_every_member(others: dict[str, Any]) -> None:
    theirs = msgspec.msgpack.encode({"value": 1.5, **others, "sensor": "a"})
    read = READINGS.decode(b"a", theirs)
    assert read.others == others
    ours = READINGS.encode(read)[1]
    assert msgspec.msgpack.decode(ours) == msgspec.msgpack.decode(theirs)
    assert normalise(read) == read


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ({"order_id": 1}, "others: 'order_id' is the name of a declared field: set that, and remove it here"),
        ({"a": {"b": [1, float("nan")]}}, "others['a']['b'][1]: expected None, bool, int, a finite float"),
        ({"a": datetime(2024, 1, 1, tzinfo=UTC)}, "others['a']: expected None"),
        ({"a": {1: 2}}, "others['a']: expected a key of type str"),
        ({"a": "\ud800"}, "others['a']: expected None"),
        ({1: 2}, "others: expected a str as the name of a member"),
        (None, "others: expected dict"),
    ],
)
def test_what_json_lacks_is_refused_with_its_place(members: Any, problem: str) -> None:
    with pytest.raises(EncodeError) as refused:
        ORDERS.encode(Order(1, Decimal(1), members))
    assert problem in str(refused.value)


def test_members_that_contain_themselves_are_refused() -> None:
    members: dict[str, Any] = {}
    members["again"] = members
    with pytest.raises(EncodeError, match="contains itself"):
        ORDERS.encode(Order(1, Decimal(1), members))


@pytest.mark.parametrize(
    ("payload", "where", "problem"),
    [
        (
            b'{"amount":1,"a":' + b"1" * 5000 + b"}",
            "others['a']",
            "no value that can be kept (ValidationError",
        ),
        (
            b'{"amount":1,"a":1e-9999999999999999999}',
            "others['a']",
            "its exponent is beyond what a Decimal holds",
        ),
        (b'{"amount":1e-9999999999999999999}', "amount", "Invalid decimal string: 1e-9999999999999999999"),
        (
            b'{"amount":1,"a":["\\ud800"]}',
            "others['a'][0]",
            "a lone surrogate, half of a character, in '\\ud800'",
        ),
        (
            b'{"amount":1,"a\\ud800":1}',
            "others['a\\ud800']",
            "a lone surrogate, half of a character, in 'a\\ud800'",
        ),
        (b'{"amount":"\\udc00"}', "amount", "a lone surrogate, half of a character, in '\\udc00'"),
    ],
)
def test_a_member_that_does_not_decode_is_named_with_its_value(
    payload: bytes, where: str, problem: str
) -> None:
    with pytest.raises(DecodeError) as told:
        ORDERS.decode(b"\x80\0\0\0\0\0\0\7", payload)
    assert str(told.value).startswith(f"Order.{where}: ")
    assert problem in str(told.value)


def test_an_extra_field_changes_nothing_that_a_store_keeps() -> None:
    """It can be declared later, and left out again."""

    @entity(topic="orders", value_format="json")
    @dataclass(frozen=True)
    class Before:
        order_id: Annotated[int, Key]
        amount: Decimal
        parts: list[Decimal] = field(default_factory=list)

    before, after = model_of(Before).stored_schema, model_of(Order).stored_schema
    for old, new in ((before, after), (after, before)):
        assert not conflicts(old, new)
        assert not unreadable(old, new)


@pytest.mark.parametrize("form", ["avro", "raw", "kafka"])
def test_formats_without_undeclared_members_refuse_extra(form: str) -> None:
    @dataclass
    class Faulty:
        number: Annotated[int, Key]
        value: bytes
        others: Annotated[dict[str, Any], Extra] = field(default_factory=dict)

    with pytest.raises(ConfigError, match=f"values in '{form}' have no undeclared members"):
        entity(Faulty, topic="faulty", value_format=form)


def test_every_misuse_is_told() -> None:
    @dataclass
    class Inner:
        rest: Annotated[dict[str, Any], Extra]

    @dataclass
    class Faulty:
        number: Annotated[int, Key]
        inner: Inner
        price: Annotated[Decimal, Format("%Y-%m-%d")]
        at: Annotated[datetime, Format("number")]
        rest: Annotated[dict[str, int], Extra]
        more: Annotated[dict[str, Any], Extra, Key]

    with pytest.raises(ConfigError) as refused:
        entity(Faulty, topic="faulty", value_format="raw", key_in_value=True, indexes=[F.rest])
    faults = "\n".join(refused.value.faults)
    for problem in (
        "Inner.rest: Extra is for a field of the entity itself",
        "Faulty.price: Format(pattern='%Y-%m-%d') is for a datetime or a date: the format of a Decimal is",
        "Faulty.at: Format(pattern='number') is for a Decimal: the format of a datetime is a pattern",
        "Faulty.rest: an Extra field is a dict[str, Any], not dict[str, int]",
        "Faulty.more: Key is not possible with Extra",
        "only one field can be the Extra, not several: rest, more",
        "key_in_value=True is for value_format='json', 'msgpack' and 'avro'",
    ):
        assert problem in faults
    with pytest.raises(ConfigError, match="has no effect without a key field"):

        @entity(topic="faulty", kind="stream", value_format="json", key_in_value=True)
        @dataclass
        class _Keyless:
            value: int


def test_an_index_or_expression_of_extra_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"others is Extra, whose members have no declared type"):

        @entity(topic="faulty", indexes=[F.others])
        @dataclass
        class _Indexed:
            number: Annotated[int, Key]
            others: Annotated[dict[str, Any], Extra] = field(default_factory=dict)


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (Annotated[Decimal, Format("number")], b"1.50"),
        (Annotated[Decimal, Format("number"), Precision(9, 4)], b"1.5000"),
        (Decimal, b'"1.50"'),
    ],
)
def test_a_decimal_is_a_number_where_the_field_says_so(annotation: Any, text: bytes) -> None:
    price_type = annotation

    @entity(topic="prices", value_format="json")
    @dataclass
    class Price:
        number: Annotated[int, Key]
        price: price_type  # type: ignore[valid-type]

    codec = EntityCodec[Price](model_of(Price))
    key, payload = codec.encode(Price(1, Decimal("1.50")))
    assert payload == b'{"price":' + text + b"}"
    for other in (b"1.5", b'"1.5"'):
        assert codec.decode(key, b'{"price":' + other + b"}").price == Decimal("1.5")
