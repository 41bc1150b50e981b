"""What a write tells the mirrors of its topics: a record below what was read before is in another log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from statestore.delivery import Delivery

Positions = Mapping[str, Mapping[int, int]]
"""By topic and partition, the next offset that its mirror will apply."""


class WatchedMirror(Protocol):
    """The mirror of a topic."""

    @property
    def positions(self) -> Mapping[int, int]:
        """The next offset to apply of each partition."""
        ...

    @property
    def topic_id(self) -> str | None:
        """The id of the topic whose records it has; ``None``: the broker has not told it."""
        ...

    def delivered(self, positions: Mapping[int, int], deliveries: Iterable[Delivery]) -> None:
        """Take records of its topic that were written after the mirror was at ``positions``."""


class DeliveryWatch:
    """The mirrors of one manager, by topic. Thread-safe."""

    def __init__(self) -> None:
        self._mirrors: dict[str, WatchedMirror] = {}

    def add(self, topic: str, mirror: WatchedMirror) -> None:
        """Tell ``mirror`` of what is written to ``topic``."""
        self._mirrors[topic] = mirror

    def remove(self, topic: str) -> None:
        self._mirrors.pop(topic, None)

    def positions(self, topic: str) -> Mapping[int, int]:
        """Return where the topic's mirror is; nothing where there is none."""
        mirror = self._mirrors.get(topic)
        return {} if mirror is None else mirror.positions

    def topic_id(self, topic: str) -> str | None:
        """Return the id of the topic that its mirror was made from, if that is known."""
        mirror = self._mirrors.get(topic)
        return None if mirror is None else mirror.topic_id

    def delivered(self, before: Positions, deliveries: Iterable[Delivery]) -> None:
        """Take records that were written after the mirrors were at the positions ``before``."""
        for topic, positions in before.items():
            mirror = self._mirrors.get(topic)
            if positions and mirror is not None:
                mirror.delivered(positions, [one for one in deliveries if one.topic == topic])
