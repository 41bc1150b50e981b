"""A write tells the mirrors of its topics where they were before it, and where its records are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from statestore.delivery import Delivery
from statestore.producing.watch import DeliveryWatch


class Mirror:
    topic_id = None

    def __init__(self, positions: dict[int, int]) -> None:
        self.positions = positions
        self.told: list[tuple[Mapping[int, int], list[Delivery]]] = []

    def delivered(self, positions: Mapping[int, int], deliveries: Iterable[Delivery]) -> None:
        self.told.append((positions, list(deliveries)))


def test_each_mirror_is_told_of_its_own_topic() -> None:
    watch, a, b, unread = DeliveryWatch(), Mirror({0: 5}), Mirror({0: 7, 1: 0}), Mirror({})
    for topic, mirror in (("a", a), ("b", b), ("unread", unread)):
        watch.add(topic, mirror)
    before = {topic: watch.positions(topic) for topic in ("a", "b", "unread", "unbound")}
    assert before == {"a": {0: 5}, "b": {0: 7, 1: 0}, "unread": {}, "unbound": {}}
    deliveries = [Delivery(topic, 0, 9, 0) for topic in ("a", "b", "unread", "unbound", "a")]
    watch.remove("b")
    watch.remove("unbound")
    watch.delivered(before, deliveries)
    assert a.told == [({0: 5}, [deliveries[0], deliveries[4]])]
    assert b.told == unread.told == []
