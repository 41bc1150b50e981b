"""Writing entities: encoding them, sending them, and reporting what became of each."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any, NamedTuple

from confluent_kafka import KafkaError as Code
from confluent_kafka import KafkaException
from confluent_kafka import Producer as KafkaProducer

from statestore.delivery import Delivery
from statestore.entity import EntityModel, model_of
from statestore.errors import (
    ConfigError,
    DeliveryError,
    EntityRejectedError,
    RegistryError,
    StoreClosedError,
)
from statestore.kafka.partitioners import DEFAULT_PARTITIONER
from statestore.kafka.topics import Topics
from statestore.producing.delivery_errors import (
    UNANSWERED,
    not_delivered,
    registry_timeout,
    rejected,
    timed_out,
)
from statestore.producing.encoding import BoundStore, Encoder
from statestore.producing.producer import Producer, ProducerHealth
from statestore.producing.sending import ProducerRecord, SendTracker
from statestore.producing.unless_newer import NOT_COMPARED, Claim, NewerRecords, Read, ReadRecord
from statestore.producing.watch import DeliveryWatch
from statestore.runtime import fork
from statestore.runtime.interrupts import TimeOverError, shielded
from statestore.runtime.slices import SLICE
from statestore.runtime.steps import PAUSE, Steps, in_thread
from statestore.serde.entities import EntityCodec
from statestore.settings import Partitioner

_REGISTRY_THREAD = "statestore-registry"
_PARTITIONS_SECONDS = 60.0
"""How long the number of a topic's partitions is taken to hold, where a key's partition is chosen here."""
_TURN = 200
"""Records that are sent in one turn on an event loop ..."""
_TURN_SECONDS = SLICE
"""... unless the iterator that gives them is slow: the time given to a call is looked at after each turn."""


class _KnownTopic(NamedTuple):
    """A topic that exists."""

    partitions: int
    """0: the broker has not told how many."""
    told_at: float

    @property
    def is_old(self) -> bool:
        """Whether the number of partitions may be another by now."""
        return not self.partitions or time.monotonic() - self.told_at > _PARTITIONS_SECONDS


class EntityWriter:
    """Writes entities of any declared class through one producer. Thread-safe.

    The methods that wait return :mod:`~statestore.runtime.steps`, so that a caller blocks or awaits. Entities
    are encoded before any of them is sent. ``EntityRejectedError`` is for entities that cannot be encoded,
    ``DeliveryError`` for records that Kafka does not take. ``cls`` is the entity class; with ``None`` each
    entity's own class is taken.
    """

    def __init__(
        self,
        kafka: Mapping[str, Any],
        request_timeout: float,
        codec_of: Callable[[EntityModel], EntityCodec[Any]],
        topics: Topics,
        partitioner_of: Callable[[EntityModel], Partitioner] = lambda _model: DEFAULT_PARTITIONER,
        make_client: Callable[..., KafkaProducer] = KafkaProducer,
    ) -> None:
        self.make_client = make_client
        """Makes librdkafka's producers, of transactions too."""
        self._kafka = kafka
        self._request_timeout = request_timeout
        self.topics = topics
        self.watch = DeliveryWatch()
        self._codec_of = codec_of
        self._partitioner_of = partitioner_of
        self._mutex = fork.rlock()
        self._producer: Producer | None = None
        self._closed = self._forked_here = False
        self._encoders: dict[type, Encoder] = {}
        self.bound: dict[str, BoundStore] = {}
        """The stores that mirror topics in this manager, by topic."""
        self._newer = NewerRecords(self.bound, self.watch)
        self._known_topics: dict[str, _KnownTopic] = {}
        """Topics that exist. Others are looked up before the first write, since a broker may create a topic
        that is written to."""
        self._topic_checks: dict[str, Future[int]] = {}
        """The questions for these, the last one for each topic."""
        fork.register(self)

    @property
    def producer(self) -> Producer:
        """The producer, made at the first use. Raises ``ConfigError`` without an address."""
        self.check_open()
        if self._producer is not None:
            return self._producer
        return shielded(self._made_producer)

    def check_open(self) -> None:
        """Raise once closed, or in a forked child."""
        if self._forked_here:
            raise fork.forked_error()
        if self._closed:
            raise StoreClosedError("the manager is closed")

    def _made_producer(self) -> Producer:
        with self._mutex:
            self.check_open()
            if self._producer is None:
                if "bootstrap.servers" not in self._kafka:
                    raise ConfigError(
                        "writing needs a broker: StoreManager(kafka='host:port'), or bootstrap.servers under "
                        "[kafka]"
                    )
                self._producer = Producer(self._kafka, self._request_timeout, self.make_client)
            return self._producer

    def health(self) -> ProducerHealth:
        """Return the counts of the records, by what became of them."""
        return ProducerHealth() if self._producer is None else self._producer.health()

    def flush(self, timeout: float) -> None:
        """Return when no record is in flight. Raises ``DeliveryError`` after ``timeout`` seconds."""
        if self._producer is not None:
            self._producer.flush(timeout)

    def shut(self) -> None:
        """Make every call from now on raise ``StoreClosedError``, and wait for nothing: ``close`` follows."""
        self._closed = True

    def close(self) -> None:
        """Wait for records in flight, for a limited time, and end. Idempotent."""
        with self._mutex:
            self._closed = True
        if self._producer is not None:
            self._producer.close()

    def topic_exists(self, topic: str, partitions: int) -> None:
        """Note that ``topic`` exists, and has so many partitions."""
        self._known_topics[topic] = _KnownTopic(partitions, time.monotonic())

    def add(self, entity: Any, cls: type | None = None, read: Read = NOT_COMPARED) -> Steps[Delivery]:
        """Write one entity, unless there is a newer record than the one that was ``read``."""
        encoder = self._encoder(cls or type(entity))
        if not encoder.is_prepared:
            yield from self._await_registry(
                in_thread(_REGISTRY_THREAD, partial(encoder.prepare, entity)), [entity]
            )
        encoder.check_partitioner()
        record = encoder.record(entity)
        (delivery,) = yield from self._send_unless_newer([record], encoder, encoder.key_of(entity), read)
        return delivery

    def add_all(self, entities: Iterable[Any], cls: type | None = None) -> Steps[list[Delivery]]:
        """Write entities in their order, many in flight at once.

        A collection is encoded as a whole before anything is sent; an iterator is sent as it comes. After the
        first entity that fails or is rejected, no more are sent. An async iterator is given as
        ``awaited_items``.
        """
        if not isinstance(entities, Collection):
            return (yield from self._send_and_wait(self._encoded(entities, cls)))
        encoded: list[ProducerRecord] = []
        try:
            for record in self._encoded(entities, cls):
                if isinstance(record, Future):
                    yield from self._await_registry(record, entities)
                    continue
                encoded.append(record)
                if len(encoded) % _TURN == 0:
                    yield PAUSE
        except TimeOverError:
            raise DeliveryError(
                "the time given was over before all entities were encoded; nothing was sent",
                undelivered=list(entities),
            ) from None
        except EntityRejectedError as error:
            raise EntityRejectedError(
                f"{error}; nothing was sent", undelivered=list(entities)
            ) from error.__cause__
        except RegistryError as error:
            error.undelivered = tuple(entities)
            raise
        return (yield from self._send_and_wait(iter(encoded), whole=True))

    def delete(self, key: tuple[Any, ...], cls: type, read: Read = NOT_COMPARED) -> Steps[list[Delivery]]:
        """Write the records that delete the entity with these values of the key fields.

        There is one for each key under which the entity may be stored; the key that ``add`` writes is first.
        """
        return self._delete(self._encoder(cls), key, key, read)

    def delete_entity(self, entity: Any, read: Read = NOT_COMPARED) -> Steps[list[Delivery]]:
        """Write the records that delete ``entity``, by its key."""
        encoder = self._encoder(type(entity))
        return self._delete(encoder, encoder.key_of(entity), entity, read)

    def _encoder(self, cls: type) -> Encoder:
        self.check_open()
        encoder = self._encoders.get(cls)
        if encoder is None:
            model = model_of(cls)
            if model.windowing is not None and model.windowing.source is None:
                raise ConfigError(
                    f"{model.name} has windows: others write its rows, which are only read here; to write "
                    "such rows, declare a class without windows="
                )
            if model.windowing is not None:
                raise ConfigError(
                    f"{model.name} has windows: its rows are made of other records, not written"
                )
            largest, codec_of, bound = self.producer.max_record_bytes, self._codec_of, self.bound
            partitioner = self._partitioner_of(model)
            # It makes classes, and Python wraps what is raised in the middle of that.
            encoder = shielded(lambda: Encoder(model, codec_of(model), largest, bound, partitioner))
            self._encoders[cls] = encoder
        return encoder

    def _encoded(self, entities: Iterable[Any], cls: type | None) -> Iterator[ProducerRecord | Future[None]]:
        """Give the record of each entity; before the first of a class, a future to wait for."""
        index = -1
        checked: set[Encoder] = set()
        for entity in entities:
            if isinstance(entity, Future):  # of an async iterator: its next entity
                yield entity
                continue
            index += 1
            encoder = self._encoder(cls or type(entity))
            if encoder not in checked:
                encoder.check_partitioner()
                checked.add(encoder)
            if not encoder.is_prepared:
                yield in_thread(_REGISTRY_THREAD, partial(encoder.prepare, entity))
            try:
                yield encoder.record(entity)
            except EntityRejectedError as error:
                raise EntityRejectedError(
                    f"index {index}: {error}", undelivered=[entity]
                ) from error.__cause__

    def _await_registry(self, answer: Future[Any], subjects: Collection[Any]) -> Steps[Any]:
        """Wait for the registry's answer before any of the ``subjects`` is sent."""
        try:
            return (yield answer)
        except TimeOverError:
            raise registry_timeout(subjects) from None

    # For transactions, which send by themselves

    def records(self, entities: Iterable[Any]) -> Steps[list[ProducerRecord]]:
        """Return the records of ``entities``. Raises the errors of :meth:`add`."""
        records: list[ProducerRecord] = []
        for entity in entities:
            if isinstance(entity, Future):  # of an async iterator: its next entity
                yield entity
                continue
            encoder = self._encoder(type(entity))
            if not encoder.is_prepared:
                yield in_thread(_REGISTRY_THREAD, partial(encoder.prepare, entity))
            encoder.check_partitioner()
            records.append((yield from self._placed(encoder.record(entity))))
            if len(records) % _TURN == 0:
                yield PAUSE
        return records

    def tombstones(self, entity_or_class: Any, key: tuple[Any, ...]) -> Steps[list[ProducerRecord]]:
        """Return the records that delete an entity, or the one with the values of ``key``."""
        if isinstance(entity_or_class, type):
            encoder, subject = self._encoder(entity_or_class), key
        else:
            encoder, subject = self._encoder(type(entity_or_class)), entity_or_class
            key = encoder.key_of(entity_or_class)
        records: list[ProducerRecord]
        if encoder.waits:
            records = yield in_thread(_REGISTRY_THREAD, partial(encoder.tombstones, key, subject))
        else:
            records = encoder.tombstones(key, subject)
        encoder.check_partitioner()
        for index, record in enumerate(records):
            records[index] = yield from self._placed(record)
        return records

    def claim(self, entity_or_class: Any, key: tuple[Any, ...], read: ReadRecord | None) -> Claim:
        """Let one write through that is based on ``read``; its encoder has been prepared.

        Raises ``NewerRecordError`` where there is a newer record.
        """
        if isinstance(entity_or_class, type):
            return self._newer.claim(self._encoder(entity_or_class), key, key, read)
        encoder = self._encoder(type(entity_or_class))
        return self._newer.claim(encoder, entity_or_class, encoder.key_of(entity_or_class), read)

    def _placed(self, record: ProducerRecord) -> Steps[ProducerRecord]:
        """Return ``record`` with its partition. Raises ``DeliveryError`` if its topic does not exist."""
        try:
            return (yield from self._look_up(record))
        except KafkaException as error:
            tracker = SendTracker()
            tracker.track(record)
            tracker.not_sent(error.args[0])
            raise not_delivered(tracker, self.producer, ()) from error

    # Sending

    def _send_unless_newer(
        self, records: list[ProducerRecord], encoder: Encoder, key: tuple[Any, ...], read: Read
    ) -> Steps[list[Delivery]]:
        """Send the records of one key, the one that ``add`` writes first."""
        if read is NOT_COMPARED:
            return (yield from self._send_and_wait(iter(records), whole=True))
        claim = self._newer.claim(encoder, records[0].subject, key, read)
        try:
            deliveries = yield from self._send_and_wait(iter(records), whole=True)
            claim.delivered(deliveries[0])
            return deliveries
        finally:
            claim.release()

    def _delete(
        self, encoder: Encoder, key: tuple[Any, ...], subject: Any, read: Read
    ) -> Steps[list[Delivery]]:
        if encoder.waits:  # each time: the encodings of a key become more while we run
            work = in_thread(_REGISTRY_THREAD, partial(encoder.tombstones, key, subject))
            tombstones = yield from self._await_registry(work, [subject])
        else:
            tombstones = encoder.tombstones(key, subject)
        encoder.check_partitioner()
        return (yield from self._send_unless_newer(tombstones, encoder, key, read))

    def _send_and_wait(
        self, records: Iterator[ProducerRecord | Future[None]], whole: bool = False
    ) -> Steps[list[Delivery]]:
        """Send all and wait for the reports. An error of a ``whole`` collection lists unsent records, too."""
        producer = self.producer
        producer.check_open()
        tracker = SendTracker()
        try:
            stopped = yield from self._send_all(producer, records, tracker)
            yield tracker.all_reported()
            yield from self._find_offsets(tracker)
        except TimeOverError:
            raise timed_out(tracker, producer, _unsent(records) if whole else ()) from None
        finally:
            if any(tracker.positions.values()):
                self.watch.delivered(tracker.positions, tracker.deliveries())
            if isinstance(records, Generator):
                records.close()  # cancels the step of an async iterator
        if isinstance(stopped, EntityRejectedError):
            raise rejected(stopped, tracker) from stopped.__cause__
        if tracker.failures:
            for record in tracker.undelivered():
                self._known_topics.pop(record.topic, None)
            raise not_delivered(tracker, producer, _unsent(records) if whole else ()) from stopped
        if isinstance(stopped, RegistryError):
            left = [record.subject for record in tracker.undelivered()]
            stopped.undelivered, stopped.delivered = (
                (*left, *stopped.undelivered),
                tuple(tracker.deliveries()),
            )
        if stopped is not None:
            stopped.add_note(f"{len(tracker.deliveries())} entities before it were delivered")
            raise stopped
        return tracker.deliveries()

    def _send_all(
        self, producer: Producer, records: Iterator[ProducerRecord | Future[None]], tracker: SendTracker
    ) -> Steps[Exception | None]:
        """Send until the end or a failure; return what the iterator raised, if it did."""
        turn_ends = time.monotonic() + _TURN_SECONDS
        for count in itertools.count(1):
            try:
                record = next(records, None)
            except Exception as error:  # noqa: BLE001 - refused, or the iterator's own
                return error
            if record is None:
                break
            if isinstance(record, Future):
                try:
                    yield record
                except TimeOverError:
                    if not record.done():
                        raise  # the caller's time is up
                    turn_ends = 0.0  # so it is, but what an async iterator has given is not lost
                except Exception as error:  # noqa: BLE001 - the registry's, or a format's own
                    return error
                continue
            yield from self._send(producer, record, tracker)
            if tracker.failures:
                break
            if count % _TURN == 0 or time.monotonic() >= turn_ends:
                yield PAUSE
                turn_ends = time.monotonic() + _TURN_SECONDS
        return None

    def _send(self, producer: Producer, record: ProducerRecord, tracker: SendTracker) -> Steps[None]:
        report = tracker.track(record)
        if record.topic not in tracker.positions:
            tracker.positions[record.topic] = self.watch.positions(record.topic)
        try:
            if record.partitioner is not None or record.topic not in self._known_topics:
                record = yield from self._look_up(record)
            while (wait := producer.send(record, report)) is not None:
                yield wait
        except KafkaException as error:
            tracker.not_sent(error.args[0])
        except StoreClosedError as error:
            tracker.not_sent(Code(Code._DESTROY, str(error)))

    def _find_offsets(self, tracker: SendTracker) -> Steps[None]:
        """Set unknown offsets of deliveries to the present last offset, which is theirs or a later one."""
        last: dict[tuple[str, int], int] = {}
        for topic, partition in tracker.without_offset:
            try:
                offset: int = yield in_thread(
                    "statestore-topics", partial(self.topics.last_offset, topic, partition)
                )
            except KafkaException as error:
                raise DeliveryError(
                    f"delivered to topic {topic!r}, but the offset is not known: {error.args[0].str()}",
                    delivered=tracker.deliveries(),
                ) from error
            last[topic, partition] = offset
        if last:
            tracker.fill_offsets(last)

    def _look_up(self, record: ProducerRecord) -> Steps[ProducerRecord]:
        """Return ``record`` with its partition.

        Raises ``KafkaException`` for a topic that does not exist, or that may not be read.
        """
        topic = record.topic
        known = self._known_topics.get(topic)
        chooses = record.partitioner is not None
        if known is not None and not (chooses and known.is_old):
            return record.placed(known.partitions)
        try:
            partitions: int = yield self._topic_check(topic)
        except KafkaException as error:
            # Else the producer tries, for as long as it may, if it chooses the partition itself.
            partitions = 0 if known is None else known.partitions
            if error.args[0].code() not in UNANSWERED or (chooses and not partitions):
                raise
        self.topic_exists(topic, partitions)
        return record.placed(partitions)

    def _topic_check(self, topic: str) -> Future[int]:
        """Return the answer to one question for all who write to ``topic`` at first."""
        check = self._topic_checks.get(topic)
        if check is None or check.done():
            # On another thread: a signal handler that raises could leave a future of the client's locked.
            check = self._topic_checks[topic] = in_thread(
                "statestore-topics", lambda: self.topics.check(topic)
            )
        return check

    def _forked(self) -> None:
        self._forked_here = True


def _unsent(records: Iterator[ProducerRecord | Future[None]]) -> list[ProducerRecord]:
    return [record for record in records if isinstance(record, ProducerRecord)]
