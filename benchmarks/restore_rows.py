"""Restoring a topic until it is ready, against a consumer that reads its records and throws them away."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from harness import Fresh, Measured, Row, clock

from statestore import StoreManager
from statestore.testing.kafka import Broker, KafkaBroker, external_broker

PARTITIONS = 4
VALUE_SIZE = 100
READY_TIMEOUT = 600


def rows(stack: ExitStack, fresh: Fresh, records: int) -> Iterator[Row]:
    """Return the rows; the broker ends with ``stack``. Raises ``BrokerUnavailableError``."""
    broker: Broker = external_broker() or stack.enter_context(KafkaBroker())
    for repeats, what in ((1, "every key once"), (4, "every key 4 times")):
        topic = f"statestore-bench-{repeats}"
        if broker.has_topic(topic):
            broker.delete_topic(topic)
        broker.create_topic(topic, partitions=PARTITIONS)
        stack.callback(broker.delete_topic, topic)
        _fill(broker, topic, records, records // repeats)
        yield Row(
            f"restore, rocksdb, {what}",
            "Consumer.consume, discarding",
            records,
            "records",
            1.0,
            _restore(broker, topic, fresh),
            _discard(broker, topic),
        )


def _fill(broker: Broker, topic: str, records: int, keys: int) -> None:
    chance = random.Random(7)
    producer = Producer(
        {"bootstrap.servers": broker.bootstrap, "queue.buffering.max.messages": 0, "linger.ms": 20}
    )
    for number in range(records):
        producer.produce(topic, chance.randbytes(VALUE_SIZE), b"key-%012d" % (number % keys))
        if number % 100_000 == 0:
            producer.poll(0)
    if producer.flush(READY_TIMEOUT):
        raise TimeoutError(f"{broker.bootstrap} did not take {records} records")


def _restore(broker: Broker, topic: str, fresh: Fresh) -> Measured:
    def measure() -> float:
        with clock() as taken:
            stores = StoreManager(fresh.directory(), kafka=broker.bootstrap)
            stores.bind(topic).wait_until_ready(READY_TIMEOUT)
        stores.close()
        return taken[0]

    return measure


def _discard(broker: Broker, topic: str) -> Measured:
    def measure() -> float:
        with clock() as taken:
            consumer = Consumer(
                {
                    "bootstrap.servers": broker.bootstrap,
                    "group.id": "statestore-bench",
                    "enable.auto.commit": False,
                    "enable.partition.eof": True,
                    "fetch.queue.backoff.ms": 2,
                    "fetch.wait.max.ms": 100,
                }
            )
            # Absolute offsets: logical ones would wait half a second for the client's first metadata.
            consumer.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
            ended = 0
            while ended < PARTITIONS:
                for message in consumer.consume(10_000, timeout=0.01):
                    error = message.error()
                    if error is None:
                        message.key(), message.value()
                    elif error.code() == KafkaError._PARTITION_EOF:
                        ended += 1
                    else:
                        raise RuntimeError(str(error))
        consumer.close()
        return taken[0]

    return measure
