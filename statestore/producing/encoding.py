"""Encoding the entities of one class as records to send."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

from statestore.entity import EntityModel
from statestore.errors import ConfigError, EncodeError, EntityRejectedError, RegistryError
from statestore.kafka.partitioners import DEFAULT_PARTITIONER, name_of, number_of
from statestore.producing.sending import ProducerRecord
from statestore.runtime.text import bounded_repr
from statestore.runtime.times import milliseconds
from statestore.serde.entities import EntityCodec
from statestore.settings import Partitioner
from statestore.storage.layout import LONGEST_KEY
from statestore.storage.store import longer_keys


@dataclass(frozen=True, slots=True)
class BoundStore:
    """The store of a topic that is bound in this manager, as those see it who write to the topic."""

    table: str
    """The table's name."""
    backend: str
    longest_key: int
    """Bytes of the longest key that the store takes."""
    stored_keys: Callable[[tuple[Any, ...]], Sequence[bytes]] = lambda _values: ()
    """Return the keys under which the store may have the row with these values of the key fields."""
    cls: type | None = None
    """The entity class that is bound; ``None`` for a table of bytes."""
    record_of: Callable[[tuple[Any, ...]], Any] = lambda _values: None
    """Return the record with these values of the key fields (a ``ReadRecord``), or ``None``.

    Raises what a read of the table raises.
    """
    contradicts: Callable[[int], int | None] = lambda _number: None
    """Return the number of the partitioner by which the topic's records lie, if it is known not to be the
    given one."""


class Encoder:
    """Makes records of the entities of one class, of at most ``max_bytes`` each. Thread-safe.

    A key must fit the store of the topic, one of ``bound`` by topic; where the topic is not bound here, the
    stores of other programs. Raises ``EntityRejectedError`` naming class, key, topic and what is wrong.
    """

    def __init__(
        self,
        model: EntityModel,
        codec: EntityCodec[Any],
        max_bytes: int,
        bound: Mapping[str, BoundStore] = MappingProxyType({}),
        partitioner: Partitioner = DEFAULT_PARTITIONER,
    ) -> None:
        self._model = model
        self.cls = model.cls
        self.topic = model.topic
        self._codec = codec
        self.waits = codec.waits
        """Whether encoding a key may wait, for example for the schema registry."""
        self.is_prepared = not codec.waits
        """Whether encoding an entity does not wait."""
        self._max_bytes = max_bytes
        self._bound = bound
        self.partitioner: Partitioner = partitioner
        self._placed_by: Partitioner | None = None if partitioner == DEFAULT_PARTITIONER else partitioner
        self._has_store = model.kind == "table"
        self._key_names = tuple(field.name for field in model.key_fields)
        self._event_time = None if model.event_time is None else model.event_time.name

    def prepare(self, *subjects: Any) -> None:
        """Wait for what the first entity needs of the schema registry, to write ``subjects``.

        Raises ``RegistryError``.
        """
        with _undelivered(*subjects):
            self._codec.prepare()
        self.is_prepared = True

    def record(self, entity: Any) -> ProducerRecord:
        """Return the record of ``entity``."""
        self.check_class(entity)
        try:
            key, value = self._codec.encode(entity)
            timestamp = 0 if self._event_time is None else _timestamp(getattr(entity, self._event_time))
        except EncodeError as error:
            raise self._rejection(entity, str(error)) from error
        except RegistryError as error:  # as by _undelivered, which takes a tenth of a record's time
            error.undelivered = (entity,)
            raise
        return self._sized(
            ProducerRecord(
                self._model.topic,
                key if self._key_names else None,
                value,
                timestamp,
                entity,
                self.describe,
                self._placed_by,
            )
        )

    def tombstones(self, key: tuple[Any, ...], subject: Any) -> list[ProducerRecord]:
        """Return the records that delete ``key``, one for each encoding under which it may be stored."""
        if not self._key_names:
            raise self._rejection(subject, "a stream has no key to delete")
        try:
            store = self._bound.get(self._model.topic)
            stored = () if store is None else store.stored_keys(key)
            with _undelivered(subject):
                encodings = dict.fromkeys(
                    [self._codec.encode_key(key), *self._codec.key_encodings(key), *stored]
                )
        except EncodeError as error:
            raise self._rejection(subject, str(error)) from error
        first, *others = encodings
        longest = self._longest_key()
        return [
            self._sized(
                ProducerRecord(self._model.topic, one, None, 0, subject, self.describe, self._placed_by)
            )
            for one in (first, *[other for other in others if len(other) <= longest])
        ]

    def check_partitioner(self) -> None:
        """Raise ``ConfigError`` where the topic's records are known to lie by another partitioner."""
        store = self._bound.get(self.topic)
        found = None if store is None else store.contradicts(number_of(self.partitioner))
        if store is None or found is None:
            return
        theirs = name_of(found)
        raise ConfigError(
            f"topic {self.topic!r}: its records lie where {theirs} puts their keys, but "
            f"{self.cls.__name__} is written with {self.partitioner}, which would put a key into two "
            f"partitions: state partitioner={theirs!r} at the entity, or under [topics] for this topic; to "
            "change the partitioner of a topic, write a new topic"
        )

    def check_class(self, entity: Any) -> None:
        """Raise ``EntityRejectedError`` for an entity of another class."""
        if not isinstance(entity, self._model.cls):
            raise self._rejection(
                entity, f"the entity is not of class {self._model.name}: use the table of its own class"
            )

    def key_bytes(self, values: tuple[Any, ...]) -> bytes:
        """Return the key that ``add`` writes. Raises ``EncodeError``."""
        return self._codec.encode_key(values)

    def payload(self, entity: Any) -> bytes:
        """Return the value that ``add`` writes. Raises ``EncodeError``."""
        return self._codec.encode(entity)[1]

    def key_of(self, entity: Any) -> tuple[Any, ...]:
        """Return the values of the key fields."""
        return tuple(getattr(entity, name) for name in self._key_names)

    def describe(self, subject: Any) -> str:
        """Return the class and key of an entity, or of key values, for messages."""
        if isinstance(subject, self._model.cls):
            subject = self.key_of(subject)
        elif not isinstance(subject, tuple):
            return bounded_repr(subject)
        pairs = zip(self._key_names, subject, strict=False)
        return f"{self._model.name}({', '.join(f'{name}={bounded_repr(value)}' for name, value in pairs)})"

    def _longest_key(self) -> int:
        """Return how many bytes a key may have."""
        store = self._bound.get(self._model.topic)
        if store is not None:
            return store.longest_key
        return LONGEST_KEY if self._has_store else sys.maxsize

    def _sized(self, record: ProducerRecord) -> ProducerRecord:
        longest = self._longest_key()
        if record.key is not None and len(record.key) > longest:
            store = self._bound.get(self._model.topic)
            who = (
                "stores take"
                if store is None
                else f"the store of table {store.table!r} (backend {store.backend!r}) takes"
            )
            raise self._rejection(
                record.subject,
                f"its key has {len(record.key)} bytes, but {who} at most {longest}: shorten it"
                + longer_keys(longest),
            )
        size = len(record.key or b"") + len(record.value or b"")
        if size > self._max_bytes:
            raise self._rejection(
                record.subject,
                f"its key and value have {size} bytes, but the limit is {self._max_bytes}: make it "
                "smaller, or raise message.max.bytes (and queue.buffering.max.kbytes, if set) under [kafka] "
                "and max.message.bytes of the topic",
            )
        return record

    def _rejection(self, subject: Any, cause: str) -> EntityRejectedError:
        return EntityRejectedError(
            f"{self.describe(subject)} is not written to topic {self._model.topic!r}: {cause}",
            undelivered=[subject],
        )


@contextmanager
def _undelivered(*subjects: Any) -> Iterator[None]:
    """Have an error of the schema registry say what was not written."""
    try:
        yield
    except RegistryError as error:
        error.undelivered = subjects
        raise


def _timestamp(event_time: datetime | int | None) -> int:
    """Return an event time as a record's timestamp; for ``None`` 0, which means the time of sending."""
    if event_time is None:
        return 0
    since = event_time
    if isinstance(since, datetime):
        since = milliseconds(since)
    if since <= 0:
        shown = event_time.isoformat() if isinstance(event_time, datetime) else f"{bounded_repr(since)} ms"
        raise EncodeError(
            f"event time {shown} is not after 1970-01-01T00:00Z; Kafka requires a positive timestamp"
        )
    return since
