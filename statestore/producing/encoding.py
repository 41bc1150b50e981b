"""Encoding the entities of one class as records to send."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from statestore.entity import EntityModel
from statestore.errors import EncodeError, EntityRejectedError
from statestore.producing.sending import ProducerRecord
from statestore.runtime.text import bounded_repr
from statestore.runtime.times import milliseconds
from statestore.serde.entities import EntityCodec


class Encoder:
    """Makes records of the entities of one class, of at most ``max_bytes`` each. Thread-safe.

    Raises ``EntityRejectedError`` naming class, key, topic and what is wrong.
    """

    def __init__(self, model: EntityModel, codec: EntityCodec[Any], max_bytes: int) -> None:
        self._model = model
        self._codec = codec
        self.waits = codec.waits
        """Whether encoding a key may wait, for example for the schema registry."""
        self.is_prepared = not codec.waits
        """Whether encoding an entity does not wait."""
        self._max_bytes = max_bytes
        self._key_names = tuple(field.name for field in model.key_fields)
        self._event_time = None if model.event_time is None else model.event_time.name

    def prepare(self) -> None:
        """Wait for what the first entity needs of the schema registry. Raises ``RegistryError``."""
        self._codec.prepare()
        self.is_prepared = True

    def record(self, entity: Any) -> ProducerRecord:
        """Return the record of ``entity``."""
        if not isinstance(entity, self._model.cls):
            raise self._rejection(
                entity, f"the entity is not of class {self._model.name}: use the table of its own class"
            )
        try:
            key, value = self._codec.encode(entity)
            timestamp = 0 if self._event_time is None else _timestamp(getattr(entity, self._event_time))
        except EncodeError as error:
            raise self._rejection(entity, str(error)) from error
        return self._sized(
            ProducerRecord(
                self._model.topic, key if self._key_names else None, value, timestamp, entity, self.describe
            )
        )

    def tombstones(self, key: tuple[Any, ...], subject: Any) -> list[ProducerRecord]:
        """Return the records that delete ``key``, one for each encoding under which it may be stored."""
        if not self._key_names:
            raise self._rejection(subject, "a stream has no key to delete")
        try:
            encodings = dict.fromkeys([self._codec.encode_key(key), *self._codec.key_encodings(key)])
        except EncodeError as error:
            raise self._rejection(subject, str(error)) from error
        return [
            self._sized(ProducerRecord(self._model.topic, one, None, 0, subject, self.describe))
            for one in encodings
        ]

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

    def _sized(self, record: ProducerRecord) -> ProducerRecord:
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
