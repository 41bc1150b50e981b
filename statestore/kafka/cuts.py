"""Where a batch may end in a partition, so that no transaction is applied in part.

librdkafka gives neither transaction markers nor producer ids. What it does give: the position after the last
marker it has passed over, and the high watermark of the last fetch. Where both are equal, no transaction is
open: a batch may end there, for certain. So may it at the last stable offset, which an end-of-partition event
carries, and behind a marker, unless the transactions of two producers overlap there.

What lies between the last such place and the last record read is held back by the reader; ``Cuts`` says how
far it may be released. A partition in which no marker was seen lately is held back for a fetch or two only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import methodcaller
from typing import Any

from confluent_kafka import Consumer, KafkaError, TopicPartition

TRANSACTIONAL = 60.0
"""Seconds after a marker in which the next record is taken for one of a transaction."""
UNCERTAIN = 0.5
"""Seconds until a batch ends behind a marker where it is not certain that no other transaction is open."""
LONGEST = 5.0
"""Seconds that records are held back at most."""
BRIEF = 0.25
"""Seconds that they are held back where no transaction was seen lately."""
BRIEF_BATCHES = 8
"""How many times the memory of a usual batch they may take meanwhile."""
RECORD_OVERHEAD = 400
"""Bytes that librdkafka takes for a queued record beside key and value: 330 to 350, measured."""


@dataclass(frozen=True, slots=True)
class HoldLimits:
    """How much a reader holds back."""

    memory: int
    """Bytes of all records that are held back, with their overhead."""
    records: int
    """Records of a partition in which no transaction was seen lately."""
    brief_memory: int
    """Bytes of the records of such a partition."""


@dataclass(slots=True)
class _Partition:
    marker_at: float = -TRANSACTIONAL
    """When a marker was passed last."""
    held_since: float | None = None
    began_at: int = -1
    """The first offset that was held back then."""
    known_end: int = -1
    """The high watermark at that time."""


class Cuts:
    """See the module. Belongs to one reader, and to its thread."""

    def __init__(self, limits: HoldLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits
        self.divided: list[tuple[str, int, int]] = []
        """Topics, partitions and offsets at which a transaction may have been cut in two."""
        self._clock = clock
        self._partitions: dict[tuple[str, int], _Partition] = {}

    def forget(self, topic: str) -> None:
        """Nothing of ``topic`` is read any more."""
        for place in [place for place in self._partitions if place[0] == topic]:
            del self._partitions[place]

    def released(
        self,
        topic: str,
        partition: int,
        applied: int,
        first: int,
        following: int,
        position: int,
        high: int,
        stable: int,
        gap: int,
        records: int,
        memory: int,
        all_memory: int,
    ) -> int:
        """Return the offset below which the records of ``partition`` that are held back may be applied.

        ``applied`` is what follows the last record that was given, ``first`` the offset of the first that is
        held, and ``following`` that after the last of them. ``position`` is the client's, past the markers,
        too; ``high`` the high watermark; ``stable`` the offset of the last end-of-partition event; -1 is
        unknown.
        ``gap`` is the offset of the last held record before which offsets are missing (``first``, if none).
        ``memory`` are the bytes of the partition's ``records``, ``all_memory`` those of all partitions.
        """
        now = self._clock()
        one = self._partitions.setdefault((topic, partition), _Partition())
        position = max(position, stable, following)
        if position > following or gap > first or first > applied:
            one.marker_at = now
        behind_marker = following if position > following else gap
        if position == high:
            one.held_since = None
            return following
        if one.held_since is None or one.began_at != first:
            one.held_since, one.began_at, one.known_end = now, first, high
        age = now - one.held_since
        if now - one.marker_at >= TRANSACTIONAL:
            if position >= one.known_end >= 0:
                return min(one.known_end, following)
            limits = self.limits
            much = records >= limits.records or memory >= limits.brief_memory or all_memory >= limits.memory
            return following if much or age >= BRIEF else first
        full = all_memory >= self.limits.memory or age >= LONGEST
        if age < UNCERTAIN and not full:
            return first
        if stable >= following:
            return following
        if behind_marker > first or not full:
            return behind_marker
        self.divided.append((topic, partition, following))
        return following


HOLDING_WAIT = 0.01
"""Seconds: how often what is held back is looked at, while nothing arrives."""


@dataclass(slots=True)
class _Held:
    hold_from: int
    """From this offset on records are held back."""
    applied: int
    """What follows the last record that was given."""
    records: list[Any] = field(default_factory=list)
    memory: int = 0
    gap: int = -1
    stable: int = -1
    failed: bool = False
    """An error was told: nothing of the partition is given until it is assigned anew."""
    ends: list[Any] = field(default_factory=list)
    """End-of-partition events that come after records that are held back."""


class HeldRecords:
    """What the ordinary consumer holds back; the native reader has the like in C."""

    def __init__(self, consumer: Consumer, cuts: Cuts) -> None:
        self._consumer = consumer
        self._cuts = cuts
        self._partitions: dict[tuple[str, int], _Held] = {}
        self._memory = 0

    def assign(
        self, topic: str, positions: Mapping[int, tuple[int, int]], ends: Mapping[int, int | None]
    ) -> None:
        """Hold back the records of ``topic`` from ``ends`` on; it is read from ``positions`` on."""
        self._partitions.update(
            {
                (topic, number): _Held(ends.get(number) or 0, position)
                for number, (position, _) in positions.items()
            }
        )

    def unassign(self, topic: str) -> None:
        """Drop what is held of ``topic``."""
        for place in [place for place in self._partitions if place[0] == topic]:
            self._memory -= self._partitions.pop(place).memory

    def wait(self, usual: float) -> float:
        """Return how long the next read may wait."""
        return min(usual, HOLDING_WAIT) if self._memory else usual

    @property
    def holds(self) -> bool:
        """Whether anything is held back."""
        return self._memory > 0

    def pass_on(self, messages: list[Any]) -> list[Any]:
        """Return those of ``messages``, and of what was held back before, that may be applied."""
        if not self._memory and not self._reaches_tail(messages):
            return messages
        passed: list[Any] = []
        for message in messages:
            one = self._partitions.get((message.topic(), message.partition()))
            if one is not None:
                self._take(one, message, passed)
        for (topic, number), one in self._partitions.items():
            if one.records:
                self._release(topic, number, one, passed)
            following = one.records[0].offset() if one.records else None
            while one.ends and (following is None or one.ends[0].offset() <= following):
                passed.append(one.ends.pop(0))
        return passed

    def _take(self, one: _Held, message: Any, passed: list[Any]) -> None:
        error, offset = message.error(), message.offset()
        if error is not None and error.code() == KafkaError._PARTITION_EOF:
            one.stable = offset
            one.ends.append(message)
        elif error is not None:
            one.failed = True
            passed.append(message)
        elif one.failed:
            return
        elif offset < one.hold_from:
            one.applied = offset + 1
            passed.append(message)
        else:
            if not one.records or one.records[-1].offset() + 1 != offset:
                one.gap = offset
            one.records.append(message)
            one.memory += _memory_of(message)
            self._memory += _memory_of(message)

    def _reaches_tail(self, messages: list[Any]) -> bool:
        """Whether one of ``messages`` is the last before those to be held back, or later, or is no record.

        A restore is far from it.
        """
        places = [TopicPartition(*place) for place in self._partitions]
        if any(map(methodcaller("error"), messages)):
            return True
        return any(
            place.offset >= self._partitions[place.topic, place.partition].hold_from
            for place in self._consumer.position(places)
        )

    def _release(self, topic: str, number: int, one: _Held, passed: list[Any]) -> None:
        place = TopicPartition(topic, number)
        below = self._cuts.released(
            topic,
            number,
            one.applied,
            one.records[0].offset(),
            one.records[-1].offset() + 1,
            max(-1, self._consumer.position([place])[0].offset),
            high_watermark(self._consumer, place),
            one.stable,
            one.gap,
            len(one.records),
            one.memory,
            self._memory,
        )
        count = next((at for at, message in enumerate(one.records) if message.offset() >= below), None)
        released = one.records if count is None else one.records[:count]
        one.records = [] if count is None else one.records[count:]
        passed += released
        if released:
            one.applied = released[-1].offset() + 1
        freed = sum(map(_memory_of, released))
        one.memory -= freed
        self._memory -= freed
        if one.records:
            one.gap = max(one.gap, one.records[0].offset())


def high_watermark(consumer: Consumer, place: TopicPartition) -> int:
    """Return the high watermark that the last fetch has brought; -1: none has."""
    marks: Any = consumer.get_watermark_offsets(place, cached=True)
    return -1 if marks is None else max(-1, marks[1])


def _memory_of(message: Any) -> int:
    return RECORD_OVERHEAD + len(message)
