"""Tables in Avro on the real broker, beside another program that writes with Confluent's serializers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from statestore import DeliveryError, Key, RegistryError, StoreManager, UnreachableRegistryError, entity
from statestore.fields.attributes import Precision
from statestore.tables.table import Table
from statestore.testing.kafka import Broker
from statestore.testing.registry import StandInRegistry

pytestmark = pytest.mark.kafka

Managers = Callable[..., StoreManager]
NewTopic = Callable[[str], str]


def orders_of(topic: str) -> type[Any]:
    """Return an entity class of its own for one topic."""

    @entity(topic=topic, key_format="avro", value_format="avro")
    @dataclass(frozen=True)
    class Order:
        number: Annotated[int, Key]
        amount: Annotated[Decimal, Precision(10, 2)]
        placed: datetime = datetime(2020, 1, 1, tzinfo=UTC)
        note: str | None = None

    return Order


@pytest.fixture
def registry() -> Iterator[StandInRegistry]:
    with StandInRegistry() as registry:
        yield registry


class Theirs:
    """Another program: it writes orders under schemas of its own."""

    def __init__(self, broker: Broker, registry: StandInRegistry, topic: str) -> None:
        self._topic = topic
        self._producer = Producer({"bootstrap.servers": broker.bootstrap})
        self._client = SchemaRegistryClient({"url": registry.url})
        self._key = SerializationContext(topic, MessageField.KEY)
        self._value = SerializationContext(topic, MessageField.VALUE)

    def write(self, key: Any, value: Any, key_schema: Any, value_schema: Any) -> None:
        for what in ("key", "value"):
            self._client.set_compatibility(f"{self._topic}-{what}", "NONE")
        keys: Any = AvroSerializer(self._client, json.dumps(key_schema))
        values: Any = AvroSerializer(self._client, json.dumps(value_schema))
        self._producer.produce(self._topic, values(value, self._value), keys(key, self._key))
        assert self._producer.flush(60) == 0

    def close(self) -> None:
        self._client.__exit__(None, None, None)  # close() has come with 2.16


@pytest.fixture
def theirs(broker: Broker, registry: StandInRegistry, orders: type[Any]) -> Iterator[Theirs]:
    other = Theirs(broker, registry, topic_of(orders))
    yield other
    other.close()


@pytest.fixture
def orders(broker: Broker, topic: NewTopic) -> type[Any]:
    name = topic("orders")
    broker.create_topic(name, 4)
    return orders_of(name)


@pytest.fixture
def manager(broker: Broker, managers: Managers, registry: StandInRegistry) -> StoreManager:
    return managers(broker, settings={"schema_registry": {"url": registry.url, "retry_wait": 0.0}})


def topic_of(cls: type[Any]) -> str:
    return str(cls.__statestore_entity__.arguments["topic"])


THEIR_VALUE = {
    "type": "record",
    "name": "OrderValue",
    "namespace": "com.example",
    "fields": [
        {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 8, "scale": 1}},
        {"name": "clerk", "type": "string"},
    ],
}


def test_what_was_added_is_found_and_deleted(orders: type[Any], manager: StoreManager) -> None:
    table: Table[Any] = manager.bind(orders)
    table.wait_until_ready(60)
    now = datetime(2024, 1, 1, 0, 0, 0, 123456, UTC)
    table.add_all([orders(300, Decimal("1.5"), now, "x"), orders(-1, Decimal(2))], wait=True)
    assert table.get(300) == orders(300, Decimal("1.50"), now, "x")
    assert [row.number for row in table.scan()] == [-1, 300]
    assert [row.number for row in table.scan(start=0)] == [300]
    table.delete(300, wait=True)
    assert table.get(300) is None
    assert table.count() == 1


def test_one_key_under_two_schema_ids_is_one_row_and_counted(
    orders: type[Any], manager: StoreManager, theirs: Theirs
) -> None:
    theirs.write(7, {"amount": Decimal("1.5"), "clerk": "bob"}, "int", THEIR_VALUE)
    table: Table[Any] = manager.bind(orders)
    table.wait_until_ready(60)
    assert table.get(7) == orders(7, Decimal("1.50"))
    assert table.health().duplicate_keys == 0
    table.add(orders(7, Decimal(3)), wait=True)
    assert table.get(7) == orders(7, Decimal("3.00"))
    assert table.health().duplicate_keys == 1
    assert table.to_list() == [orders(7, Decimal("3.00"))]
    assert table.count() == 1


def test_a_schema_that_the_registry_refuses_is_not_written(
    broker: Broker, orders: type[Any], manager: StoreManager, registry: StandInRegistry
) -> None:
    registry.register(f"{topic_of(orders)}-value", THEIR_VALUE)
    with pytest.raises(RegistryError, match=f"subject {topic_of(orders)}-value: .*incompatible"):
        manager.add(orders(7, Decimal(3)))
    assert sum(broker.end_offsets(topic_of(orders)).values()) == 0


def test_an_outage_of_the_registry_is_told_and_passes(
    orders: type[Any], manager: StoreManager, registry: StandInRegistry, theirs: Theirs
) -> None:
    theirs.write(7, {"amount": Decimal("1.5"), "clerk": "bob"}, "long", THEIR_VALUE)
    registry.stop()
    table: Table[Any] = manager.bind(orders)
    table.wait_until_ready(60)
    with pytest.raises(UnreachableRegistryError, match=f"subject {topic_of(orders)}-key"):
        table.get(7)
    with pytest.raises(UnreachableRegistryError):
        table.to_list()
    with pytest.raises(UnreachableRegistryError):
        table.add(orders(8, Decimal(1)))
    assert table.health().decode_errors == 0
    registry.start()
    assert table.get(7) == orders(7, Decimal("1.50"))
    assert table.to_list() == [orders(7, Decimal("1.50"))]


# On an event loop


@dataclass(frozen=True)
class Ask:
    """A way to write on an event loop."""

    name: str
    write: Callable[[Table[Any], Any], Any]


WRITES = [
    Ask("add", lambda table, order: table.add_async(order)),
    Ask("collection", lambda table, order: table.add_all_async([order])),
    Ask("iterator", lambda table, order: table.add_all_async(iter([order]))),
    Ask("delete", lambda table, order: table.delete_async(order.number)),
]


@pytest.mark.parametrize("ask", WRITES, ids=lambda ask: ask.name)
def test_an_event_loop_goes_on_while_the_registry_is_asked(
    ask: Ask, orders: type[Any], manager: StoreManager, registry: StandInRegistry
) -> None:
    table: Table[Any] = manager.bind(orders)
    table.wait_until_ready(60)

    async def main() -> None:
        registry.delay = 0.3
        writing = asyncio.ensure_future(ask.write(table, orders(1, Decimal(1))))
        while not registry.requests:
            await asyncio.sleep(0)
        assert len(registry.requests) == 1, "the loop stood still until several questions were answered"
        registry.delay = 0.0
        await writing

    asyncio.run(main())


@pytest.mark.parametrize("ask", WRITES, ids=lambda ask: ask.name)
def test_a_registry_that_is_away_is_told_on_an_event_loop_too(
    ask: Ask, orders: type[Any], manager: StoreManager, registry: StandInRegistry
) -> None:
    table: Table[Any] = manager.bind(orders)
    registry.stop()

    async def main() -> None:
        with pytest.raises(UnreachableRegistryError):
            await ask.write(table, orders(1, Decimal(1)))
        registry.start()
        await ask.write(table, orders(1, Decimal(1)))

    asyncio.run(main())


@pytest.mark.parametrize("write", [Table.add, Table.delete, Table.add_all])
def test_time_is_up_while_the_registry_is_asked(
    write: Callable[..., Any],
    broker: Broker,
    orders: type[Any],
    manager: StoreManager,
    registry: StandInRegistry,
) -> None:
    table: Table[Any] = manager.bind(orders)
    registry.delay = 30
    order = orders(1, Decimal(1))
    given = {"add": order, "delete": 1, "add_all": [order]}[write.__name__]
    with pytest.raises(DeliveryError, match="registry did not answer in the time given") as error:
        write(table, given, timeout=0.1)
    assert error.value.undelivered == ((1,) if write is Table.delete else order,)
    assert sum(broker.end_offsets(topic_of(orders)).values()) == 0
