"""Records that another program writes to a driver's topics: one by one, or in a transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from statestore.delivery import Delivery
from statestore.entity import model_of
from statestore.errors import ConfigError, StoreClosedError
from statestore.fields.windows import DeclaredWindow
from statestore.kafka.partitioners import partition_of
from statestore.kafka.properties import largest_record
from statestore.manager import StoreManager
from statestore.producing.encoding import Encoder
from statestore.producing.sending import ProducerRecord
from statestore.runtime.text import bounded_repr, typed_repr
from statestore.runtime.times import milliseconds
from statestore.serde.entities import EntityCodec
from statestore.testing.driver.clients import placed
from statestore.testing.driver.log import Cluster, Headers, PartitionLog, TopicLog
from statestore.testing.driver.stage import Stage

_A_TIME = "give a datetime with a time zone, as in datetime(2024, 1, 1, tzinfo=UTC)"


def checked_time(place: str, given: Any) -> datetime:
    """Return ``given``. Raises ``ConfigError`` for what is no time, or has no time zone."""
    if not isinstance(given, datetime) or given.tzinfo is None:
        raise ConfigError(f"{place} is no time in UTC: {_A_TIME}")
    return given


class DriverRecords:
    """Writes records to the topics of a driver, and encodes entities as their tables do."""

    def __init__(
        self,
        cluster: Cluster,
        stage: Stage,
        manager: Callable[[], StoreManager],
        table: Callable[[type[Any]], Any],
    ) -> None:
        self.cluster, self.stage = cluster, stage
        self._manager, self._table = manager, table
        self.encoders: dict[str, Encoder] = {}
        """By topic; those of a manager that was closed are not used again."""
        self.is_closed = False

    def check_open(self) -> None:
        if self.is_closed:
            raise StoreClosedError("this TestDriver is closed: make another one")

    def topic(self, topic: Any) -> TopicLog:
        self.check_open()
        if not isinstance(topic, str | type):
            raise ConfigError(f"topic {bounded_repr(topic)}: give a topic's name, or an entity class")
        name = topic if isinstance(topic, str) else model_of(topic).topic
        found = self.cluster.topics.get(name)
        if found is None:
            there = ", ".join(map(repr, sorted(self.cluster.topics))) or "none"
            raise ConfigError(
                f"this driver has no topic {name!r} (there are: {there}): create_topic({name!r}), or give "
                "its class to TestDriver(entities=[…])"
            )
        return found

    def partition(self, topic: type | str, partition: Any) -> PartitionLog:
        found = self.topic(topic)
        last = len(found.partitions) - 1
        if not isinstance(partition, int) or not 0 <= partition <= last:
            given = bounded_repr(partition)
            raise ConfigError(f"topic {found.name!r} has no partition {given}: it has 0 to {last}")
        return found.partitions[partition]

    def encoder(self, cls: type, window: DeclaredWindow | None = None) -> Encoder:
        manager, model = self._manager(), model_of(cls)
        # The table's own codec, of the window's keys where the class has windows; what it reads, it writes.
        table: Any = self._table(cls)
        codec: EntityCodec[Any] = table._codec
        partitioner = manager._resolver.partitioner(model)
        if window is not None or model.windows:
            table = table.window(window)
            codec = table._codec
            windows = (one.model for _, one in manager._resolver.windows(model))
            model = next(one for one in windows if one is not None and one.topic == table.topic)
        encoder = self.encoders.get(model.topic)
        if encoder is None:
            settings, bound = manager._settings, manager._writer.bound
            encoder = Encoder(model, codec, largest_record(settings.kafka), bound, partitioner)
            encoder.prepare()
            self.encoders[model.topic] = encoder
        return encoder

    def tombstones(
        self, entity_or_class: Any, key: tuple[Any, ...], window: DeclaredWindow | None
    ) -> list[ProducerRecord]:
        if isinstance(entity_or_class, type):
            return self.encoder(entity_or_class, window).tombstones(key, key)
        encoder = self.encoder(type(entity_or_class), window)
        return encoder.tombstones(encoder.key_of(entity_or_class), entity_or_class)

    def send(
        self,
        records: Iterable[ProducerRecord],
        partition: int | None,
        timestamp: datetime | int | None,
        transaction: int | None,
    ) -> list[Delivery]:
        sent = []
        for one in records:
            at = partition
            if at is None and one.partitioner is not None:
                count = len(self.topic(one.topic).partitions)
                at = max(0, partition_of(one.partitioner, one.key, count))
            when = timestamp if timestamp is not None else one.timestamp or None
            sent.append(self.write(one.topic, one.key, one.value, at, when, (), transaction))
        return sent

    def write(
        self,
        topic: type | str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: datetime | int | None,
        headers: Headers,
        transaction: int | None,
    ) -> Delivery:
        log = self.topic(topic)
        for name, one in (("key", key), ("value", value)):
            _check_bytes(log.name, name, one)
        number = placed(log, key) if partition is None else partition
        self.partition(log.name, number)
        at = _timestamp(log.name, timestamp)
        refusal = log.refusal(key, value, headers)
        if refusal is not None:
            raise ConfigError(f"a broker refuses the record for topic {log.name!r}: {refusal.remedy}")
        written = self.cluster.append(log.name, number, key, value, at, headers, transaction)
        self.stage.settle()
        return Delivery(log.name, number, *written)

    def unkeyed(self, topic: type | str, value: bytes, partition: int, timestamp: int) -> None:
        """Write a record without a key, also to a compacted topic: as before it was compacted."""
        name = self.topic(topic).name
        self.partition(name, partition)
        self.cluster.append(name, partition, None, value, timestamp)
        self.stage.settle()

    def begin(self) -> int:
        return self.cluster.begin()

    def finish(self, transaction: int, *, commit: bool) -> None:
        self.cluster.finish(transaction, commit=commit)
        self.stage.settle()


def _check_bytes(topic: str, name: str, given: Any) -> None:
    if given is not None and not isinstance(given, bytes):
        raise ConfigError(
            f"a record for topic {topic!r}: {name}={typed_repr(given)} is not bytes: encode it, or write an "
            "entity by add(entity)"
        )


def _timestamp(topic: str, given: Any) -> int:
    """Return a timestamp in ms since 1970, 0 for that of the clock."""
    if isinstance(given, datetime):
        return milliseconds(checked_time(f"timestamp={given!r} of a record for topic {topic!r}", given))
    if given is not None and (not isinstance(given, int) or given < 0):
        raise ConfigError(
            f"timestamp={bounded_repr(given)} of a record for topic {topic!r}: give milliseconds since 1970, "
            "or a datetime with a time zone"
        )
    return given or 0


class DriverWrites:
    """What writes to the topics of a driver."""

    _records: DriverRecords

    def _transaction(self) -> int | None:
        """Return the number of the transaction that records belong to."""
        return None

    def _sent(
        self, records: Iterable[ProducerRecord], partition: int | None, timestamp: datetime | int | None
    ) -> Delivery:
        return self._records.send(records, partition, timestamp, self._transaction())[0]

    def record(
        self,
        topic: type | str,
        key: bytes | None,
        value: bytes | None,
        *,
        partition: int | None = None,
        timestamp: datetime | int | None = None,
        headers: Headers = (),
    ) -> Delivery:
        """Write a record as it is, as another program would; ``value=None`` is a tombstone.

        ``partition`` is the one of the key by default, and 0 without a key. ``timestamp`` is in ms since
        1970, or a ``datetime``; by default that of the driver's clock.
        """
        return self._records.write(topic, key, value, partition, timestamp, headers, self._transaction())

    def add(
        self,
        entity: Any,
        *,
        window: DeclaredWindow | None = None,
        partition: int | None = None,
        timestamp: datetime | int | None = None,
    ) -> Delivery:
        """Write an entity, new or changed, as another program would.

        ``window`` says whose row it is, where the class has windows: ``"5min"``.

        Raises ``EntityRejectedError`` as ``Table.add`` does.
        """
        return self._sent([self._records.encoder(type(entity), window).record(entity)], partition, timestamp)

    def delete(
        self,
        entity_or_class: Any,
        *key: Any,
        window: DeclaredWindow | None = None,
        partition: int | None = None,
        timestamp: datetime | int | None = None,
    ) -> Delivery:
        """Write the tombstone of an entity, or of a key: ``delete(order)`` or ``delete(Order, 42)``."""
        records = self._records.tombstones(entity_or_class, key, window)
        return self._sent(records, partition, timestamp)


class DriverTransaction(DriverWrites):
    """The records of one ``with driver.transaction()``: seen when it has been committed, or never."""

    def __init__(self, records: DriverRecords) -> None:
        self._records = records
        self._number: int | None = None

    def abort(self) -> None:
        """Abort: none of its records is ever seen. The block may go on, but writes nothing more."""
        self._end(commit=False)

    def _transaction(self) -> int:
        if self._number is None:
            raise RuntimeError("the transaction is not open: write within its with block, before abort()")
        return self._number

    def _end(self, *, commit: bool) -> None:
        number, self._number = self._transaction(), None
        self._records.finish(number, commit=commit)

    def __enter__(self) -> Self:
        self._number = self._records.begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._number is not None:
            self._end(commit=error is None)
