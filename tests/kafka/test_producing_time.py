"""The time given to a call ends it, whatever it is given to write."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated

import pytest

from statestore import DeliveryError, Key, StoreManager, entity
from statestore.testing.kafka import Broker

pytestmark = pytest.mark.kafka

MOST = 1_000_000


def test_an_endless_iterator_ends(
    broker: Broker, topic: Callable[[str], str], managers: Callable[..., StoreManager]
) -> None:
    broker.create_topic(name := topic("rows"))

    @entity(topic=name)
    @dataclass(frozen=True, slots=True)
    class Row:
        number: Annotated[int, Key]

    taken: list[Row] = []

    def endless() -> Iterator[Row]:
        while len(taken) < MOST:
            taken.append(Row(len(taken)))
            yield taken[-1]

    manager = managers(broker)
    manager.add(Row(MOST))  # what is written first takes longer
    with pytest.raises(DeliveryError, match="the time given") as caught:
        manager.add_all(endless(), timeout=0.5)
    assert len(caught.value.delivered) + len(caught.value.undelivered) == len(taken) < MOST
    with pytest.raises(DeliveryError, match="nothing was sent") as caught:
        manager.add_all([Row(n) for n in range(10_000)], timeout=0.0)
    assert len(caught.value.undelivered) == 10_000
