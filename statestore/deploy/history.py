"""The history of deployments: a record for each statement, in a compacted topic.

The key of a record is the application, the ksqlDB service, the object and the SHA-256 of the statement, so
that the topic keeps one record of each applied statement.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, Final, Literal, Protocol, Self

from pydantic import TypeAdapter, ValidationError

from statestore.entity.arguments import TopicSpec
from statestore.errors import ConfigError, DecodeError, DeliveryError, KafkaError
from statestore.kafka.admin import AdminConnection
from statestore.kafka.answers import ContactError, KafkaErrorKind
from statestore.kafka.source import KafkaSource
from statestore.kafka.topic_records import KafkaRecord, read_records
from statestore.kafka.topics import Topics, WantedTopic
from statestore.producing.producer import Producer
from statestore.producing.sending import ProducerRecord, SendTracker
from statestore.runtime.interrupts import await_future

TOPIC = "_meta_migrations"
"""The topic of the history."""

RecordState = Literal["sending", "unknown", "applied", "retired"]


@dataclass(frozen=True, slots=True)
class HistoryRecord:
    """What became of one statement."""

    application: str
    service: str
    """The id of the ksqlDB service."""
    cluster: str
    """The id of the Kafka cluster."""
    object: str
    """The stream or table on the server: ``TOTALS_V2``."""
    base: str
    """The same in the plan: ``TOTALS``."""
    version: int
    action: str
    sha256: str
    statement: str
    """As it was sent."""
    reads: tuple[str, ...]
    topic: str | None
    state: RecordState
    """``sending`` and ``unknown`` are of INSERT INTO alone: before it, and after an answer was lost."""
    time: str
    """When it was written, in ISO 8601 with the offset of UTC."""
    user: str
    """Who deployed: name and host."""
    deployer: str = ""
    """An id that each deployer draws, to tell those that run at once."""
    queries: tuple[str, ...] = ()
    """Of INSERT INTO: the query that it started, or, before that is known, those that there were before."""
    found: bool = False
    """Whether the object was on the server already, and the statement was not sent."""
    statestore: str = ""
    """The version of the library."""

    @property
    def is_intent(self) -> bool:
        """Whether it only says that a deployer is to send the statement, or was."""
        return self.state in ("sending", "unknown")

    @property
    def key(self) -> tuple[str, str, str, str, str]:
        """What a later record of the same key takes the place of. An intent has one for each deployer."""
        deployer = self.deployer if self.is_intent else ""
        return self.application, self.service, self.object, self.sha256, deployer


class History(Protocol):
    """Where the records are. ``read`` gives the last one of each key, the one that was written last at the
    end. ``remove`` takes an intent away."""

    def read(self) -> Sequence[HistoryRecord]: ...
    def write(self, record: HistoryRecord) -> None: ...
    def remove(self, record: HistoryRecord) -> None: ...


def latest(
    records: Iterable[HistoryRecord], application: str, service: str
) -> dict[tuple[str, str], HistoryRecord]:
    """Return what is known of each object and hash, of one application on one ksqlDB service."""
    return {
        (one.object, one.sha256): one
        for one in records
        if (one.application, one.service) == (application, service) and not one.is_intent
    }


class MemoryHistory:
    """A history that ends with the process: for tests, and for a server that does so, too."""

    def __init__(self) -> None:
        self._records: dict[tuple[str, ...], HistoryRecord] = {}

    def read(self) -> Sequence[HistoryRecord]:
        return tuple(self._records.values())

    def write(self, record: HistoryRecord) -> None:
        self.remove(record)
        self._records[record.key] = record

    def remove(self, record: HistoryRecord) -> None:
        self._records.pop(record.key, None)


class KafkaHistory:
    """The history in Kafka. ``close`` it, or use it in ``with``.

    ``kafka`` has the properties of ``[kafka]``. The topic is created with the first record, with one
    partition, so that all deployers see the records in one order. Reading never creates it.
    ``replication`` -1 is the broker's default.
    """

    def __init__(
        self,
        kafka: Mapping[str, Any],
        *,
        topic: str = TOPIC,
        replication: int = -1,
        request_timeout: float = 30.0,
    ) -> None:
        if "bootstrap.servers" not in kafka:
            raise ConfigError(
                "the history of deployments is a topic: set bootstrap.servers of [kafka], or "
                "STATESTORE_KAFKA=host:9092"
            )
        self.topic = topic
        self._kafka = kafka
        self._timeout = request_timeout
        self._replication = replication
        self._admin = AdminConnection(kafka)
        self._topics = Topics(self._admin, request_timeout)
        self._source = KafkaSource(self._admin, kafka, "deploy", request_timeout, lambda _error, _text: None)
        self._producer: Producer | None = None

    def __repr__(self) -> str:
        return f"KafkaHistory({self._admin.address!r}, topic={self.topic!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def read(self) -> Sequence[HistoryRecord]:
        """Read the last record of each key; none where there is no topic yet.

        Raises ``KafkaError``, and ``DecodeError`` for a record of something else.
        """
        found: dict[bytes | None, HistoryRecord] = {}
        try:
            with closing(read_records(self._source, self.topic, lambda: None)) as records:
                for one in records:
                    found.pop(one.key, None)
                    if one.value is not None:
                        found[one.key] = _decoded(one, self.topic)
            return list(found.values())
        except ContactError as error:
            if error.kind is KafkaErrorKind.UNKNOWN_TOPIC:
                return []
            raise KafkaError(self._admin.address, str(error)) from error

    def write(self, record: HistoryRecord) -> None:
        """Write one record, and return when Kafka has it. Raises ``KafkaError`` and ``DeliveryError``."""
        self._send(record, _json(asdict(record)))

    def remove(self, record: HistoryRecord) -> None:
        """Write a tombstone for the key of ``record``."""
        self._send(record, None)

    def _send(self, record: HistoryRecord, value: bytes | None) -> None:
        if self._producer is None:
            spec = TopicSpec(partitions=1, replication=self._replication)
            self._topics.ensure([WantedTopic(self.topic, True, spec, ("cleanup_policy",))], "error")
            self._producer = Producer(self._kafka, self._timeout)
        tracker = SendTracker()
        names = ("application", "service", "object", "sha256", "deployer")
        key = {name: part for name, part in zip(names, record.key, strict=True) if part}
        sent = ProducerRecord(self.topic, _json(key), value, 0, record, lambda _: record.object, None, 0)
        while (room := self._producer.send(sent, tracker.track(sent))) is not None:
            await_future(room, self._timeout)
            tracker = SendTracker()
        await_future(tracker.all_reported(), self._timeout)
        if tracker.failures:
            _, error = tracker.first_failure()
            raise DeliveryError(
                f"the history record of {record.object} was not written to topic {self.topic!r}: "
                f"{error.str()}; the statement is on the server: apply again when Kafka answers, and it is "
                "found there",
                undelivered=[record],
            )

    def close(self) -> None:
        """Close the connections. Idempotent."""
        if self._producer is not None:
            self._producer.close()
        self._admin.close()


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, sort_keys=True).encode()


def _decoded(record: KafkaRecord, topic: str) -> HistoryRecord:
    """Return the record in a message. What later versions add to it is left out."""
    try:
        return _RECORD.validate_json(record.value or b"", strict=True)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        place = ".".join(map(str, fault["loc"]))
        raise DecodeError(
            f"topic {topic!r}, partition {record.partition}, offset {record.offset}: not a record of "
            f"deployments ({place + ': ' if place else ''}{fault['msg']}); this topic is written by "
            "statestore alone"
        ) from error


_RECORD: Final = TypeAdapter(HistoryRecord)
