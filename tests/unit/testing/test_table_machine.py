"""A state machine that finds histories after which a service reads what is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test

from statestore import ConfigError, F, Key, StoreManager, WindowStart, entity
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
    """Remembers the orders that it has seen. A tombstone does not reach it."""

    def __init__(self, stores: StoreManager) -> None:
        self._orders = stores.bind(Order)
        self._cache: dict[int, Order] = {}

    def get(self, order_id: int) -> Order | None:
        order = self._orders.get(order_id)
        if order is not None:
            self._cache[order_id] = order
        return self._cache.get(order_id)


class Service:
    """Reads and writes orders, rightly."""

    def __init__(self, stores: StoreManager) -> None:
        self._orders = stores.bind(Order)

    def get(self, order_id: int) -> Order | None:
        return self._orders.get(order_id)

    def all(self) -> list[Order]:
        return self._orders.to_list(reverse=True)

    def add(self, order: Order) -> None:
        self._orders.add(order)

    def delete(self, order_id: int) -> None:
        self._orders.delete(order_id)

    def snapshot(self) -> Any:
        return self._orders.snapshot()

    def due(self, customer: str) -> int:
        return sum(order.amount for order in self._orders.where(F.customer == customer))


class Forgetful(Service):
    """Says that it has written, and has not."""

    def add(self, order: Order) -> None: ...


class Overwriting:
    """Changes what it has read first, whatever others have written since."""

    def __init__(self, stores: StoreManager) -> None:
        self._orders = stores.bind(Order)
        self._seen: dict[int, Order] = {}

    def get(self, order_id: int) -> Order | None:
        return self._orders.get(order_id)

    def update(self, order_id: int, change: Callable[[Order], Order]) -> None:
        order = self._orders.get(order_id)
        assert order is not None
        self._orders.add(change(self._seen.setdefault(order_id, order)))


class Live(Service):
    """Has snapshots that follow the table."""

    def snapshot(self) -> Service:
        return self


FEW: Any = {"customer": st.sampled_from(["ann", "bob"]), "amount": st.integers(0, 9)}


def run(machine: Any, examples: int, *, same: bool = False) -> None:
    """Run a machine; with the ``same`` examples each time where a fault must be found, so that it is.

    A fault is not shrunk, which would take longest.
    """
    phases = [hypothesis.Phase.generate]
    settings = hypothesis.settings(
        machine.TestCase.settings, max_examples=examples, phases=phases, database=None, derandomize=same
    )
    run_state_machine_as_test(machine, settings=settings)


@pytest.mark.parametrize("subject", [Order, Candle, "raw"])
def test_tables_hold_what_their_topics_say(subject: Any) -> None:
    run(table_machine(subject), examples=5)


def due_is_the_sum(service: Service, rows: list[Order]) -> bool:
    customers = {row.customer for row in rows}
    return sum(map(service.due, customers)) == sum(row.amount for row in rows)


def test_a_service_that_reads_and_writes_rightly_passes() -> None:
    run(table_machine(Order, subject=Service, check=due_is_the_sum, fields=FEW), examples=5)


@pytest.mark.parametrize(
    ("subject", "told"),
    [
        (OrderCache, "that was the row before the last record of this key"),
        (Forgetful, "the subject has written|an update is lost"),
        (Overwriting, "an update is lost"),
        (Live, "but the snapshot had"),
    ],
)
def test_what_is_wrong_is_found_and_the_script_fails_in_the_same_way(subject: Any, told: str) -> None:
    with pytest.raises(AssertionError, match=told) as raised:
        run(table_machine(Order, subject=subject, fields=FEW), examples=500, same=True)
    (script,) = (note for note in raised.value.__notes__ if "TestDriver" in note)
    compile(script, "<script>", "exec")
    with pytest.raises(AssertionError):
        exec(script, {})


def test_the_script_is_that_of_the_docs() -> None:
    machine: Any = table_machine(Order, subject=OrderCache)()
    machine.choose_keys([(0,)])
    machine.another_program_writes((0,), {"customer": "", "amount": 0}, read=True)
    with pytest.raises(AssertionError) as raised:
        machine.another_program_deletes((0,), read=True)
    machine.teardown()
    shown = "\n".join([f"AssertionError: {raised.value}", *raised.value.__notes__])
    document = (Path(__file__).parents[3] / "docs" / "testing.md").read_text(encoding="utf-8")
    assert shown.replace(__name__, "test_orders") in document


def test_what_does_not_fit_is_refused_with_a_remedy() -> None:
    wrong: list[tuple[Any, dict[str, Any], str]] = [
        (Order, {"subject": 3}, "subject=3 cannot be called: give what makes the service"),
        (Order, {"check": "x"}, "check='x' cannot be called: give a function"),
        (Order, {"max_age": -1}, "max_age=-1: give seconds, from 0 on"),
        (Order, {"window": 5}, "window=5, but it has no windows: leave it out"),
        (Candle, {"window": 7}, "has no window 7; declared: 1min, 5min"),
        (
            Order,
            {"fields": {"amnt": FEW["amount"]}},
            "fields= has 'amnt'; there are: amount, customer, order_id",
        ),
    ]
    for target, arguments, told in wrong:
        with pytest.raises(ConfigError, match=re.escape(told)):
            table_machine(target, **arguments)
    with pytest.raises(ConfigError, match=r"has no method that reads: give it get\(\*key\)"):
        run(table_machine(Order, subject=lambda _: object()), examples=1)
