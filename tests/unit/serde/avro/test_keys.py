"""Keys in Avro: one logical key under several schema ids, and ranges of them."""

from __future__ import annotations

import io
import json
import logging
import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass, make_dataclass
from datetime import UTC, date, datetime
from typing import Annotated, Any

import fastavro
import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from hypothesis import given, settings
from hypothesis import strategies as st

from statestore import DecodeError, EncodeError, Key, UnreachableRegistryError, entity
from statestore.entity import model_of
from statestore.fields.attributes import Alias, MaxLength, Name
from statestore.serde import registry
from statestore.serde.entities import EntityCodec
from statestore.serde.formats import FormatContext
from statestore.settings import RegistrySettings
from statestore.testing.registry import StandInRegistry
from tests.unit.serde.avro.conftest import Ask

TIMES = st.datetimes(timezones=st.just(UTC))
KEYS = {
    int: st.integers(-(2**63), 2**63 - 1),
    str: st.text(st.characters(codec="utf-8")),
    bytes: st.binary(),
    uuid.UUID: st.uuids(),
    datetime: TIMES,
    date: st.dates(),
}


def made(*annotations: Any) -> type:
    """Return an entity with a key of ``annotations``."""
    fields: list[Any] = [(f"k{number}", Annotated[type_, Key]) for number, type_ in enumerate(annotations)]
    return entity(make_dataclass("Made", [*fields, ("text", str)]), topic="made", key_format="avro")


def codec_of(cls: type, settings: RegistrySettings) -> EntityCodec[Any]:
    return EntityCodec(model_of(cls), FormatContext(settings))


@pytest.fixture
def register(stand_in: StandInRegistry) -> Callable[..., Callable[[Any], bytes]]:
    """Register a schema of keys, and get what writes under it."""

    def register(schema: Any) -> Callable[[Any], bytes]:
        number = stand_in.register("made-key", schema)
        parsed = fastavro.parse_schema(schema)

        def write(value: Any) -> bytes:
            stream = io.BytesIO(b"\x00" + number.to_bytes(4, "big"))
            stream.seek(5)
            fastavro.schemaless_writer(stream, parsed, value)
            return stream.getvalue()

        return write

    return register


@pytest.mark.slow
@settings(max_examples=100 if os.environ.get("STATESTORE_SOAK") == "1" else 30)
@given(st.data())
def test_a_key_is_read_as_it_was_written_and_has_one_encoding(data: st.DataObject) -> None:
    types = data.draw(st.lists(st.sampled_from(list(KEYS)), min_size=1, max_size=3))
    codec = codec_of(made(*types), RegistrySettings(url=f"mock://{uuid.uuid4()}"))
    values = tuple([data.draw(KEYS[type_]) for type_ in types])
    key = codec.encode_key(values)
    assert codec.decode_key(key) == values
    assert list(codec.key_encodings(values)) == [key]


def test_confluents_serializers_write_and_read_the_same(ask: Ask, stand_in: StandInRegistry) -> None:
    context = SerializationContext("made", MessageField.KEY)
    codec = codec_of(made(int, str), ask())
    key = codec.encode_key((5, "a"))
    (schema,) = stand_in.versions("made-key")
    with SchemaRegistryClient({"url": stand_in.url}) as client:
        deserialize: Any = AvroDeserializer(client)
        serialize: Any = AvroSerializer(client, json.dumps(schema))
        assert deserialize(key, context) == {"k0": 5, "k1": "a"}
        assert serialize({"k0": 5, "k1": "a"}, context) == key


def test_a_key_is_found_under_each_schema_that_can_hold_it(ask: Ask, register: Any) -> None:
    codec = codec_of(made(int), ask(compatibility="NONE"))
    fields = [{"name": "k0", "type": "int"}]
    with_default = [*fields, {"name": "more", "type": "string", "default": "x"}]
    holding = [
        register("int"),
        register({"type": "record", "name": "A", "fields": fields}),
        register({"type": "record", "name": "B", "fields": with_default}),
        register(["null", "long"]),
    ]
    for schema in (
        "string",
        "double",
        {"type": "record", "name": "C", "fields": [{"name": "k", "type": "int"}]},
    ):
        register(schema)
    theirs = [write(value) for write, value in zip(holding, (7, {"k0": 7}, {"k0": 7}, 7), strict=True)]
    ours = codec.encode_key((7,))
    assert codec.key_encodings((7,)) == [ours, *theirs]
    assert [codec.decode_key(key) for key in theirs] == [(7,)] * 4


def test_what_a_schema_would_cut_off_is_not_under_it(ask: Ask, register: Any) -> None:
    codec = codec_of(made(datetime), ask())
    write = register({"type": "long", "logicalType": "timestamp-millis"})
    whole, part = datetime(2024, 1, 1, 0, 0, 0, 5000, UTC), datetime(2024, 1, 1, 0, 0, 0, 5001, UTC)
    assert codec.key_encodings((whole,)) == [write(whole)]
    assert codec.key_encodings((part,)) == []


def test_names_and_aliases_of_key_fields(ask: Ask, register: Any) -> None:
    made_ = make_dataclass(
        "Made", [("zone", Annotated[str, Key, Name("ZONE"), Alias("area")]), ("n", Annotated[int, Key])]
    )
    codec = codec_of(entity(made_, topic="made", key_format="avro"), ask())
    fields = [{"name": "n", "type": "int"}, {"name": "area", "type": "string"}]
    older = register({"type": "record", "name": "Old", "fields": fields})({"n": 3, "area": "a"})
    assert codec.decode_key(older) == ("a", 3)
    assert codec.key_encodings(("a", 3)) == [older]


def test_a_schema_registered_meanwhile_is_found_soon(
    ask: Ask, register: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec = codec_of(made(int), ask())
    first = register("int")(7)
    assert codec.key_encodings((7,)) == [first]
    second = register("long")(7)
    assert codec.key_encodings((7,)) == [first]
    monkeypatch.setattr(registry, "_CURRENT", 0.0)
    monkeypatch.setattr(registry, "_PATIENCE", 30.0)
    assert codec.key_encodings((7,)) == [second, first]


def test_keys_are_found_while_the_registry_is_away(
    ask: Ask,
    register: Any,
    stand_in: StandInRegistry,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    codec = codec_of(made(int), ask())
    key = register("long")(7)
    stand_in.stop()
    with pytest.raises(UnreachableRegistryError, match="subject made-key"):
        codec.key_encodings((7,))
    stand_in.start()
    assert codec.key_encodings((7,)) == [key]
    stand_in.stop()
    monkeypatch.setattr(registry, "_CURRENT", 0.0)
    monkeypatch.setattr(registry, "_PATIENCE", 30.0)
    caplog.set_level(logging.WARNING, "statestore.serde")
    assert codec.key_encodings((7,)) == [key]
    assert "continuing with the schemas known before" in caplog.text


def test_a_registry_that_hangs_delays_a_read_a_little(
    ask: Ask, register: Any, stand_in: StandInRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec = codec_of(made(int), ask())
    key = register("long")(7)
    assert codec.key_encodings((7,)) == [key]
    stand_in.delay = 60.0
    monkeypatch.setattr(registry, "_CURRENT", 0.0)
    monkeypatch.setattr(registry, "_PATIENCE", 0.01)
    assert codec.key_encodings((7,)) == [key]
    stand_in.stop()


def test_a_key_that_another_codec_of_the_process_writes_is_found_at_once(ask: Ask, register: Any) -> None:
    theirs = register("int")(7)
    reading, writing = codec_of(made(int), ask()), codec_of(made(int), ask())
    assert reading.key_encodings((7,)) == [theirs]
    ours = writing.encode_key((7,))
    assert reading.key_encodings((7,)) == [ours, theirs]


def test_reading_registers_nothing(ask: Ask, stand_in: StandInRegistry) -> None:
    codec = codec_of(made(int), ask())
    codec.key_encodings((7,))
    codec.key_plan(start=(1,))
    assert stand_in.versions("made-key") == []


@dataclass
class Row:
    zone: Annotated[str, Key, MaxLength(3)]
    number: Annotated[int, Key]
    name: Annotated[str, Key]
    text: str = ""


ROWS = [
    (zone, number, name) for zone in ("a", "ab", "b") for number in (-1, 0, 300) for name in ("", "x", "xy")
]


@pytest.mark.parametrize(
    ("start", "stop", "prefix", "wanted"),
    [
        (None, None, None, ROWS),
        (("ab",), None, None, [row for row in ROWS if row[0] >= "ab"]),
        (("a", 0), ("b", 0, "x"), None, [row for row in ROWS if ("a", 0) <= row < ("b", 0, "x")]),
        (None, None, ("a",), [row for row in ROWS if row[0] == "a"]),
        (None, None, ("a", 0, "x"), [("a", 0, "x"), ("a", 0, "xy")]),
        (("a", 0, "xy"), None, ("a",), [("a", 0, "xy"), *[("a", 300, name) for name in ("", "x", "xy")]]),
    ],
)
def test_a_range_is_told_by_the_values(ask: Ask, start: Any, stop: Any, prefix: Any, wanted: Any) -> None:
    codec = codec_of(entity(Row, topic="rows", key_format="avro"), ask())
    plan = codec.key_plan(start, stop, prefix)
    assert plan.ranges == [(None, None, None)]
    assert plan.accepts is not None
    assert [row for row in ROWS if plan.accepts(row)] == wanted
    assert "filtered" in plan.note


def test_keys_that_do_not_fit_are_refused_by_name(ask: Ask) -> None:
    codec = codec_of(entity(Row, topic="rows", key_format="avro"), ask())
    for values, problem in (
        (("a", "1", "x"), r"Row\.number: expected int, got '1'"),
        (("a", 1), "got 2 values"),
        (("a", 2**63, "x"), r"Row\.number: expected int of 64 bits"),
    ):
        with pytest.raises(EncodeError, match=problem):
            codec.encode_key(values)
        with pytest.raises(EncodeError, match=problem):
            codec.key_encodings(values)
    with pytest.raises(EncodeError, match=r"Row\.zone: has 4 characters"):
        codec.encode(Row("long", 1, "x"))
    codec.encode_key(("long", 1, "x"))
    with pytest.raises(EncodeError, match=r"Row\.zone: expected str"):
        codec.key_plan(start=(1,))


def test_bytes_that_are_no_key_are_an_error(ask: Ask, register: Any) -> None:
    codec = codec_of(made(int, str), ask())
    record = {"type": "record", "name": "A", "fields": [{"name": "k0", "type": "string"}]}
    for data, problem in (
        (b"\x00\x00", r"Made: not a key of \(k0, k1\): not in Confluent"),
        (register("int")(5), "expected a record of k0, k1, got 5"),
        (register(record)({"k0": "x"}), "k0: Expected `int`, got `str`: 'x'"),
        (register({**record, "name": "B", "fields": []})({}), "k0: missing in the key"),
        (b"\x00\x00\x00\x00\x63", "no schema 99"),
    ):
        with pytest.raises(DecodeError, match=problem):
            codec.decode_key(data)
