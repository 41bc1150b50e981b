"""The clients of a cluster in memory: what the library calls on those of ``confluent_kafka``, and no more."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

from confluent_kafka import IsolationLevel, KafkaException, TopicCollection, TopicPartition
from confluent_kafka import KafkaError as Code
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, OffsetSpec

from statestore.kafka.admin import AdminConnection
from statestore.kafka.clients import Clients
from statestore.kafka.partitioners import DEFAULT_PARTITIONER, partition_of
from statestore.kafka.reader import BatchLimits, ConsumerReader
from statestore.kafka.source import KafkaSource
from statestore.testing.driver.log import Cluster, Headers, LogRecord, PartitionLog, TopicLog

ADDRESS = "test-driver:9092"
"""What the driver's manager has for the address of its broker: it is never resolved."""

POLL = 0.005
"""Seconds that the thread of a producer waits for reports at a time."""


def clients(cluster: Cluster) -> Clients:
    """Return what makes the clients of ``cluster``."""
    return Clients(
        admin=partial(LogAdmin, cluster),
        source=partial(LogSource, cluster),
        producer=cast("Any", partial(LogProducer, cluster)),
    )


def _done(value: Any = None, error: Code | None = None) -> Future[Any]:
    future: Future[Any] = Future()
    if error is None:
        future.set_result(value)
    else:
        future.set_exception(KafkaException(error))
    return future


def _unknown() -> Code:
    return Code(Code.UNKNOWN_TOPIC_OR_PART)


class LogAdmin(AdminConnection):
    """The admin connection of a manager, whose client answers from the cluster."""

    def __init__(self, cluster: Cluster, given: Mapping[str, Any]) -> None:
        super().__init__(given)
        self._answers = cast("AdminClient", _Answers(cluster))

    def client(self) -> AdminClient:
        if self._client is None:
            self._client = self._answers
        return super().client()


class _Answers:
    """What is asked of ``confluent_kafka.admin.AdminClient``; each answer is there at once."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def poll(self, _timeout: float) -> int:
        return 0

    def list_topics(self, topic: str | None = None, timeout: float = -1) -> Any:
        topics = {
            name: SimpleNamespace(partitions=dict(enumerate(found.partitions)), error=None)
            for name, found in self._cluster.topics.items()
        }
        return SimpleNamespace(topics=topics, cluster_id=self._cluster.cluster_id, brokers={0: ADDRESS})

    def describe_cluster(self, **_: Any) -> Future[Any]:
        return _done(SimpleNamespace(cluster_id=self._cluster.cluster_id))

    def describe_topics(self, topics: TopicCollection, **_: Any) -> dict[str, Future[Any]]:
        return {name: self._described(name) for name in topics.topic_names}

    def _described(self, name: str) -> Future[Any]:
        found = self._cluster.topics.get(name)
        if found is None:
            return _done(error=_unknown())
        partitions = [
            SimpleNamespace(id=number, leader=0, replicas=[0]) for number in range(len(found.partitions))
        ]
        return _done(SimpleNamespace(name=name, topic_id=found.topic_id, partitions=partitions))

    def describe_configs(
        self, resources: Iterable[ConfigResource], **_: Any
    ) -> dict[ConfigResource, Future[Any]]:
        return {resource: self._configured(resource.name) for resource in resources}

    def _configured(self, name: str) -> Future[Any]:
        found = self._cluster.topics.get(name)
        if found is None:
            return _done(error=_unknown())
        return _done({key: SimpleNamespace(value=value) for key, value in found.config.items()})

    def list_offsets(
        self,
        wanted: Mapping[TopicPartition, OffsetSpec],
        isolation_level: IsolationLevel = IsolationLevel.READ_UNCOMMITTED,
        **_: Any,
    ) -> dict[TopicPartition, Future[Any]]:
        committed = isolation_level == IsolationLevel.READ_COMMITTED
        return {place: self._offset(place, spec, committed=committed) for place, spec in wanted.items()}

    def _offset(self, place: TopicPartition, spec: OffsetSpec, *, committed: bool) -> Future[Any]:
        log = _log_of(self._cluster, place.topic, place.partition)
        if log is None:
            return _done(error=_unknown())
        end = log.stable_end if committed else log.end
        earliest: Any = OffsetSpec.earliest()  # typed to return None
        offset = log.start if spec is earliest else end
        return _done(SimpleNamespace(offset=offset, leader_epoch=log.epoch, timestamp=-1))

    def create_topics(self, topics: Iterable[NewTopic], **_: Any) -> dict[str, Future[Any]]:
        answers = {}
        for one in topics:
            if one.topic in self._cluster.topics:
                answers[one.topic] = _done(error=Code(Code.TOPIC_ALREADY_EXISTS))
                continue
            config: Any = one.config
            self._cluster.create(one.topic, max(1, one.num_partitions), dict(config or {}))
            answers[one.topic] = _done()
        return answers


def _log_of(cluster: Cluster, topic: str, partition: int) -> PartitionLog | None:
    found = cluster.topics.get(topic)
    return found.partitions[partition] if found is not None and partition < len(found.partitions) else None


class LogSource(KafkaSource):
    """The source of a manager, with readers of the cluster's logs."""

    def __init__(
        self,
        cluster: Cluster,
        admin: AdminConnection,
        properties: Mapping[str, Any],
        name: str,
        request_timeout: float,
        on_error: Callable[[Code, str], None],
    ) -> None:
        super().__init__(admin, properties, name, request_timeout, on_error)
        self._cluster = cluster
        self.fetcher = "consumer: the test driver's"

    def reader(self, limits: BatchLimits, queue_bytes: int) -> LogReader:
        return LogReader(self._cluster, self.consumer_properties(queue_bytes), limits, self._on_error)

    def consumer(self, properties: Mapping[str, Any]) -> Any:
        return LogConsumer(self._cluster)

    def lost_positions(
        self, topic: str, positions: Mapping[int, tuple[int, int]], is_wanted: Callable[[], bool]
    ) -> Future[dict[int, str]]:
        lost = {}
        for number, (offset, epoch) in positions.items():
            log = _log_of(self._cluster, topic, number)
            if log is not None and epoch >= 0 and log.end_of_epoch(epoch) < offset:
                lost[number] = _truncated(log, epoch)
        return _done(lost)

    def refusal(self) -> Future[Code | None]:
        return _done()


def _truncated(log: PartitionLog, epoch: int) -> str:
    return f"the records of leader epoch {epoch} end at offset {log.end_of_epoch(epoch)}"


class LogReader(ConsumerReader):
    """The library's reader through an ordinary consumer, which is one of the cluster's logs."""

    def __init__(
        self,
        cluster: Cluster,
        properties: Mapping[str, Any],
        limits: BatchLimits,
        on_error: Callable[[Code, str], None],
    ) -> None:
        self._logs = LogConsumer(cluster)
        make: Any = lambda *_, **__: self._logs  # noqa: E731 - typed as a consumer's class
        super().__init__(properties, limits, lambda error: on_error(error, error.str()), make, cluster.clock)

    @property
    def has_news(self) -> bool:
        """Whether there is anything to give."""
        return self._logs.has_news

    @property
    def holds_records(self) -> bool:
        """Whether records are held back, of which a transaction may go on."""
        return self._held.holds


class Given:
    """A record, or what is told of a partition, with the methods of ``confluent_kafka.Message``."""

    __slots__ = ("_at", "_error", "_partition", "_record", "_topic")

    def __init__(
        self, topic: str, partition: int, at: int, record: LogRecord | None, error: Code | None = None
    ) -> None:
        self._topic, self._partition, self._at = topic, partition, at
        self._record, self._error = record, error

    def topic(self) -> str:
        return self._topic

    def partition(self) -> int:
        return self._partition

    def offset(self) -> int:
        return self._at

    def error(self) -> Code | None:
        return self._error

    def key(self) -> bytes | None:
        return None if self._record is None else self._record.key

    def value(self) -> bytes | None:
        return None if self._record is None else self._record.value

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return None if self._record is None else list(self._record.headers) or None

    def timestamp(self) -> tuple[int, int]:
        at = -1 if self._record is None else self._record.timestamp
        return (0, -1) if at < 0 else (1, at)

    def leader_epoch(self) -> int | None:
        return None if self._record is None else self._record.epoch

    def __len__(self) -> int:
        return len(self.value() or b"")


@dataclass(slots=True)
class _Assigned:
    """A partition that a consumer reads."""

    position: int
    epoch: int
    """Of the leader that took the record before the position, -1 unknown."""
    end_told: int = -1
    """The offset of the last end-of-partition event."""
    failed: bool = False
    """An error was told: nothing more comes until it is assigned anew."""


class LogConsumer:
    """What is asked of ``confluent_kafka.Consumer``: ``read_committed``, ``auto.offset.reset=error``."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._assigned: dict[tuple[str, int], _Assigned] = {}

    # Assignment

    def assign(self, places: Iterable[TopicPartition]) -> None:
        self._assigned.clear()
        self.incremental_assign(places)

    def incremental_assign(self, places: Iterable[TopicPartition]) -> None:
        for place in places:
            epoch: int | None = place.leader_epoch  # typed as a number
            self._assigned[place.topic, place.partition] = _Assigned(
                place.offset, -1 if epoch is None else epoch
            )

    def incremental_unassign(self, places: Iterable[TopicPartition]) -> None:
        for place in places:
            self._assigned.pop((place.topic, place.partition), None)

    def position(self, places: Iterable[TopicPartition]) -> list[TopicPartition]:
        return [TopicPartition(one.topic, one.partition, self._position(one)) for one in places]

    def _position(self, place: TopicPartition) -> int:
        one = self._assigned.get((place.topic, place.partition))
        return -1001 if one is None else one.position

    def get_watermark_offsets(
        self, place: TopicPartition, *, cached: bool = False, **_: Any
    ) -> tuple[int, int] | None:
        log = _log_of(self._cluster, place.topic, place.partition)
        return None if log is None else (log.start, log.end)

    def list_topics(self, *_: Any, **__: Any) -> None:
        """Do nothing: the cluster is there."""

    # Reading

    @property
    def has_news(self) -> bool:
        """Whether ``consume`` has anything to give."""
        return any(self._news_of(*place, one) for place, one in self._assigned.items())

    def _news_of(self, topic: str, number: int, one: _Assigned) -> bool:
        log = _log_of(self._cluster, topic, number)
        if one.failed:
            return False
        if log is None or self._error(log, one) is not None:
            return True
        return one.position < log.stable_end or one.end_told != one.position

    @staticmethod
    def _error(log: PartitionLog, one: _Assigned) -> Code | None:
        if one.epoch >= 0 and log.end_of_epoch(one.epoch) < one.position:
            return Code(Code._LOG_TRUNCATION, _truncated(log, one.epoch))
        if not log.start <= one.position <= log.end:
            return Code(Code._AUTO_OFFSET_RESET, f"Broker: Offset out of range ({one.position})")
        return None

    def consume(self, most: int = 1, timeout: float = -1) -> list[Any]:
        """Return up to ``most`` records and events, of one partition after the other; wait for nothing."""
        found: list[Any] = []
        for (topic, number), one in list(self._assigned.items()):
            if len(found) < most and not one.failed:
                self._read(topic, number, one, most, found)
        return found

    def poll(self, timeout: float = -1) -> Any:
        if not self._assigned:
            return None
        return next(iter(self.consume(1)), None)

    def _read(self, topic: str, number: int, one: _Assigned, most: int, found: list[Any]) -> None:
        log = _log_of(self._cluster, topic, number)
        error = _unknown() if log is None else self._error(log, one)
        if log is None or error is not None:
            one.failed = True
            found.append(Given(topic, number, one.position, None, error))
            return
        for record in log.committed(one.position):
            if len(found) >= most:
                return
            found.append(Given(topic, number, record.offset, record))
            one.position, one.epoch = record.offset + 1, record.epoch
        one.position = max(one.position, log.stable_end)  # past markers, and what was aborted
        if one.end_told != one.position and len(found) < most:
            one.end_told = one.position
            found.append(Given(topic, number, one.position, None, Code(Code._PARTITION_EOF)))

    def close(self) -> None:
        self._assigned.clear()


OnDelivery = Callable[[Code | None, Any], None]


class LogProducer:
    """What is asked of ``confluent_kafka.Producer``; its reports wait until ``poll`` or ``flush``."""

    def __init__(self, cluster: Cluster, properties: Mapping[str, Any], **_: Any) -> None:
        self._cluster = cluster
        self._is_transactional = "transactional.id" in properties
        self._transaction: int | None = None
        self._reports: deque[Callable[[], None]] = deque()
        self._come = threading.Condition()

    def produce(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        partition: int = -1,
        on_delivery: OnDelivery | None = None,
        timestamp: int = 0,
        headers: Headers = (),
    ) -> None:
        found = self._cluster.topics.get(topic)
        number = -1 if found is None else placed(found, key, partition)
        log = _log_of(self._cluster, topic, number)
        if log is None:
            self._report(on_delivery, Given(topic, max(0, number), -1001, None), _unknown())
            return
        refusal = None if found is None else found.refusal(key, value, headers)
        if refusal is not None:
            self._report(on_delivery, Given(topic, number, -1001, None), Code(refusal.code))
            return
        offset, at = self._cluster.append(topic, number, key, value, timestamp, headers, self._transaction)
        record = LogRecord(offset, key, value, at, headers, log.epoch, self._transaction)
        self._report(on_delivery, Given(topic, number, offset, record), None)

    def _report(self, on_delivery: OnDelivery | None, message: Given, error: Code | None) -> None:
        if on_delivery is not None:
            with self._come:
                self._reports.append(partial(on_delivery, error, message))
                self._come.notify_all()

    def poll(self, timeout: float = -1) -> int:
        with self._come:
            if not self._reports and timeout != 0:
                self._come.wait(POLL)  # soon back, so that closing need not wait
        return self._told()

    def _told(self) -> int:
        count = 0
        while self._reports:
            try:
                report = self._reports.popleft()
            except IndexError:  # another thread was faster
                break
            report()
            count += 1
        return count

    def flush(self, timeout: float = -1) -> int:
        self._told()
        return 0

    def purge(self, *_: Any, **__: Any) -> None:
        """Nothing is in flight."""

    def __len__(self) -> int:
        return len(self._reports)

    # Transactions

    def init_transactions(self, *_: Any) -> None:
        """Do nothing: nobody else has the transactional id."""

    def begin_transaction(self) -> None:
        self._transaction = self._cluster.begin()

    def commit_transaction(self, *_: Any) -> None:
        self._finish(commit=True)

    def abort_transaction(self, *_: Any) -> None:
        self._finish(commit=False)

    def _finish(self, *, commit: bool) -> None:
        number, self._transaction = self._transaction, None
        if number is not None:
            self._cluster.finish(number, commit=commit)


def placed(topic: TopicLog, key: bytes | None, partition: int = -1) -> int:
    """Return the partition of a record for which ``partition`` is asked, -1: where the producer puts it.

    Without a key that is partition 0, and not any one: runs are to be the same.
    """
    if partition >= 0:
        return partition
    found = partition_of(DEFAULT_PARTITIONER, key, len(topic.partitions))
    return max(0, found)
