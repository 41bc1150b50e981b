"""Topics of a real broker, and the reference of a restore: reading one and throwing the records away."""

from __future__ import annotations

import statistics
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from confluent_kafka import Consumer, Producer, TopicPartition
from content import records

from statestore.bench.topics import produce_all
from statestore.bench.turns import Work

if TYPE_CHECKING:  # pytest and Hypothesis come with it, which each process of a measurement would import
    from statestore.testing.kafka import Broker

TRIES = 3
"""Runs of each tuning before the faster one is taken."""
PATIENCE = 900.0
"""Seconds after which a row stops waiting and fails."""

# "The best-tuned loop": which tuning is best depends on the number of partitions and the broker, so all are
# tried. With the first, a full queue does not sleep for a second. With the second, the queue is never full.
TUNINGS: dict[str, dict[str, Any]] = {
    "backoff 2 ms": {"fetch.queue.backoff.ms": 2},
    "queue of 1 M": {"queued.min.messages": 1_000_000, "queued.max.messages.kbytes": 1 << 20},
}


@dataclass(frozen=True, slots=True)
class Shape:
    """The content of a topic."""

    records: int
    writes_per_key: int = 1
    partitions: int = 4
    compression: str = "none"

    @property
    def keys(self) -> int:
        return max(1, self.records // self.writes_per_key)

    def __str__(self) -> str:
        writes = "every key once" if self.writes_per_key == 1 else f"{self.writes_per_key} writes per key"
        parts = f"{self.partitions} partition{'s' if self.partitions > 1 else ''}"
        return ", ".join([writes, parts, *([] if self.compression == "none" else [self.compression])])


class Topics:
    """Makes topics, one for each shape because they are only read, and deletes them at the end."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.bootstrap = broker.bootstrap
        self._made: list[str] = []
        self._filled: dict[Shape, str] = {}
        self._discards: dict[str, Discard] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for name in self._made:
            if self.broker.has_topic(name):
                self.broker.delete_topic(name)

    def empty(self, partitions: int = 1, name: str = "") -> str:
        """Make a compacted topic without records and return its name."""
        name = name or f"statestore-bench-{uuid.uuid4().hex[:8]}"
        self._made.append(name)
        self.broker.create_topic(name, partitions)
        return name

    def of(self, shape: Shape) -> str:
        """Return the name of the topic of this shape. The first call fills it."""
        if shape not in self._filled:
            name = self.empty(shape.partitions)
            fill(self.bootstrap, name, records(shape.records, shape.keys), compression=shape.compression)
            self._filled[shape] = name
        return self._filled[shape]

    def discard(self, shape: Shape) -> Discard:
        """Return the fastest loop that reads the topic of this shape."""
        topic = self.of(shape)
        if topic not in self._discards:
            loops = [Discard(self.bootstrap, topic, shape, tuning) for tuning in TUNINGS]
            rounds = [[loop.work().seconds() for loop in loops] for _ in range(TRIES)]
            medians = [statistics.median(taken) for taken in zip(*rounds, strict=True)]
            self._discards[topic] = loops[medians.index(min(medians))]
        return self._discards[topic]


def fill(
    bootstrap: str,
    topic: str,
    pairs: Iterable[tuple[bytes, bytes]],
    *,
    compression: str = "none",
    headers: list[tuple[str, str | bytes | None]] | None = None,
) -> None:
    """Write ``pairs`` to a topic, and return when the broker has them."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "compression.type": compression,
            "linger.ms": 20,
            "batch.num.messages": 5_000,
            "queue.buffering.max.messages": 0,
            "queue.buffering.max.kbytes": 256 << 10,
        }
    )
    produce_all(producer, bootstrap, topic, pairs, headers=headers)


class Discard:
    """The reference of a restore: ``Consumer.consume`` in a loop that looks at each key and value.

    The loop knows the number of records, so it need not wait for the broker to report the end.
    """

    def __init__(self, bootstrap: str, topic: str, shape: Shape, tuning: str) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._shape = shape
        self.tuning = tuning

    @property
    def name(self) -> str:
        return f"discard loop, {self.tuning}"

    def work(self) -> Work:
        """Return the loop, from making the consumer to the last record."""
        return Work(self._read, prepare=list, finish=lambda made: made.pop().close())

    def _read(self, made: list[Consumer]) -> None:
        consumer = Consumer(
            {
                "bootstrap.servers": self._bootstrap,
                "group.id": "statestore-bench",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                **TUNINGS[self.tuning],
            }
        )
        made.append(consumer)
        # Absolute offsets: logical ones would wait half a second for the client's first metadata.
        parts = range(self._shape.partitions)
        consumer.assign([TopicPartition(self._topic, number, 0) for number in parts])
        left = self._shape.records
        while left:
            for message in consumer.consume(10_000, timeout=0.01):
                if error := message.error():
                    raise RuntimeError(str(error))
                message.key(), message.value()
                left -= 1
