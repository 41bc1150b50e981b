"""``unless_newer_than``: a write is refused where there is a newer record than the one its writer has read.

Kafka compares nothing, so this is compared here, with what the table of the topic has applied and with the
writes of this manager that say ``unless_newer_than`` themselves. A record of another process that the table
has not applied yet is not seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Any, Final, Literal, NamedTuple, Protocol, TypeAlias

from statestore.delivery import Delivery
from statestore.errors import ConfigError, EncodeError, NewerRecordError
from statestore.producing.encoding import BoundStore, Encoder
from statestore.producing.watch import DeliveryWatch
from statestore.runtime import fork
from statestore.runtime.text import bounded_repr
from statestore.runtime.weak import LivingValues

_MANY = 1000
"""Deliveries that are kept before those are forgotten that the table has applied."""
_AGAIN = "read the record again (get_record), decide anew and repeat the call"

_Key = tuple[str, bytes]
"""A topic, and the bytes of a key."""


class ReadRecord(Protocol):
    """A row together with its record's timestamp: what ``get_record`` of a table returns."""

    @property
    def value(self) -> Any: ...

    @property
    def timestamp(self) -> datetime | None: ...


class NotCompared(Enum):
    """The type of ``NOT_COMPARED``."""

    NOT_COMPARED = "not compared"

    def __repr__(self) -> str:
        return self.name


NOT_COMPARED: Final[Literal[NotCompared.NOT_COMPARED]] = NotCompared.NOT_COMPARED
"""What ``unless_newer_than`` is where it is not given: the write is compared with nothing."""

Read: TypeAlias = ReadRecord | NotCompared | None
"""What a write is based on: a record, ``None`` where none was found, or it is not compared."""


class _Written(NamedTuple):
    """A record that was delivered, and the log that the table had at that time."""

    delivery: Delivery
    topic_id: str | None
    position: int | None
    """The next offset that the table would apply; ``None``: it had none."""


class Claim:
    """One write that was found to be based on the newest record of its key.

    Until it is released, or forgotten, no other such write of the key is let through.
    """

    def __init__(
        self,
        owner: NewerRecords,
        encoder: Encoder,
        subject: Any,
        values: tuple[Any, ...],
        read: ReadRecord | None,
    ) -> None:
        self._owner = owner
        self._encoder = encoder
        self._subject = subject
        self._read = read
        self.values = values
        self.key: _Key = (encoder.topic, encoder.key_bytes(values))

    def check(self) -> None:
        """Raise ``NewerRecordError`` if the table has applied a newer record than the one that was read."""
        found: ReadRecord | None = self._owner.store_of(self._encoder).record_of(self.values)
        if self._read is None:
            if found is not None:
                raise self.refused(f"the table has applied one ({_shown(found)})", found)
            return
        if found is None:
            raise self.refused("the table has applied its deletion, or the row has expired", found)
        if self._is_same(self._read, found):
            return
        cause = f"the table has applied a newer one ({_shown(found)})"
        if found.timestamp == self._read.timestamp:
            cause += ", or the row that was read was changed in place: change a copy (dataclasses.replace)"
        raise self.refused(cause, found)

    def delivered(self, delivery: Delivery) -> None:
        """Take where the record is: the next write of the key must have read it."""
        self._owner.delivered(self.key, delivery)

    def release(self) -> None:
        """Let other writes of the key through."""
        self._owner.release(self)

    def refused(self, cause: str, found: ReadRecord | None) -> NewerRecordError:
        """Return the error of a write that was not sent."""
        since = (
            "no record was read" if self._read is None else f"the record that was read ({_shown(self._read)})"
        )
        return NewerRecordError(
            f"{self._encoder.describe(self._subject)} is not written to topic {self.key[0]!r}: since "
            f"{since}, {cause}; {_AGAIN}",
            subject=self._subject,
            read=self._read,
            found=found,
        )

    def _is_same(self, read: ReadRecord, found: ReadRecord) -> bool:
        if found.timestamp != read.timestamp:
            return False
        if found.value == read.value:
            return True
        try:  # NaN is not equal to itself
            return self._encoder.payload(found.value) == self._encoder.payload(read.value)
        except EncodeError:
            return False


class NewerRecords:
    """Compares what writers have read with what there is. Thread-safe; one for each manager."""

    def __init__(self, bound: Mapping[str, BoundStore], watch: DeliveryWatch) -> None:
        self._bound = bound
        self._watch = watch
        self._mutex = fork.rlock()
        self._claims: LivingValues[_Key, Claim] = LivingValues()
        """The writes that are under way."""
        self._delivered: dict[_Key, _Written] = {}
        """The last of these writes to a key, until the table has applied it."""

    def claim(self, encoder: Encoder, subject: Any, key: tuple[Any, ...], read: ReadRecord | None) -> Claim:
        """Let one write of ``subject``, with the values ``key``, through. ``None``: no record was found.

        Raises ``NewerRecordError`` where there is a newer record, ``ConfigError`` if the topic is not bound,
        and what a read of the table raises.
        """
        if read is None:
            claim = Claim(self, encoder, subject, key, read)
        else:
            claim = self._based_on(encoder, subject, key, read)
        with self._mutex:
            if self._claims.get(claim.key) is not None:
                raise claim.refused("another write to its key has begun in this process", None)
            if (own := self._delivered.get(claim.key)) is not None:
                if not self._is_applied(own):
                    _, partition, offset, _ = own.delivery
                    raise claim.refused(
                        f"this process has written one (partition {partition}, offset {offset}), "
                        "which the table has not applied yet: wait for it (wait=True, or wait_for)",
                        None,
                    )
                del self._delivered[claim.key]
            claim.check()
            self._claims.put(claim.key, claim)
        return claim

    def _based_on(self, encoder: Encoder, subject: Any, key: tuple[Any, ...], read: ReadRecord) -> Claim:
        if not (hasattr(read, "value") and hasattr(read, "timestamp")):
            raise TypeError(
                f"unless_newer_than={bounded_repr(read)} is no record: give what get_record(key) of the table"
                " returned"
            )
        encoder.check_class(read.value)
        claim = Claim(self, encoder, subject, encoder.key_of(read.value), read)
        if encoder.key_bytes(key) != claim.key[1]:
            raise ValueError(
                f"unless_newer_than is a record of {encoder.describe(read.value)}, but "
                f"{encoder.describe(subject)} is written: give the record that was read with its key"
            )
        return claim

    def store_of(self, encoder: Encoder) -> BoundStore:
        """Return the store of a class's topic. Raises ``ConfigError`` if it is not bound."""
        store = self._bound.get(encoder.topic)
        if store is None or store.cls is not encoder.cls:
            raise ConfigError(
                f"unless_newer_than compares with the table of topic {encoder.topic!r}, and "
                f"{encoder.cls.__name__} is not bound in this manager: bind it first"
            )
        return store

    def release(self, claim: Claim) -> None:
        """Let other writes of the key through: the one of ``claim`` has ended, or has failed."""
        with self._mutex:
            if self._claims.get(claim.key) is claim:
                self._claims.remove(claim.key)

    def delivered(self, key: _Key, delivery: Delivery) -> None:
        """Note where the record of a claim is."""
        with self._mutex:
            if len(self._delivered) >= _MANY:
                waiting = {one: at for one, at in self._delivered.items() if not self._is_applied(at)}
                self._delivered = waiting
            topic, partition = delivery.topic, delivery.partition
            position = self._watch.positions(topic).get(partition)
            self._delivered[key] = _Written(delivery, self._watch.topic_id(topic), position)

    def _is_applied(self, written: _Written) -> bool:
        """Whether what a read of the table finds is not older: where it restores, a read raises."""
        delivery, topic_id, before = written
        position = self._watch.positions(delivery.topic).get(delivery.partition)
        if position is None:
            return False
        if position > delivery.offset:
            return True
        # A topic that was created anew is restored as a whole. Not every broker tells ids.
        now_id = self._watch.topic_id(delivery.topic)
        is_another = None not in (topic_id, now_id) and topic_id != now_id
        return is_another or (before is not None and position < before)


def _shown(record: ReadRecord) -> str:
    at = "no timestamp" if record.timestamp is None else f"timestamp {record.timestamp.isoformat()}"
    return f"{at}: {bounded_repr(record.value)}"
