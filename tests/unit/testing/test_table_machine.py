"""A state machine that finds histories after which a service reads what is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import hypothesis
import pytest
from hypothesis.stateful import run_state_machine_as_test

from statestore import F, Key, StoreManager, WindowStart, entity
from statestore.testing import table_machine


@entity(topic="orders", indexes=[F.customer])
@dataclass(frozen=True, slots=True)
class Order:
    order_id: Annotated[int, Key]
    customer: str
    amount: int


@entity(topic="candles", windows=["1min", "5min"])
@dataclass(frozen=True, slots=True)
class Candle:
    symbol: Annotated[str, Key]
    start: Annotated[datetime, WindowStart]
    price: int


class OrderCache:
    """A cache that nothing invalidates."""

    def __init__(self, stores: StoreManager) -> None:
        self._orders = stores.bind(Order)
        self._cache: dict[int, Order | None] = {}

    def get(self, order_id: int) -> Order | None:
        if order_id not in self._cache:
            self._cache[order_id] = self._orders.get(order_id)
        return self._cache[order_id]


def run(machine: Any, examples: int = 10, *, shrink: bool = False) -> None:
    """Run a machine; with the shortest failure only where a test asks, since that takes longest."""
    phases = [hypothesis.Phase.generate, *[hypothesis.Phase.shrink] * shrink]
    settings = hypothesis.settings(
        machine.TestCase.settings, max_examples=examples, phases=phases, database=None
    )
    run_state_machine_as_test(machine, settings=settings)


@pytest.mark.parametrize("subject", [Order, Candle, "raw"])
def test_tables_hold_what_their_topics_say(subject: Any) -> None:
    run(table_machine(subject), examples=5)


def test_a_stale_cache_is_found_and_its_script_fails_in_the_same_way() -> None:
    with pytest.raises(AssertionError, match="but the topic has") as raised:
        run(table_machine(Order, subject=OrderCache), examples=100)
    (script,) = (note for note in raised.value.__notes__ if "TestDriver" in note)
    with pytest.raises(AssertionError):
        exec(script, {})
