"""Writing entities: encoding them, sending them, and reporting what became of each."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any

from confluent_kafka import KafkaError as Code
from confluent_kafka import KafkaException

from statestore.delivery import Delivery
from statestore.entity import EntityModel, model_of
from statestore.errors import ConfigError, DeliveryError, EntityRejectedError, StoreClosedError
from statestore.kafka.topics import Topics
from statestore.producing.delivery_errors import (
    UNANSWERED,
    not_delivered,
    registry_timeout,
    rejected,
    timed_out,
)
from statestore.producing.encoding import Encoder
from statestore.producing.producer import Producer, ProducerHealth
from statestore.producing.sending import ProducerRecord, SendTracker
from statestore.runtime import fork
from statestore.runtime.steps import PAUSE, Steps, in_thread, run_blocking
from statestore.serde.entities import EntityCodec

_REGISTRY_THREAD = "statestore-registry"
_TURN = 200
"""Records that are sent in one turn on an event loop."""


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
    ) -> None:
        self._kafka = kafka
        self._request_timeout = request_timeout
        self.topics = topics
        self._codec_of = codec_of
        self._mutex = fork.lock()
        self._producer: Producer | None = None
        self._closed = self._forked_here = False
        self._encoders: dict[type, Encoder] = {}
        self._known_topics: set[str] = set()
        """Topics that exist. Others are looked up before the first write, since a broker may create a topic
        that is written to."""
        fork.register(self)

    @property
    def producer(self) -> Producer:
        """The producer, made at the first use. Raises ``ConfigError`` without an address."""
        if self._forked_here:
            raise fork.forked_error()
        with self._mutex:
            if self._closed:
                raise StoreClosedError("the manager is closed")
            if self._producer is None:
                if "bootstrap.servers" not in self._kafka:
                    raise ConfigError(
                        "writing needs a broker: StoreManager(kafka='host:port'), or bootstrap.servers under "
                        "[kafka]"
                    )
                self._producer = Producer(self._kafka, self._request_timeout)
            return self._producer

    def health(self) -> ProducerHealth:
        """Return the counts of the records, by what became of them."""
        return ProducerHealth() if self._producer is None else self._producer.health()

    def flush(self, timeout: float) -> None:
        """Return when no record is in flight. Raises ``DeliveryError`` after ``timeout`` seconds."""
        if self._producer is not None:
            self._producer.flush(timeout)

    def close(self) -> None:
        """Wait for records in flight, for a limited time, and end. Idempotent."""
        with self._mutex:
            self._closed = True
        if self._producer is not None:
            self._producer.close()

    def topic_exists(self, topic: str) -> None:
        """Note that ``topic`` exists."""
        self._known_topics.add(topic)

    def add(self, entity: Any, cls: type | None = None) -> Steps[Delivery]:
        """Write one entity."""
        encoder = self._encoder(cls or type(entity))
        if not encoder.is_prepared:
            yield from self._await_registry(in_thread(_REGISTRY_THREAD, encoder.prepare), [entity])
        (delivery,) = yield from self._send_and_wait(iter([encoder.record(entity)]), whole=True)
        return delivery

    def add_all(self, entities: Iterable[Any], cls: type | None = None) -> Steps[list[Delivery]]:
        """Write entities in their order, many in flight at once.

        A collection is encoded as a whole before anything is sent; an iterator is sent as it comes. After the
        first entity that fails or is rejected, no more are sent.
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
        except TimeoutError:
            raise DeliveryError(
                "the time given was over before all entities were encoded; nothing was sent",
                undelivered=list(entities),
            ) from None
        except EntityRejectedError as error:
            raise EntityRejectedError(
                f"{error}; nothing was sent", undelivered=list(entities)
            ) from error.__cause__
        return (yield from self._send_and_wait(iter(encoded), whole=True))

    def delete(self, key: tuple[Any, ...], cls: type) -> Steps[list[Delivery]]:
        """Write the records that delete the entity with these values of the key fields.

        There is one for each key under which the entity may be stored; the key that ``add`` writes is first.
        """
        return self._delete(self._encoder(cls), key, key)

    def delete_entity(self, entity: Any) -> Steps[list[Delivery]]:
        """Write the records that delete ``entity``, by its key."""
        encoder = self._encoder(type(entity))
        return self._delete(encoder, encoder.key_of(entity), entity)

    def _encoder(self, cls: type) -> Encoder:
        encoder = self._encoders.get(cls)
        if encoder is None:
            model = model_of(cls)
            if model.windowing is not None:
                raise ConfigError(
                    f"{model.name} has windows: its rows are made of other records, not written"
                )
            encoder = Encoder(model, self._codec_of(model), self.producer.max_record_bytes)
            self._encoders[cls] = encoder
        return encoder

    def _encoded(self, entities: Iterable[Any], cls: type | None) -> Iterator[ProducerRecord | Future[None]]:
        """Give the record of each entity; before the first of a class, a future to wait for."""
        for index, entity in enumerate(entities):
            encoder = self._encoder(cls or type(entity))
            if not encoder.is_prepared:
                yield in_thread(_REGISTRY_THREAD, encoder.prepare)
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
        except TimeoutError:
            raise registry_timeout(subjects) from None

    # For transactions, which send by themselves

    def record(self, entity: Any) -> ProducerRecord:
        """Return the record of ``entity``, blocking. Raises the errors of :meth:`add`."""
        encoder = self._encoder(type(entity))
        if not encoder.is_prepared:
            encoder.prepare()
        return self._with_known_topic(encoder.record(entity))

    def tombstones(self, entity_or_class: Any, key: tuple[Any, ...]) -> list[ProducerRecord]:
        """Return the records that delete an entity, or the one with the values of ``key``, blocking."""
        if isinstance(entity_or_class, type):
            records = self._encoder(entity_or_class).tombstones(key, key)
        else:
            encoder = self._encoder(type(entity_or_class))
            records = encoder.tombstones(encoder.key_of(entity_or_class), entity_or_class)
        return [self._with_known_topic(record) for record in records]

    def _with_known_topic(self, record: ProducerRecord) -> ProducerRecord:
        """Return ``record`` if its topic exists."""
        if record.topic not in self._known_topics:
            try:
                run_blocking(self._check_topic(record.topic))
            except KafkaException as error:
                tracker = SendTracker()
                tracker.track(record)
                tracker.not_sent(error.args[0])
                raise not_delivered(tracker, self.producer, ()) from error
        return record

    # Sending

    def _delete(self, encoder: Encoder, key: tuple[Any, ...], subject: Any) -> Steps[list[Delivery]]:
        if encoder.waits:  # each time: the encodings of a key become more while we run
            work = in_thread(_REGISTRY_THREAD, partial(encoder.tombstones, key, subject))
            tombstones = yield from self._await_registry(work, [subject])
        else:
            tombstones = encoder.tombstones(key, subject)
        return (yield from self._send_and_wait(iter(tombstones), whole=True))

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
        except TimeoutError:
            raise timed_out(tracker, producer, _unsent(records) if whole else ()) from None
        if isinstance(stopped, EntityRejectedError):
            raise rejected(stopped, tracker) from stopped.__cause__
        if tracker.failures:
            self._known_topics.difference_update(record.topic for record in tracker.undelivered())
            raise not_delivered(tracker, producer, _unsent(records) if whole else ()) from stopped
        if stopped is not None:
            stopped.add_note(f"{len(tracker.deliveries())} entities before it were delivered")
            raise stopped
        return tracker.deliveries()

    def _send_all(
        self, producer: Producer, records: Iterator[ProducerRecord | Future[None]], tracker: SendTracker
    ) -> Steps[Exception | None]:
        """Send until the end or a failure; return what the iterator raised, if it did."""
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
                except TimeoutError:
                    raise  # the caller's time is up
                except Exception as error:  # noqa: BLE001 - the registry's, or a format's own
                    return error
                continue
            yield from self._send(producer, record, tracker)
            if tracker.failures:
                break
            if count % _TURN == 0:
                yield PAUSE
        return None

    def _send(self, producer: Producer, record: ProducerRecord, tracker: SendTracker) -> Steps[None]:
        report = tracker.track(record)
        try:
            if record.topic not in self._known_topics:
                yield from self._check_topic(record.topic)
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
                end = yield self.topics.end(topic, partition)
            except KafkaException as error:
                raise DeliveryError(
                    f"delivered to topic {topic!r}, but the offset is not known: {error.args[0].str()}",
                    delivered=tracker.deliveries(),
                ) from error
            last[topic, partition] = end.offset - 1
        if last:
            tracker.fill_offsets(last)

    def _check_topic(self, topic: str) -> Steps[None]:
        """Raise ``KafkaException`` for a topic that does not exist, or that may not be read."""
        try:
            yield self.topics.described(topic)
        except KafkaException as error:
            if error.args[0].code() not in UNANSWERED:
                raise  # else the producer tries, for as long as it may
        self._known_topics.add(topic)

    def _forked(self) -> None:
        self._forked_here = True


def _unsent(records: Iterator[ProducerRecord | Future[None]]) -> list[ProducerRecord]:
    return [record for record in records if isinstance(record, ProducerRecord)]
