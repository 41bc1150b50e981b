"""Streams: topics of which every record is read, from the beginning. A stream has no store."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar, cast

from statestore.changelog.undecodable import SkipLog, SkippedRecord, located
from statestore.core import RejectedRecord
from statestore.core.common import NAIVE, negative_limit
from statestore.entity import EntityModel
from statestore.errors import DecodeError, StateStoreError
from statestore.kafka.source import KafkaSource
from statestore.kafka.topic_records import KafkaRecord, read_records
from statestore.runtime import fork
from statestore.runtime.health_report import HealthReport
from statestore.runtime.slices import pause_point
from statestore.runtime.text import bounded_repr
from statestore.runtime.times import milliseconds_up
from statestore.serde.entities import EntityCodec

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamHealth(HealthReport):
    """The counts of all reads of one stream. ``to_dict()`` gives what ``json.dumps`` takes."""

    topic: str
    """The topic that is read."""
    stream: str
    """The logical name."""
    entity: str
    """The name of the class that records are decoded to."""
    reads: int
    """How many reads began."""
    records: int
    """Records read, those without a value and the skipped ones included."""
    null_values: int
    """Records without a value, which were skipped."""
    skipped: int
    """Records that do not decode and were skipped (``on_undecodable="skip"``)."""
    errors: int
    """Reads that ended with an error."""
    last_skipped: SkippedRecord | None
    """The last of the skipped records; ``None``: there was none."""
    last_error: str | None
    """The error that ended a read, the last time; ``None``: there was none."""

    def __str__(self) -> str:
        return self._line("topic", "reads", "records", "skipped", "errors")


class Stream(Generic[T]):
    """A topic bound by an entity that is a stream. Thread-safe; each call reads the topic again.

    A call reads the committed records from the beginning of the topic to the end that its partitions have
    when the call starts. Records of one partition come in the order of their offsets. Between partitions
    there is no order. Each call has its own consumer, without a group, and keeps little more than a batch of
    records in memory.

    A record without a value is skipped and counted. A record that does not decode raises ``DecodeError``
    naming topic, partition and offset; with ``on_undecodable="skip"`` it is skipped and counted. After the
    manager's ``close``, every read raises ``StoreClosedError``, also a read in progress.
    """

    def __init__(
        self,
        name: str,
        model: EntityModel,
        codec: EntityCodec[T],
        source: KafkaSource,
        check_open: Callable[[], None],
        *,
        skip: bool,
    ) -> None:
        self._name = name
        self._model = model
        self._codec = codec
        self._source = source
        self._check_open = check_open
        self._skip = skip
        self._skips = SkipLog(f"stream {name!r}", model.topic)
        self._mutex = fork.rlock()
        self._counts = {"reads": 0, "records": 0, "null_values": 0, "skipped": 0, "errors": 0}
        self._last_error: str | None = None

    @property
    def name(self) -> str:
        """The logical name."""
        return self._name

    @property
    def topic(self) -> str:
        return self._model.topic

    @property
    def entity(self) -> type[T]:
        """The class of its entities."""
        return cast("type[T]", self._model.cls)

    def for_each(
        self, fn: Callable[[T], object], *, limit: int | None = None, until: datetime | None = None
    ) -> None:
        """Call ``fn(entity)`` for every entity of ``to_list``. An exception of ``fn`` ends the read.

        ``fn`` may be slow: records that are read meanwhile wait in a queue of at most 16 MiB.
        """
        with closing(self._entities(limit, until)) as entities:
            for entity in entities:
                fn(entity)

    def to_list(self, limit: int | None = None, until: datetime | None = None) -> list[T]:
        """Return the topic's entities, at most ``limit`` of them.

        With ``until``, a ``datetime`` with a time zone, only entities whose record has an earlier timestamp
        are returned. The whole topic is read all the same, since timestamps need not ascend.

        Raises ``KafkaError`` if the broker is unreachable, refuses, or deletes records that are still to be
        read. Raises ``ValueError`` for a negative ``limit`` or an ``until`` without time zone.
        """
        with closing(self._entities(limit, until)) as entities:
            return list(entities)

    def to_ksql(self) -> str:
        """Return the statement with which ksqlDB declares the stream.

        Raises ``KsqlError`` with everything of the class that ksqlDB cannot have.
        """
        self._check_open()
        from statestore.ksql.sources import declaration

        return declaration(self._model).text

    def health(self) -> StreamHealth:
        """Return the counts of all reads so far."""
        self._check_open()
        with self._mutex:
            counts = self._counts
            return StreamHealth(
                topic=self.topic,
                stream=self.name,
                entity=self._model.name,
                reads=counts["reads"],
                records=counts["records"],
                null_values=counts["null_values"],
                skipped=counts["skipped"],
                errors=counts["errors"],
                last_skipped=self._skips.report(),
                last_error=self._last_error,
            )

    def __repr__(self) -> str:
        return f"<Stream {self.name!r} of {self._model.name} in topic {self.topic!r}>"

    def _entities(self, limit: int | None, until: datetime | None) -> Generator[T]:
        if limit is not None and limit < 0:
            raise negative_limit(limit)
        before = None if until is None else _milliseconds(until)
        self._check_open()
        self._count("reads")
        return self._read(limit, before)

    def _read(self, limit: int | None, before: int | None) -> Generator[T]:
        """Yield at most ``limit`` entities; ``before`` is in ms since 1970."""
        if limit == 0:
            return
        left = limit
        try:
            with closing(read_records(self._source, self.topic, self._check_open)) as records:
                for record in records:
                    pause_point()
                    if before is not None and not 0 <= record.timestamp < before:
                        continue
                    self._count("records")
                    if record.value is None:
                        self._count("null_values")
                        continue
                    entity = self._decoded(record, record.value)
                    if entity is None:
                        continue
                    yield entity
                    if left is not None:
                        left -= 1
                        if left == 0:
                            return
        except StateStoreError as error:
            with self._mutex:
                self._counts["errors"] += 1
                self._last_error = str(error)
            raise

    def _decoded(self, record: KafkaRecord, value: bytes) -> T | None:
        """Return the entity, ``None`` for a record that is skipped."""
        try:
            if record.key is None and self._model.key_fields:
                raise DecodeError(f"{self._model.name}: the record has no key")
            return self._codec.decode(record.key or b"", value, lambda _key: (record.timestamp, value))
        except DecodeError as error:
            rejected = RejectedRecord(
                record.partition, record.offset, record.key, record.timestamp, error, stops=False
            )
            if not self._skip:
                text = f"stream {self.name!r}, {located(self.topic, rejected)}"
                raise DecodeError(text) from error
            with self._mutex:
                self._counts["skipped"] += 1
                self._skips.add(1, rejected)
            return None

    def _count(self, what: str) -> None:
        with self._mutex:
            self._counts[what] += 1


def _milliseconds(moment: datetime) -> int:
    """Return ``moment`` in ms since 1970, rounded up. Raises ``ValueError`` if it has no time zone."""
    if moment.utcoffset() is None:
        raise ValueError(f"until={bounded_repr(moment)} {NAIVE}")
    return milliseconds_up(moment)
