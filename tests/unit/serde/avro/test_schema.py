"""The Avro schema of a class."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import dataclass, field, make_dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import avro.schema
import pytest

from statestore import ConfigError, Key, entity
from statestore.entity import model_of
from statestore.fields.attributes import Alias, Float32, Int32, Name, Precision, WindowStart
from statestore.serde.avro import key_codec, value_codec
from statestore.serde.formats import FormatContext
from statestore.settings import RegistrySettings


def schemas(cls: type) -> tuple[Any, Any]:
    """Return the schemas of key and value, which Apache's own library takes, too."""
    model = model_of(cls)
    texts = [codec(model, FormatContext()).subject.text for codec in (key_codec, value_codec)]
    for text in texts:
        avro.schema.parse(text)
    return json.loads(texts[0]), json.loads(texts[1])


def declared(annotation: Any, default: Any = ...) -> type:
    """Return an entity with one value field ``v``."""
    value = ("v", annotation) if default is ... else ("v", annotation, default)
    made = make_dataclass("Made", [("id", Annotated[int, Key]), value])
    return entity(made, topic="made", value_format="avro", key_format="avro")


@dataclass(frozen=True)
class Point:
    x: int
    y: Annotated[float, Float32] = 0.5


POINT = {
    "type": "record",
    "name": "Point",
    "fields": [{"name": "x", "type": "long"}, {"name": "y", "type": "float", "default": 0.5}],
}


@pytest.mark.parametrize(
    ("annotation", "wanted"),
    [
        (bool, "boolean"),
        (int, "long"),
        (Annotated[int, Int32], "int"),
        (float, "double"),
        (Annotated[float, Float32], "float"),
        (
            Annotated[Decimal, Precision(9, 2)],
            {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
        ),
        (str, "string"),
        (bytes, "bytes"),
        (datetime, {"type": "long", "logicalType": "timestamp-micros"}),
        (date, {"type": "int", "logicalType": "date"}),
        (UUID, {"type": "string", "logicalType": "uuid"}),
        (int | None, ["null", "long"]),
        (list[str | None], {"type": "array", "items": ["null", "string"]}),
        (dict[str, bytes], {"type": "map", "values": "bytes"}),
        (dict[date, int], {"type": "map", "values": "long"}),
        (Point, POINT),
    ],
)
def test_each_type_has_its_schema(annotation: Any, wanted: Any) -> None:
    _, value = schemas(declared(annotation))
    assert value["fields"] == [{"name": "v", "type": wanted}]


@pytest.mark.parametrize(
    ("annotation", "default", "type_", "wanted"),
    [
        (int, 5, "long", 5),
        (int | None, None, ["null", "long"], None),
        (int | None, 5, ["long", "null"], 5),
        (bytes, b"\x00\xff", "bytes", "\x00\xff"),
        (
            datetime,
            datetime(1970, 1, 1, 0, 0, 1, 2, tzinfo=UTC),
            {"type": "long", "logicalType": "timestamp-micros"},
            1_000_002,
        ),
        (date, date(1970, 1, 3), {"type": "int", "logicalType": "date"}, 2),
        (
            Annotated[Decimal, Precision(5, 2)],
            Decimal("-1.5"),
            {"type": "bytes", "logicalType": "decimal", "precision": 5, "scale": 2},
            "\xff\x6a",
        ),
        (list[int], field(default_factory=list), {"type": "array", "items": "long"}, []),
        (Point, Point(3), POINT, {"x": 3, "y": 0.5}),
    ],
)
def test_a_default_of_the_class_is_one_of_the_schema(
    annotation: Any, default: Any, type_: Any, wanted: Any
) -> None:
    _, value = schemas(declared(annotation, default))
    assert value["fields"] == [{"name": "v", "type": type_, "default": wanted}]


@pytest.mark.parametrize(
    ("annotation", "default"),
    [(float, math.nan), (float, math.inf), (datetime, field(default_factory=lambda: datetime.now(UTC)))],
)
def test_a_default_that_json_has_not_or_that_changes_is_left_out(annotation: Any, default: Any) -> None:
    _, value = schemas(declared(annotation, default))
    assert "default" not in value["fields"][0]


@dataclass
class Inner:
    a: int


@entity(topic="my-orders.2.x", value_format="avro", key_format="avro", windows=[5])
@dataclass
class Order:
    zone: Annotated[str, Key, Name("ZONE")]
    number: Annotated[int, Key]
    amount: Annotated[int, Name("AMOUNT"), Alias("qty", "count")]
    first: Inner
    others: list[Inner | None]
    since: Annotated[datetime, WindowStart] = datetime(2020, 1, 1, tzinfo=UTC)


def test_names_aliases_and_records() -> None:
    key, value = schemas(Order)
    assert key == {
        "namespace": "my_orders._2.x",
        "type": "record",
        "name": "Key",
        "fields": [{"name": "ZONE", "type": "string"}, {"name": "number", "type": "long"}],
    }
    assert value == {
        "namespace": "my_orders._2.x",
        "type": "record",
        "name": "Order",
        "fields": [
            {"name": "AMOUNT", "type": "long", "aliases": ["qty", "count"]},
            {
                "name": "first",
                "type": {"type": "record", "name": "Inner", "fields": [{"name": "a", "type": "long"}]},
            },
            {"name": "others", "type": {"type": "array", "items": ["null", "Inner"]}},
        ],
    }


def test_a_key_of_one_field_is_that_type() -> None:
    key, _ = schemas(declared(int))
    assert key == "long"


def test_every_fault_of_a_class_is_told() -> None:
    twin = make_dataclass("Inner", [("b", str)])
    made = make_dataclass(
        "Größe",
        [("id", Annotated[int, Key]), ("länge", int), ("price", Decimal), ("one", Inner), ("two", twin)],
    )
    with pytest.raises(ConfigError) as raised:
        value_codec(model_of(entity(made, topic="t", value_format="avro")), FormatContext())
    found = raised.value.faults
    assert len(found) == 4
    assert "'Größe' is not a legal Avro name" in found[0]
    assert "rename the class" in found[0]
    assert found[1].startswith("Größe.länge: ")
    assert "with Name" in found[1]
    assert found[2].startswith("Größe.price: ")
    assert "Precision(digits, scale)" in found[2]
    assert found[3].startswith("Größe.two: two dataclasses")


def test_a_registry_that_the_settings_do_not_name_is_a_fault() -> None:
    with pytest.raises(ConfigError, match=r"schema_registry\.url"):
        value_codec(model_of(Order), FormatContext(RegistrySettings()))


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for missing in ("fastavro", "confluent_kafka.schema_registry"):
        with monkeypatch.context() as patched:
            for module in [name for name in sys.modules if name.startswith("statestore.serde.avro.")]:
                patched.delitem(sys.modules, module)
            patched.delitem(sys.modules, "statestore.serde.registry")
            patched.setitem(sys.modules, missing, None)
            for codec in (key_codec, value_codec):
                with pytest.raises(
                    ConfigError, match=rf"Order: Avro needs {missing}: .*'statestore\[avro\]'"
                ):
                    codec(model_of(Order), FormatContext())


def test_who_uses_no_avro_does_not_import_it() -> None:
    program = "import sys, statestore; print('fastavro' in sys.modules, 'httpx2' in sys.modules)"
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"
