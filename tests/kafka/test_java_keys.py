"""Topics of Java programs: keys and values of Kafka's serializers, keys of Jackson, values as ksqlDB's."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID, uuid4

import pytest

from statestore import Key, StoreIdentityError, StoreManager, entity
from statestore.entity import model_of
from statestore.fields.attributes import Float32, Int16, Int32, Precision
from statestore.serde.entities import EntityCodec
from statestore.testing.kafka import Broker
from statestore.testing.kafka.maven import find_java, kafka_jars

pytestmark = pytest.mark.kafka

Managers = Callable[..., StoreManager]

JAVA = Path(__file__).with_name("JavaKeys.java")
TEXTS = ["", "a", "a b", '"\\/', "\b\t\n\f\r\0\x1f\x7f", "grüße", "\u2028\U0001f600"]
UUIDS = [UUID(int=1), UUID(int=(1 << 127) + 7), UUID(int=(1 << 128) - 1)]
# What JavaKeys.java writes to each topic: key format, types of the key fields, keys in its order.
WRITTEN: dict[str, tuple[str, tuple[Any, ...], list[tuple[Any, ...]]]] = {
    "str": ("kafka", (str,), [(text,) for text in TEXTS]),
    "int": ("kafka", (int,), [(number,) for number in (-(2**63), -256, -1, 0, 1, 255, 2**63 - 1)]),
    "Int32": ("kafka", (Int32,), [(number,) for number in (-(2**31), -1, 0, 256, 2**31 - 1)]),
    "UUID": ("kafka", (UUID,), [(one,) for one in UUIDS]),
    "bytes": ("kafka", (bytes,), [(b"",), (b"\0\xff",)]),
    "json-str": ("json", (str,), [(text,) for text in TEXTS]),
    "json-int": ("json", (int,), [(number,) for number in (-(2**63), -1, 0, 10, 9)]),
    "json-several": ("json", (str, int), [(text, len(text.encode("utf-16-le")) // 2) for text in TEXTS]),
}
NAMES = ("symbol", "day")
# What it writes as values: the type of the value field, and the values in its order.
AS_VALUES: dict[str, tuple[Any, list[Any]]] = {
    "value-str": (str, TEXTS),
    "value-int": (int, [-(2**63), -1, 0, 2**63 - 1]),
    "value-Int32": (Annotated[int, Int32], [-(2**31), -1, 2**31 - 1]),
    "value-Int16": (Annotated[int, Int16], [-(2**15), -1, 2**15 - 1]),
    "value-float": (float, [0.1, -0.0, sys.float_info.max, 5e-324, -math.inf, math.nan]),
    "value-Float32": (Annotated[float, Float32], [0.5, -0.0, 3.4028234663852886e38, math.inf, math.nan]),
    "value-UUID": (UUID, UUIDS),
    "value-bytes": (bytes, [b"", b"\0\xff"]),
}


@pytest.fixture(scope="module")
def prefix(broker: Broker) -> Iterator[str]:
    """What the names of the topics that Java has written begin with."""
    prefix = f"java-keys.{uuid4().hex[:8]}."
    topics = [prefix + name for name in (*WRITTEN, *AS_VALUES)]
    for topic in topics:
        broker.create_topic(topic)
    command = [find_java(), "-cp", f"{kafka_jars()}/*", str(JAVA), broker.bootstrap, prefix]
    run = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    yield prefix
    for topic in topics:
        broker.delete_topic(topic)


def entity_of(name: str, topic: str, key_format: str | None = None) -> type[Any]:
    declared, kinds, _ = WRITTEN[name]
    types = [Annotated[int, Key, Int32] if kind is Int32 else Annotated[kind, Key] for kind in kinds]
    made = dataclasses.make_dataclass(
        "Row",
        [
            *zip(NAMES, types, strict=False),
            ("text", str),
            ("at", datetime),
            ("amount", Annotated[Decimal, Precision(10, 2)]),
            ("note", str | None, None),
        ],
        frozen=True,
    )
    entity(made, topic=topic, key_format=key_format or declared, value_format="json", ksql=True)
    return made


@pytest.mark.parametrize("name", WRITTEN)
def test_the_bytes_are_those_of_java(name: str, prefix: str, broker: Broker) -> None:
    keys = WRITTEN[name][2]
    codec: EntityCodec[Any] = EntityCodec(model_of(entity_of(name, prefix + name)))
    stored = [message.key() or b"" for message in broker.read(prefix + name, 0)]
    assert [codec.encode_key(key) for key in keys] == stored
    assert [codec.decode_key(data) for data in stored] == keys


@pytest.mark.parametrize("name", WRITTEN)
def test_rows_without_the_key_columns_are_read_natively(
    name: str, prefix: str, broker: Broker, managers: Managers
) -> None:
    keys = WRITTEN[name][2]
    cls = entity_of(name, prefix + name)
    table = managers(broker).bind(cls)
    table.wait_until_ready(60)
    began = datetime.fromtimestamp(1_714_564_800, UTC)
    rows = {
        key: cls(*key, f"row {number}", began + timedelta(milliseconds=number), Decimal("1.50"))
        for number, key in enumerate(keys)
    }
    assert {key: table.get(*key) for key in keys} == rows
    in_order = sorted(keys)
    assert table.to_list() == [rows[key] for key in in_order]
    assert list(table.scan(in_order[1], reverse=True, limit=2)) == [rows[key] for key in in_order[:0:-1][:2]]
    assert table.health().non_canonical_keys == 0


@pytest.mark.parametrize("name", AS_VALUES)
def test_values_are_those_of_java(name: str, prefix: str, broker: Broker, managers: Managers) -> None:
    annotation, values = AS_VALUES[name]
    made: Any = dataclasses.make_dataclass(
        "Row", [("number", Annotated[int, Key, Int32]), ("value", annotation)], frozen=True
    )
    entity(made, topic=prefix + name, key_format="kafka", value_format="kafka")
    codec: EntityCodec[Any] = EntityCodec(model_of(made))
    stored = [(message.key(), message.value()) for message in broker.read(prefix + name, 0)]
    assert [codec.encode(made(number, value)) for number, value in enumerate(values)] == stored
    table = managers(broker).bind(made)
    table.wait_until_ready(60)
    assert list(map(repr, table.scan())) == [repr(made(*one)) for one in enumerate(values)]


def test_a_key_wins_over_a_value_that_differs_and_that_is_counted(
    broker: Broker, topic: Callable[[str], str], managers: Managers
) -> None:
    @entity(topic=topic("differs"), key_format="kafka", value_format="json", ksql=True)
    @dataclasses.dataclass
    class Row:
        symbol: Annotated[str, Key]
        text: str

    name = model_of(Row).topic
    broker.create_topic(name)
    rows = [
        (b"a", b'{"SYMBOL":"a","TEXT":"1"}'),
        (b"b", b'{"TEXT":"2","SYMBOL":"c"}'),
        (b"d", b'{"TEXT":"3"}'),
    ]
    broker.produce(name, rows)
    table = managers(broker).bind(Row)
    table.wait_until_ready(60)
    assert table.to_list() == [Row("a", "1"), Row("b", "2"), Row("d", "3")]
    assert table.health().key_mismatches == 1


def test_another_key_format_is_another_store(prefix: str, broker: Broker, managers: Managers) -> None:
    manager = managers(broker, backend="lmdb")
    manager.bind(entity_of("int", prefix + "int")).close()
    table = manager.bind(entity_of("int", prefix + "int", key_format="ordered"))
    with pytest.raises(StoreIdentityError, match="have key_format='kafka', but the class has 'ordered'"):
        table.wait_until_ready(60)
