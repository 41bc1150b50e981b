"""What is refused before anything is sent, and which time a record gets. No broker."""

from __future__ import annotations

from dataclasses import dataclass, make_dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Annotated, Any

import pytest

from statestore import (
    ConfigError,
    DeliveryError,
    EncodeError,
    EntityRejectedError,
    Key,
    StoreManager,
    UnreachableRegistryError,
    entity,
)
from statestore.entity import model_of
from statestore.fields.attributes import Alias, EventTime
from statestore.producing.encoding import BoundStore, Encoder
from statestore.producing.producer import ProducerHealth
from statestore.serde.entities import EntityCodec
from statestore.serde.formats import FormatContext
from statestore.settings import RegistrySettings

LARGEST = 200


@entity(topic="orders")
@dataclass(frozen=True, slots=True)
class Order:
    shop: Annotated[str, Key]
    number: Annotated[int, Key]
    text: str = ""


@entity(topic="ticks")
@dataclass(frozen=True, slots=True)
class Tick:
    symbol: Annotated[str, Key]
    at: Annotated[datetime, EventTime]


@entity(topic="counted")
@dataclass(frozen=True, slots=True)
class Counted:
    symbol: Annotated[str, Key]
    at: Annotated[int, EventTime]


@entity(topic="names")
@dataclass(frozen=True, slots=True)
class Named:
    name: Annotated[str, Key]


def encoder(cls: type) -> Encoder:
    return Encoder(model_of(cls), EntityCodec(model_of(cls)), LARGEST)


@pytest.mark.parametrize(
    ("tick", "milliseconds"),
    [
        (Tick("A", datetime(1970, 1, 1, 0, 0, 1, 2_999, UTC)), 1_002),
        (Tick("A", datetime(2024, 2, 29, 12, tzinfo=timezone(timedelta(hours=2)))), 1_709_200_800_000),
        (Counted("A", 1), 1),
        (Counted("A", 1_700_000_000_123), 1_700_000_000_123),
    ],
)
def test_a_record_has_the_event_time(tick: Any, milliseconds: int) -> None:
    assert encoder(type(tick)).record(tick).timestamp == milliseconds


def test_a_key_is_deleted_under_each_of_its_encodings() -> None:
    @entity(topic="renamed", key_format="json")
    @dataclass
    class Renamed:
        shop: Annotated[str, Key, Alias("store")]
        number: Annotated[int, Key]

    keys = [one.key for one in encoder(Renamed).tombstones(("eu", 1), ("eu", 1))]
    assert keys == [b'{"shop":"eu","number":1}', b'{"store":"eu","number":1}']


def test_without_an_event_time_a_record_has_the_time_of_sending() -> None:
    assert encoder(Order).record(Order("a", 1)).timestamp == 0
    assert [one.timestamp for one in encoder(Tick).tombstones(("A",), ("A",))] == [0]


@pytest.mark.parametrize(
    "tick", [Tick("A", datetime(1970, 1, 1, tzinfo=UTC)), Counted("A", 0), Counted("A", -5)]
)
def test_an_event_time_that_kafka_would_replace_is_refused(tick: Any) -> None:
    with pytest.raises(EntityRejectedError, match=r"event time .* 1970"):
        encoder(type(tick)).record(tick)


def test_a_refusal_names_class_key_topic_field_and_carries_the_entity() -> None:
    bad: Any = Order("a", 7, 3)  # type: ignore[arg-type]
    with pytest.raises(
        EntityRejectedError, match=r"Order\(shop='a', number=7\).*'orders'.*Order\.text.*str"
    ) as error:
        encoder(Order).record(bad)
    assert error.value.undelivered == (bad,)
    assert error.value.delivered == ()
    assert isinstance(error.value, EncodeError)
    assert isinstance(error.value, DeliveryError)


@pytest.mark.parametrize("key", [(), ("a",), ("a", 1, 2), (1, "a"), ("a", None)])
def test_what_is_no_key_deletes_nothing(key: tuple[Any, ...]) -> None:
    with pytest.raises(EntityRejectedError, match="'orders'") as error:
        encoder(Order).tombstones(key, key)
    assert error.value.undelivered == (key,)


def test_the_largest_record_goes_and_one_byte_more_is_refused() -> None:
    empty = encoder(Order).record(Order("a", 1))
    room = LARGEST - len(empty.key or b"") - len(empty.value or b"") - 1  # one more byte for the length
    record = encoder(Order).record(Order("a", 1, "x" * room))
    assert len(record.key or b"") + len(record.value or b"") == LARGEST
    with pytest.raises(EntityRejectedError, match=r"201 bytes.*the limit is 200"):
        encoder(Order).record(Order("a", 1, "x" * (room + 1)))


def test_writing_without_an_address(tmp_path: Path) -> None:
    with StoreManager(tmp_path / "state", backend="memory") as manager:
        with pytest.raises(ConfigError, match="needs a broker"):
            manager.add(Order("a", 1))
        manager.flush(1)  # there is nothing
        assert manager.health().producer == ProducerHealth()


@pytest.mark.parametrize(
    "name", ["acks", "request.required.acks", "enable.idempotence", "partitioner", "transactional.id"]
)
def test_what_the_promises_rest_on_cannot_be_set(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"kafka: .*{name}: \w+"):
        StoreManager(tmp_path / "state", kafka={"bootstrap.servers": "127.0.0.1:1", name: "1"})


def test_a_property_that_contradicts_them_is_told_at_the_first_write(tmp_path: Path) -> None:
    kafka = {"bootstrap.servers": "127.0.0.1:1", "max.in.flight": 100}
    with (
        StoreManager(tmp_path / "state", kafka=kafka, backend="memory") as manager,
        pytest.raises(ConfigError, match=r"kafka: .*max\.in\.flight"),
    ):
        manager.add(Order("a", 1))


@pytest.mark.parametrize(
    ("bound", "longest", "told"),
    [
        ({}, 65536, "but stores take at most 65536: shorten it$"),
        (
            {"names": BoundStore("Names", "lmdb", 510)},
            510,
            r"but the store of table 'Names' \(backend 'lmdb'\) takes at most 510: shorten it, or use "
            'backend="rocksdb", which takes 65536$',
        ),
        ({"names": BoundStore("Names", "rocksdb", 65536)}, 65536, "takes at most 65536: shorten it$"),
        ({"other": BoundStore("Names", "lmdb", 510)}, 65536, "stores take at most 65536"),
    ],
)
def test_a_key_that_no_store_takes_is_rejected(bound: Any, longest: int, told: str) -> None:
    encoding = Encoder(model_of(Named), EntityCodec(model_of(Named)), 1 << 20, bound)
    assert len(encoding.record(Named("x" * longest)).key or b"") == longest
    assert len(encoding.tombstones(("x" * longest,), None)) == 1
    for refused in (
        lambda: encoding.record(Named("x" * (longest + 1))),
        lambda: encoding.tombstones(("ä" * (longest // 2 + 1),), None),
    ):
        with pytest.raises(EntityRejectedError, match=told):
            refused()


def test_a_key_of_a_stream_is_in_no_store() -> None:
    cls = make_dataclass("Named", [("name", Annotated[str, Key])])
    model = model_of(entity(cls, topic="names", kind="stream"))
    assert Encoder(model, EntityCodec(model), 1 << 20).record(cls("x" * 70_000)).key == b"x" * 70_000


def test_an_error_of_the_registry_says_what_was_not_written() -> None:
    cls = make_dataclass("Avro", [("id", Annotated[int, Key]), ("text", str)])
    model = model_of(entity(cls, topic="avro", key_format="avro", value_format="avro"))
    registry = RegistrySettings(url="http://127.0.0.1:1", timeout=1, retries=0)
    encoding = Encoder(model, EntityCodec(model, FormatContext(registry)), LARGEST)
    row = cls(1, "x")
    for refused, subject in (
        (lambda: encoding.prepare(row), row),
        (lambda: encoding.record(row), row),
        (lambda: encoding.tombstones((1,), (1,)), (1,)),
    ):
        with pytest.raises(UnreachableRegistryError) as failed:
            refused()
        assert (failed.value.undelivered, failed.value.delivered) == ((subject,), ())
