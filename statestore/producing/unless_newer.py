"""``unless_newer_than``: a write is refused where there is a newer record than the one its writer has read.

Kafka compares nothing, so this is compared here, with what the table of the topic has applied and with the
writes of this manager that say ``unless_newer_than`` themselves. A record of another process that the table
has not applied yet is not seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol
from weakref import WeakValueDictionary

from statestore.delivery import Delivery
from statestore.errors import ConfigError, EncodeError, NewerRecordError
from statestore.producing.encoding import BoundStore, Encoder
from statestore.producing.watch import DeliveryWatch
from statestore.runtime import fork
from statestore.runtime.text import bounded_repr

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


class Claim:
    """One write that was found to be based on the newest record of its key.

    Until it is released, or forgotten, no other such write of the key is let through.
    """

    def __init__(self, owner: NewerRecords, encoder: Encoder, subject: Any, read: ReadRecord) -> None:
        self._owner = owner
        self._encoder = encoder
        self._subject = subject
        self._read = read
        self.values = encoder.key_of(read.value)
        self.key: _Key = (encoder.topic, encoder.key_bytes(self.values))

    def check(self) -> None:
        """Raise ``NewerRecordError`` if the table has applied a newer record than the one that was read."""
        found: ReadRecord | None = self._owner.store_of(self._encoder).record_of(self.values)
        if found is None:
            raise self.refused("the table has applied its deletion, or the row has expired", found)
        if self._is_same(found):
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
        return NewerRecordError(
            f"{self._encoder.describe(self._subject)} is not written to topic {self.key[0]!r}: since the "
            f"record that was read ({_shown(self._read)}), {cause}; {_AGAIN}",
            subject=self._subject,
            read=self._read,
            found=found,
        )

    def _is_same(self, found: ReadRecord) -> bool:
        if found.timestamp != self._read.timestamp:
            return False
        if found.value == self._read.value:
            return True
        try:  # NaN is not equal to itself
            return self._encoder.payload(found.value) == self._encoder.payload(self._read.value)
        except EncodeError:
            return False


class NewerRecords:
    """Compares what writers have read with what there is. Thread-safe; one for each manager."""

    def __init__(self, bound: Mapping[str, BoundStore], watch: DeliveryWatch) -> None:
        self._bound = bound
        self._watch = watch
        self._mutex = fork.rlock()
        self._claims: WeakValueDictionary[_Key, Claim] = WeakValueDictionary()
        """The writes that are under way."""
        self._delivered: dict[_Key, Delivery] = {}
        """The last of these writes to a key, until the table has applied it."""

    def claim(self, encoder: Encoder, subject: Any, key: tuple[Any, ...], read: ReadRecord) -> Claim:
        """Let one write of ``subject``, with the values ``key``, through.

        Raises ``NewerRecordError`` where there is a newer record, ``ConfigError`` if the topic is not bound,
        and what a read of the table raises.
        """
        if not (hasattr(read, "value") and hasattr(read, "timestamp")):
            raise TypeError(
                f"unless_newer_than={bounded_repr(read)} is no record: give what get_record(key) of the table"
                " returned"
            )
        encoder.check_class(read.value)
        claim = Claim(self, encoder, subject, read)
        if encoder.key_bytes(key) != claim.key[1]:
            raise ValueError(
                f"unless_newer_than is a record of {encoder.describe(read.value)}, but "
                f"{encoder.describe(subject)} is written: give the record that was read with its key"
            )
        with self._mutex:
            if claim.key in self._claims:
                raise claim.refused("another write to its key has begun in this process", None)
            if (own := self._delivered.get(claim.key)) is not None:
                if not self._is_applied(own):
                    raise claim.refused(
                        f"this process has written one (partition {own.partition}, offset {own.offset}), "
                        "which the table has not applied yet: wait for it (wait=True, or wait_for)",
                        None,
                    )
                del self._delivered[claim.key]
            claim.check()
            self._claims[claim.key] = claim
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
                del self._claims[claim.key]

    def delivered(self, key: _Key, delivery: Delivery) -> None:
        """Note where the record of a claim is."""
        with self._mutex:
            if len(self._delivered) >= _MANY:
                waiting = {one: at for one, at in self._delivered.items() if not self._is_applied(at)}
                self._delivered = waiting
            self._delivered[key] = delivery

    def _is_applied(self, delivery: Delivery) -> bool:
        return self._watch.positions(delivery.topic).get(delivery.partition, 0) > delivery.offset


def _shown(record: ReadRecord) -> str:
    at = "no timestamp" if record.timestamp is None else f"timestamp {record.timestamp.isoformat()}"
    return f"{at}: {bounded_repr(record.value)}"
