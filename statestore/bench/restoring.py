"""A topic read into a store: by the mirror of a backend, and by the loop that a program would write."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from statestore.bench.candidates import Candidate, Pair
from statestore.bench.topics import PARTITIONS, RESTORED
from statestore.bench.workload import Ground, Operation, Site
from statestore.manager import StoreManager

PATIENCE = 3_600.0
"""Seconds after which a restore is given up."""
CONSUMED = 10_000
"""Most records that the loop of a reference takes at once, and writes as one batch."""

_LOOKED_AT = 20


class Restore(ABC):
    """One restore into an empty store."""

    get: Callable[[bytes], object]
    """Read the store afterwards."""

    @abstractmethod
    def run(self) -> None:
        """Do it, from opening to the last record."""

    @abstractmethod
    def flush(self) -> None:
        """Return when everything is on disk."""

    @abstractmethod
    def close(self) -> None: ...


class OwnRestore(Restore):
    """``StoreManager.bind`` of a topic, until its table is ready."""

    def __init__(self, site: Site, kafka: str) -> None:
        self._directory = site.opening("restored").directory
        self._site = site
        self._kafka = kafka
        self._stores: StoreManager | None = None

    def run(self) -> None:
        self._stores = stores = StoreManager(self._directory, kafka=self._kafka, backend=self._site.kind.name)
        self._table = table = stores.bind(self._site.topics[RESTORED])
        table.wait_until_ready(PATIENCE)
        if self._site.durable:
            table.flush()
        self.get = table.get

    def flush(self) -> None:
        self._table.flush()

    def close(self) -> None:
        if self._stores is not None:
            self._stores.close()


class LoopedRestore(Restore):
    """``Consumer.consume`` and a batch of what it gives. The loop knows how many records there are."""

    def __init__(self, site: Site, kafka: str) -> None:
        self._site = site
        self._kafka = kafka
        self._candidate: Candidate | None = None
        self._consumer: Consumer | None = None

    def run(self) -> None:
        self._candidate = candidate = self._site.open("restored")
        topic = self._site.topics[RESTORED]
        self._consumer = consumer = Consumer(
            {
                "bootstrap.servers": self._kafka,
                "group.id": "statestore-bench",
                "enable.auto.commit": False,
                "fetch.queue.backoff.ms": 2,  # by default a full queue is looked at again after a second
            }
        )
        consumer.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])
        left = self._site.records
        while left:
            messages = consumer.consume(min(CONSUMED, left), timeout=60)
            if not messages:
                raise RuntimeError(f"{self._kafka} gave no record for a minute, {left} before the end")
            candidate.write([pair_of(message) for message in messages])
            left -= len(messages)
        if self._site.durable:
            candidate.flush()
        self.get = candidate.get

    def flush(self) -> None:
        if self._candidate is not None:
            self._candidate.flush()

    def close(self) -> None:
        if self._consumer is not None:
            self._consumer.close()
        if self._candidate is not None:
            self._candidate.close()


def pair_of(message: Any) -> Pair:
    if error := message.error():
        raise RuntimeError(str(error))
    return message.key(), message.value()


class RestoreGround(Ground):
    """A topic, and the store that it was restored into last."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self._site = site
        self._last: Restore | None = None

    def next(self, random: Random) -> Restore:
        """Return a restore into an empty store; the last one is closed, after a look at what it gave."""
        self._end(random)
        site = self._site
        if site.kafka is None:
            raise RuntimeError("there is no broker to restore from")
        made = OwnRestore if site.kind.kind == "backend" else LoopedRestore
        self._last = made(site, site.kafka)
        self.writes(int(site.content.mean * site.records))
        return self._last

    def _end(self, random: Random) -> None:
        """Close the last restore, and remove its files. Raises ``RuntimeError`` where records are missing."""
        last, self._last = self._last, None
        if last is None:
            return
        try:
            for _ in range(_LOOKED_AT):
                number = random.randrange(self._site.records)
                if last.get(self._site.content.key(number)) is None:
                    raise RuntimeError(f"record {number} is in the topic, and was not restored")
            last.flush()
        finally:
            last.close()
            shutil.rmtree(self._site.directory, ignore_errors=True)

    def flush(self) -> None:
        if self._last is not None:
            self._last.flush()

    def close(self) -> None:
        self._end(Random(0))


def restores(ground: RestoreGround, random: Random) -> Iterator[Operation]:
    while True:
        yield ground.next(random).run, ()
