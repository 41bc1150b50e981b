"""Topics of librdkafka's mock broker, for tables that are only read afterwards."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Self

from confluent_kafka import Producer

from statestore.bench.topics import produce_all


class MockTopics:
    """A mock broker in this process. It keeps a few megabytes of each topic."""

    def __enter__(self) -> Self:
        self._producer = Producer(
            {"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0, "linger.ms": 20}
        )
        broker = next(iter(self._producer.list_topics(timeout=10).brokers.values()))
        self.bootstrap = f"{broker.host}:{broker.port}"
        self.topics: set[str] = set()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._producer.flush(0)  # the broker lives as long as its owner

    def fill(self, topic: str, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        """Write ``pairs`` to a topic, which this creates."""
        produce_all(self._producer, self.bootstrap, topic, pairs)
        self.topics.add(topic)
