"""Values in Avro: what comes back, what other libraries make of it, what is refused."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, make_dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any

import fastavro
import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from hypothesis import given
from hypothesis import strategies as st

from statestore import DecodeError, EncodeError, Key, RegistryError, UnreachableRegistryError, entity
from statestore.entity import model_of
from statestore.fields.attributes import Alias, Float32, Int32, Name, Precision
from statestore.serde.avro import subject
from statestore.serde.entities import EntityCodec
from statestore.serde.formats import FormatContext
from statestore.settings import RegistrySettings
from statestore.testing.registry import StandInRegistry
from tests.unit.serde.avro.conftest import Ask

TOPIC = "orders"
VALUE = SerializationContext(TOPIC, MessageField.VALUE)


@dataclass(frozen=True)
class Point:
    x: int
    y: float | None = None


@entity(topic=TOPIC, value_format="avro")
@dataclass(frozen=True)
class Order:
    order_id: Annotated[int, Key]
    paid: bool
    count: int
    small: Annotated[int, Int32]
    weight: float
    light: Annotated[float, Float32]
    amount: Annotated[Decimal, Precision(12, 3)]
    customer: str
    blob: bytes
    placed: datetime
    day: date
    ref: uuid.UUID
    point: Point
    path: list[Point | None]
    tags: dict[str, Annotated[Decimal, Precision(6, 2)]]
    by_day: dict[date, int]
    note: Annotated[str | None, Name("NOTE")] = None


ORDER = Order(
    1,
    True,
    -(2**63),
    -5,
    0.1,
    0.5,
    Decimal("-1.250"),
    "aé",
    b"\x00\xff",
    datetime(1999, 12, 31, 23, 59, 59, 999_999, UTC),
    date(2024, 2, 29),
    uuid.UUID(int=7),
    Point(3, 0.25),
    [Point(1), None],
    {"": Decimal("0.05")},
    {date(2024, 1, 1): 2},
)

INT64 = st.integers(-(2**63), 2**63 - 1)
POINTS = st.builds(Point, INT64, st.none() | st.floats(allow_nan=False))


def decimals(digits: int, scale: int) -> st.SearchStrategy[Decimal]:
    largest = 10**digits - 1
    return st.integers(-largest, largest).map(lambda number: Decimal(number).scaleb(-scale))


ORDERS = st.builds(
    Order,
    INT64,
    st.booleans(),
    INT64,
    st.integers(-(2**31), 2**31 - 1),
    st.floats(allow_nan=False),
    st.floats(width=32, allow_nan=False),
    decimals(12, 3),
    st.text(st.characters(codec="utf-8")),
    st.binary(),
    st.datetimes(timezones=st.just(UTC)),
    st.dates(),
    st.uuids(),
    POINTS,
    st.lists(st.none() | POINTS, max_size=3),
    st.dictionaries(st.text(st.characters(codec="utf-8")), decimals(6, 2), max_size=3),
    st.dictionaries(st.dates(), INT64, max_size=3),
    st.none() | st.text(st.characters(codec="utf-8")),
)


def codec_of(cls: type, settings: RegistrySettings) -> EntityCodec[Any]:
    return EntityCodec(model_of(cls), FormatContext(settings))


@pytest.fixture
def codec(ask: Ask) -> EntityCodec[Order]:
    return codec_of(Order, ask())


@pytest.fixture
def client(stand_in: StandInRegistry) -> Iterator[SchemaRegistryClient]:
    """Confluent's client, as another program would use it."""
    with SchemaRegistryClient({"url": stand_in.url}) as client:
        yield client


MOCKED = codec_of(Order, RegistrySettings(url=f"mock://{uuid.uuid4()}"))


@given(ORDERS)
def test_what_is_written_is_read(order: Order) -> None:
    assert MOCKED.decode(*MOCKED.encode(order)) == order


@given(ORDERS)
def test_fastavro_alone_reads_the_same(order: Order) -> None:
    schema = fastavro.parse_schema(json.loads(MOCKED._values.subject.text))  # type: ignore[attr-defined] # ours has one
    _, payload = MOCKED.encode(order)
    value: Any = fastavro.schemaless_reader(io.BytesIO(payload[5:]), schema, None)
    assert value["placed"] == order.placed
    assert value["amount"] == order.amount
    assert value["point"] == {"x": order.point.x, "y": order.point.y}
    assert list(value["tags"].values()) == list(order.tags.values())


def as_dict(order: Order) -> dict[str, Any]:
    """Return the value as one gives it to Confluent's serializer."""
    points = [None if point is None else vars(point) for point in order.path]
    days = {day.isoformat(): count for day, count in order.by_day.items()}
    value = {**vars(order), "point": vars(order.point), "path": points, "by_day": days, "NOTE": order.note}
    return {name: value[name] for name in value if name not in ("order_id", "note")}


def test_confluents_deserializer_reads_ours_and_ours_reads_its_serializer(
    codec: EntityCodec[Order], client: SchemaRegistryClient, stand_in: StandInRegistry
) -> None:
    key, payload = codec.encode(ORDER)
    deserialize: Any = AvroDeserializer(client)
    assert deserialize(payload, VALUE) == as_dict(ORDER)
    (schema,) = stand_in.versions(f"{TOPIC}-value")
    serialize: Any = AvroSerializer(client, json.dumps(schema))
    theirs = serialize(as_dict(ORDER), VALUE)
    assert theirs == payload
    assert codec.decode(key, theirs) == ORDER


def test_times_come_back_in_utc_and_decimals_with_their_scale(codec: EntityCodec[Order]) -> None:
    there = datetime(2024, 1, 1, 2, 0, 0, 1, timezone(timedelta(hours=3)))
    found = codec.decode(*codec.encode(_with(placed=there, amount=Decimal("1.5"))))
    assert (found.placed, found.placed.tzinfo) == (there, UTC)
    assert str(found.amount) == "1.500"


def _with(**changed: Any) -> Order:
    return Order(**{**vars(ORDER), **changed})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"paid": 1}, "Order.paid: expected bool, got 1"),
        ({"count": True}, "Order.count: expected int"),
        ({"count": 2**63}, "Order.count: expected int of 64 bits"),
        ({"small": 2**31}, "Order.small: expected int of 32 bits"),
        ({"light": 1e300}, "Order.light: expected float of 32 bits"),
        ({"amount": Decimal("0.0001")}, "Order.amount: expected at most 12 digits"),
        ({"amount": Decimal("NaN")}, "Order.amount: expected at most 12 digits"),
        ({"customer": "\ud800"}, "Order.customer: expected str without lone surrogates"),
        ({"placed": datetime(2024, 1, 1)}, "Order.placed: expected datetime with a time zone"),
        ({"ref": str(ORDER.ref)}, "Order.ref: expected UUID"),
        ({"path": [None, Point("1")]}, r"Order.path\[1\].x: expected int, got '1'"),  # type: ignore[arg-type]
        ({"tags": {"a": Decimal("0.001")}}, r"Order.tags\['a'\]: expected at most"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_name(
    codec: EntityCodec[Order], changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(EncodeError, match=message):
        codec.encode(_with(**changed))


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_not_finite_are_kept(codec: EntityCodec[Order], number: float) -> None:
    found = codec.decode(*codec.encode(_with(weight=number, light=number)))
    assert repr((found.weight, found.light)) == repr((number, number))


# ---- schemas of other writers --------------------------------------------------------------------------


@pytest.fixture
def read(ask: Ask, stand_in: StandInRegistry) -> Callable[..., Any]:
    """Read a value written under another schema as a class with the fields ``id`` and those given."""

    def read(fields: list[Any], written: list[tuple[str, Any]], values: list[Any]) -> Any:
        schema = {
            "type": "record",
            "name": "Other",
            "namespace": "com.example",
            "fields": [{"name": name, "type": type_} for name, type_ in written],
        }
        number = stand_in.register("made-value", schema)
        stream = io.BytesIO()
        record = {name: value for (name, _), value in zip(written, values, strict=True)}
        fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), record)
        made = make_dataclass("Made", [("id", Annotated[int, Key]), *fields])
        codec = codec_of(entity(made, topic="made", value_format="avro"), ask())
        key = codec.encode_key((7,))
        found = codec.decode(key, b"\x00" + number.to_bytes(4, "big") + stream.getvalue())
        return [getattr(found, name) for name, *_ in fields]

    return read


MILLIS = {"type": "long", "logicalType": "timestamp-millis"}
SCALE_2 = {"type": "bytes", "logicalType": "decimal", "precision": 8, "scale": 2}
AMOUNT = Annotated[Decimal, Precision(9, 4)]


@pytest.mark.parametrize(
    ("annotation", "type_", "value", "wanted"),
    [
        (int, "int", 5, 5),
        (float, "float", 0.5, 0.5),
        (float, "long", 5, 5.0),
        (int | None, "long", 5, 5),
        (int, ["null", "long"], 5, 5),
        (str, {"type": "enum", "name": "E", "symbols": ["A", "B"]}, "B", "B"),
        (bytes, {"type": "fixed", "name": "F", "size": 2}, b"ab", b"ab"),
        (uuid.UUID, "string", str(ORDER.ref), ORDER.ref),
        (
            datetime,
            MILLIS,
            datetime(2024, 1, 1, 0, 0, 0, 5000, UTC),
            datetime(2024, 1, 1, 0, 0, 0, 5000, UTC),
        ),
        (AMOUNT, SCALE_2, Decimal("-1.50"), Decimal("-1.5000")),
        (
            AMOUNT,
            {**SCALE_2, "type": "fixed", "name": "F", "size": 8},
            Decimal("2.25"),
            Decimal("2.2500"),
        ),
        (
            Point,
            {"type": "record", "name": "P", "fields": [{"name": "x", "type": "int"}]},
            {"x": 1},
            Point(1),
        ),
        (dict[int, str], {"type": "map", "values": "string"}, {"-3": "a"}, {-3: "a"}),
    ],
)
def test_a_type_that_can_be_ours_is_read_as_ours(
    read: Callable[..., Any], annotation: Any, type_: Any, value: Any, wanted: Any
) -> None:
    (found,) = read([("v", annotation)], [("v", type_)], [value])
    assert (found, type(found)) == (wanted, type(wanted))


@pytest.mark.parametrize(
    ("annotation", "type_", "value", "problem"),
    [
        (int, "string", "x", "Expected `int`, got `str`: 'x' .declared int"),
        (int, "double", 1.0, "Expected `int`, got `float`"),
        (Annotated[int, Int32], "long", 2**40, "Expected `int` <= 2147483647"),
        (int, ["null", "long"], None, "Expected `int`, got `null`"),
        (str, "bytes", b"x", "Expected `str`, got `bytes`"),
        (datetime, "long", 5, "Expected `datetime`, got `int`"),
        (datetime, "string", "2024-01-01T00:00:00Z", "Expected `datetime`, got `str`"),
        (
            datetime,
            {"type": "long", "logicalType": "local-timestamp-micros"},
            datetime(2024, 1, 1),
            "timezone",
        ),
        (date, {"type": "int", "logicalType": "time-millis"}, 5, "Expected `date`, got `time`"),
        (
            AMOUNT,
            {**SCALE_2, "scale": 5},
            Decimal("1.00001"),
            "expected at most 9 digits with 4 decimal places",
        ),
        (AMOUNT, "string", "1.5", "Expected `decimal`, got `str`"),
        (uuid.UUID, "string", "x", "Invalid UUID"),
        (dict[int, str], {"type": "map", "values": "string"}, {"a": "b"}, "key of the map.*'a'"),
    ],
)
def test_a_type_that_cannot_be_ours_is_an_error_that_names_the_field(
    read: Callable[..., Any], annotation: Any, type_: Any, value: Any, problem: str
) -> None:
    with pytest.raises(DecodeError, match=rf"Made\.v(\[.*\])?: .*{problem}"):
        read([("v", annotation)], [("v", type_)], [value])


def test_an_evolved_schema_is_read(read: Callable[..., Any]) -> None:
    """A field was added with a default, another removed, another renamed, and a key field is in the value."""
    fields: list[Any] = [
        ("price", Annotated[float, Alias("cost")]),
        ("count", int, 3),
        ("tags", list[str], field(default_factory=list)),
    ]
    written = [("gone", "string"), ("cost", "float"), ("id", "long")]
    assert read(fields, written, ["x", 0.25, 7]) == [0.25, 3, []]


def test_a_field_without_a_default_is_missed_by_name(read: Callable[..., Any]) -> None:
    with pytest.raises(DecodeError, match=r"Made\.count: missing"):
        read([("count", int)], [("other", "int")], [1])


def test_a_key_field_in_the_value_that_differs_is_counted(ask: Ask, stand_in: StandInRegistry) -> None:
    codec = codec_of(Small, ask())
    key, payload = codec.encode(Small(7, "a"))
    for kind, text in (("long", b"\x0e"), ("long", b"\x10"), ("string", b"\x02x")):
        fields: list[Any] = [{"name": "id", "type": kind}, {"name": "text", "type": "string"}]
        number = stand_in.register("small-value", {"type": "record", "name": "Small", "fields": fields})
        other = b"\x00" + number.to_bytes(4, "big") + text + payload[5:]
        assert codec.decode(key, other) == Small(7, "a")
    assert codec.key_mismatches == 2


@entity(topic="small", value_format="avro")
@dataclass
class Small:
    id: Annotated[int, Key]
    text: str


# ---- data that is none, and a registry that is away -----------------------------------------------------


def test_bytes_that_are_no_data_of_their_schema_are_an_error(ask: Ask) -> None:
    codec = codec_of(Small, ask())
    key, payload = codec.encode(Small(1, "text"))
    for broken, problem in (
        (b"", "not in Confluent's wire format"),
        (payload[:4], "not in Confluent's wire format"),
        (b"\x01" + payload[1:], "not in Confluent's wire format"),
        (payload[:-1], "not data of schema 1: EOFError"),
        (payload + b"\x00", "not data of schema 1: 1 bytes too many"),
        (payload[:-1] + b"\xff", "not data of schema 1: UnicodeDecodeError"),
        (b"\x00\x00\x00\x00\x63" + payload[5:], "no schema 99"),
    ):
        with pytest.raises(DecodeError, match=problem):
            codec.decode(key, broken)


@pytest.mark.parametrize("digits", [8, 30])
def test_a_decimal_beyond_its_writers_precision_is_not_rounded(
    ask: Ask, stand_in: StandInRegistry, digits: int
) -> None:
    made = make_dataclass("Made", [("id", Annotated[int, Key]), ("v", Annotated[Decimal, Precision(40, 2)])])
    codec = codec_of(entity(made, topic="made", value_format="avro"), ask())
    number = stand_in.register(
        "made-value",
        {"type": "record", "name": "Made", "fields": [{"name": "v", "type": {**SCALE_2, "precision": 4}}]},
    )
    unscaled = int("9" * digits).to_bytes(16, "big")
    payload = b"\x00" + number.to_bytes(4, "big") + b"\x20" + unscaled
    assert codec.decode(codec.encode_key((1,)), payload).v == Decimal("9" * (digits - 2) + ".99")


def test_the_registry_is_asked_once_for_a_schema_it_does_not_have(
    ask: Ask, stand_in: StandInRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec = codec_of(Small, ask())
    monkeypatch.setattr(subject, "_MOST_REMEMBERED", 3)

    def asked(schema_id: int) -> int:
        stand_in.requests.clear()
        with pytest.raises(DecodeError, match=f"no schema {schema_id}"):
            codec.decode(codec.encode_key((1,)), b"\x00" + schema_id.to_bytes(4, "big"))
        return len(stand_in.requests)

    assert [asked(schema_id) for schema_id in (91, 92, 93, 91, 92)] == [1, 1, 1, 0, 0]
    assert [asked(schema_id) for schema_id in (94, 91, 94)] == [1, 1, 0]


def test_a_registry_that_is_away_is_no_fault_of_the_record(
    ask: Ask, stand_in: StandInRegistry, client: SchemaRegistryClient
) -> None:
    key, payload = codec_of(Small, ask()).encode(Small(1, "text"))
    codec = codec_of(Small, ask(timeout=9.0))
    stand_in.stop()
    with pytest.raises(UnreachableRegistryError, match="subject small-value: no answer"):
        codec.decode(key, payload)
    with pytest.raises(UnreachableRegistryError, match="subject small-value: no answer"):
        codec.encode(Small(1, "text"))
    stand_in.start()
    assert codec.decode(key, payload) == Small(1, "text")
    stand_in.stop()
    assert codec.decode(key, payload) == Small(1, "text")


def test_the_registry_is_asked_when_it_is_needed_and_once(ask: Ask, stand_in: StandInRegistry) -> None:
    codec = codec_of(Small, ask())
    assert stand_in.requests == []
    pair = codec.encode(Small(1, "a"))
    codec.decode(*pair)
    asked = list(stand_in.requests)
    codec.decode(*codec.encode(Small(2, "b")))
    assert stand_in.requests == asked


def test_a_schema_that_the_registry_refuses_is_an_error_of_the_writer(
    ask: Ask, stand_in: StandInRegistry
) -> None:
    stand_in.register(
        "small-value", {"type": "record", "name": "Small", "fields": [{"name": "text", "type": "long"}]}
    )
    with pytest.raises(RegistryError, match=r"subject small-value: .*incompatible"):
        codec_of(Small, ask()).encode(Small(1, "a"))


def test_key_fields_are_written_into_the_value_where_the_class_says_so() -> None:
    @entity(topic="shops", value_format="avro", key_in_value=True)
    @dataclass(frozen=True)
    class Shop:
        shop_id: Annotated[int, Key]
        city: str

    codec = codec_of(Shop, RegistrySettings(url=f"mock://{uuid.uuid4()}"))
    key, payload = codec.encode(Shop(7, "Bath"))
    assert payload[5:] == bytes([14, 8]) + b"Bath"
    assert codec.decode(key, payload) == Shop(7, "Bath")
