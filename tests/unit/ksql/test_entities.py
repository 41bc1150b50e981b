"""Entities as streams and tables: what of a class is in the statement, and what ksqlDB cannot have."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Annotated, Any
from uuid import UUID

import pytest

from statestore import (
    EventTime,
    Extra,
    Float32,
    Format,
    Gap,
    Int16,
    Int32,
    Key,
    KsqlError,
    Name,
    WindowStart,
    entity,
    ksql,
)
from statestore.entity import model_of
from tests.unit.ksql.shop import Candle, City, Counted, Customer, Order


def made(fields: dict[str, Any], **arguments: Any) -> type[Any]:
    """Return an entity class of ksqlDB with these fields."""
    given: dict[str, Any] = {"topic": "made", "ksql": True, "key_format": "kafka", "value_format": "json"}
    cls: type[Any] = dataclass(type("Made", (), {"__annotations__": fields}))
    return entity(cls, **(given | arguments))


KEY = {"id": Annotated[int, Key]}


def test_the_statement_says_what_the_class_says() -> None:
    statement = ksql.create(Order)
    assert statement.action == "create stream"
    assert (statement.name, statement.topic) == ("ORDERS", "shop-orders")
    assert [one.name for one in statement.columns if one.is_key] == ["NUMBER"]
    assert {one.name: one.type for one in statement.columns}["PRICE"] == "DECIMAL(9, 2)"
    assert "SEEN" not in statement.text  # Ignored
    assert "PARTITIONS = 6" in statement.text
    assert "PARTITIONS" not in ksql.create(City).text  # which the class leaves to the broker
    assert "TIMESTAMP_FORMAT = 'dd.MM.yyyy HH:mm:ssxx'" in ksql.create(Customer).text


def test_a_class_that_is_there_is_kept_unless_it_is_to_be_replaced() -> None:
    assert ksql.create(City).text.startswith("CREATE TABLE IF NOT EXISTS CITIES (")
    assert ksql.create(City, or_replace=True).text.startswith("CREATE OR REPLACE TABLE CITIES (")


def test_drop() -> None:
    assert ksql.drop(Order).text == "DROP STREAM IF EXISTS ORDERS;"
    assert ksql.drop(City, delete_topic=True).text == "DROP TABLE IF EXISTS CITIES DELETE TOPIC;"
    assert ksql.drop(Counted).name == "COUNTS_5MIN"


def test_names() -> None:
    assert model_of(made(KEY, topic="a.b-c")).ksql_name == "A_B_C"
    assert ksql.create(made(KEY, ksql_name="a-b")).text.startswith("CREATE TABLE IF NOT EXISTS `a-b`")
    odd = made(
        {
            "id": Annotated[str, Key, Name("`;-- x")],
            "a": Annotated[int, Name("Order By")],
            "ä": int,
            "end": int,
        }
    )
    text = ksql.create(odd).text
    for name in ("```;-- x`", "`Order By`", "`Ä`", "`END`"):
        assert name in text


@pytest.mark.parametrize("name", ["", "a.b", "a b", "a`b", 5])
def test_names_that_no_stream_has_are_refused_in_the_declaration(name: Any) -> None:
    with pytest.raises(Exception, match="ksql_name"):
        made(KEY, ksql_name=name)


def test_a_name_needs_a_class_of_ksqldb() -> None:
    with pytest.raises(Exception, match="ksql_name= requires ksql=True"):
        made(KEY, ksql_name="X", ksql=False)


def test_what_is_not_in_the_record_is_no_column() -> None:
    fields = {**KEY, "start": Annotated[datetime, WindowStart], "gap": Annotated[bool, Gap], "n": int}
    statement = ksql.create(made(fields, windows=[5], window_layout="sink"))
    assert [one.name for one in statement.columns] == ["ID", "N"]
    assert "WINDOW_TYPE = 'TUMBLING'" in statement.text
    assert "WINDOW_SIZE = '5 MINUTES'" in statement.text

    @entity(topic="x", ksql=True, key_format="kafka", value_format="json")
    @dataclass
    class WithRest:
        id: Annotated[int, Key]
        rest: Annotated[dict[str, Any], Extra] = field(default_factory=dict)

    assert [one.name for one in ksql.create(WithRest).columns] == ["ID"]


def test_keys_of_each_format() -> None:
    several = {"a": Annotated[str, Key], "b": Annotated[datetime, Key], "c": int}
    text = ksql.create(made(several, key_format="json")).text
    assert "A VARCHAR PRIMARY KEY,\n  B TIMESTAMP PRIMARY KEY," in text
    assert "KEY_FORMAT = 'JSON'" in text
    assert "KEY_FORMAT = 'AVRO'" in ksql.create(made(several, key_format="avro", value_format="avro")).text
    of_text = made({"a": Annotated[str, Key]}, key_format="ordered")
    assert "KEY_FORMAT = 'KAFKA'" in ksql.create(of_text).text  # the same bytes
    assert "KEY_FORMAT" not in ksql.create(made({"n": int}, kind="stream")).text


REFUSED: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (KEY, {"ksql": False}, "does not say ksql=True"),
    (KEY, {"value_format": "msgpack"}, 'ksqlDB reads "json", "avro" and "kafka"'),
    ({**KEY, "v": bytes}, {"value_format": "raw"}, "value_format='raw'"),
    (KEY, {"key_format": "ordered"}, "this library's own"),
    (
        {"a": Annotated[int, Key], "b": Annotated[int, Key]},
        {},
        "key_format='kafka' is for one key field, and there are a, b: write key_format=\"json\"",
    ),
    ({"a": Annotated[int, Int16, Key]}, {}, "16 bits"),
    ({**KEY, "v": Annotated[int, Name("a${b}")]}, {}, "takes for a variable"),
    ({"a": Annotated[date, Key]}, {}, "ksqlDB has no date"),
    ({**KEY, "v": Annotated[float, Float32]}, {"value_format": "kafka"}, "single precision"),
    ({**KEY, "at": Annotated[datetime, EventTime, Format("epoch_s")]}, {}, "milliseconds"),
    ({**KEY, "at": Annotated[int, Int32, EventTime]}, {}, "64 bits"),
    ({**KEY, "at": Annotated[datetime, EventTime, Format("%d.%m.%y")]}, {}, "%y is a year of 1969 to 2068"),
    (
        {**KEY, "start": Annotated[datetime, WindowStart]},
        {"windows": [5], "window_layout": "changelog"},
        "keys that end with a number",
    ),
    (
        {**KEY, "start": Annotated[datetime, WindowStart]},
        {"windows": [1, 5], "window_topics": {1: "a", 5: "b"}},
        "1min, 5min",
    ),
]


@pytest.mark.parametrize(("fields", "arguments", "reason"), REFUSED)
def test_what_ksqldb_cannot_have_is_refused_with_the_reason(
    fields: dict[str, Any], arguments: dict[str, Any], reason: str
) -> None:
    with pytest.raises(KsqlError) as raised:
        ksql.create(made(fields, **arguments))
    assert reason in str(raised.value)
    assert all("Made" in fault for fault in raised.value.faults)


def test_all_faults_come_at_once() -> None:
    fields = {"a": Annotated[int, Key], "b": Annotated[int, Key], "at": Annotated[int, Int32, EventTime]}
    with pytest.raises(KsqlError) as raised:
        ksql.create(made(fields, value_format="msgpack"))
    assert len(raised.value.faults) == 3


def test_uuids_are_text_in_keys() -> None:
    assert "`ID` VARCHAR PRIMARY KEY" in ksql.create(made({"id": Annotated[UUID, Key]})).text


def test_bars_are_a_stream_and_a_table_for_each_window() -> None:
    stream, *tables = ksql.statements(Candle)
    assert (stream.action, stream.name) == ("create stream", "TICKS")
    assert [one.name for one in tables] == ["CANDLES_1MIN", "CANDLES_5MIN"]
    assert [one.topic for one in tables] == ["candles_1min_final", "candles_5min_final"]
    assert all(one.reads == ("TICKS",) and one.is_persistent for one in tables)
    assert all("EMIT FINAL;" in one.text and "GRACE PERIOD 3 SECONDS" in one.text for one in tables)
    assert ksql.create(Candle, window=model_of(Candle).windows[0]).text.startswith("CREATE TABLE")
