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
from statestore.testing.machine import steps


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
FEWER = {**FEW, "order_id": st.integers(1, 2)}


def run(machine: Any, examples: int, *, same: bool = False) -> None:
    """Run a machine; with the ``same`` examples each time where a fault must be found, so that it is."""
    settings = hypothesis.settings(
        machine.TestCase.settings, max_examples=examples, database=None, derandomize=same
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
    ("subject", "told", "most", "fields"),
    [
        (OrderCache, "that was the row before the last record of this key", 6, FEWER),
        (Forgetful, "the subject has written|an update is lost", 4, FEWER),
        (Overwriting, "an update is lost", 5, FEWER),
        (Live, "but the snapshot had", 6, FEW),
    ],
)
def test_what_is_wrong_is_found_and_the_few_steps_of_the_script_fail_in_the_same_way(
    subject: Any, told: str, most: int, fields: Any
) -> None:
    with pytest.raises(AssertionError, match=told) as raised:
        run(table_machine(Order, subject=subject, fields=fields), examples=200, same=True)
    (script,) = (note for note in raised.value.__notes__ if "TestDriver" in note)
    lines = script.partition("    subject = ")[2].splitlines()[1:]
    assert len(lines) <= most, script
    compile(script, "<script>", "exec")
    with pytest.raises(AssertionError):
        exec(script, {})


def failure_after_many_steps(subject: Any) -> tuple[Any, Exception]:
    """Return a machine and how it fails after steps that have nothing to do with it."""
    machine: Any = table_machine(Order, subject=subject)()
    machine.choose_keys(pool=[(0,), (1,)])
    row = {"customer": "", "amount": 0}
    machine.another_program_writes(key=(1,), values=row, read=True)
    machine.a_transaction(
        writes=[((1,), None), ((0,), row), ((1,), row)], seen=(1,), commit=True, at_once=True
    )
    machine.time_passes(seconds=1)
    machine.the_subject_gets(key=(0,))
    machine.the_topic_is_compacted(tombstones=True)
    machine.another_program_writes(key=(1,), values={"customer": "", "amount": 1}, read=False)
    machine.the_subject_gets(key=(1,))
    with pytest.raises(AssertionError) as raised:
        machine.another_program_deletes(key=(0,), read=True)
    machine.teardown()
    return machine, raised.value


def test_the_script_is_that_of_the_docs() -> None:
    _, error = failure_after_many_steps(OrderCache)
    shown = "\n".join([f"AssertionError: {error}", *error.__notes__])
    document = (Path(__file__).parents[3] / "docs" / "testing.md").read_text(encoding="utf-8")
    assert shown.replace(__name__, "test_orders") in document


def test_so_many_replays_at_most_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[OrderCache] = []

    def counted(stores: StoreManager) -> OrderCache:
        made.append(OrderCache(stores))
        return made[-1]

    monkeypatch.setattr(steps, "MOST_REPLAYS", 3)
    machine, error = failure_after_many_steps(counted)
    assert len(made) == 1 + 3
    assert error.__notes__
    machine = type(machine)()
    machine.choose_keys(pool=[(0,)])
    machine.another_program_writes(key=(0,), values={"customer": "", "amount": 0}, read=True)
    with pytest.raises(AssertionError) as raised:
        machine.another_program_deletes(key=(0,), read=True)
    machine.teardown()
    assert raised.value is error, "a failure of the same kind is not reduced once more"
    assert len(made) == 1 + 3 + 1


def test_a_failure_that_does_not_come_again_is_raised_as_it_is() -> None:
    services: list[OrderCache] = []

    def once(stores: StoreManager) -> Any:
        services.append(OrderCache(stores))
        return services[0] if len(services) == 1 else stores.bind(Order)

    _, error = failure_after_many_steps(once)
    assert "driver.compact" in error.__notes__[0]


def test_hypothesis_does_not_shrink_unless_asked_to() -> None:
    phases = table_machine(Order).TestCase.settings.phases
    assert hypothesis.Phase.generate in phases
    assert hypothesis.Phase.shrink not in phases


def test_what_does_not_fit_is_refused_with_a_remedy() -> None:
    wrong: list[tuple[Any, dict[str, Any], str]] = [
        (Order, {"subject": 3}, "subject=3 cannot be called: give what makes the service"),
        (Order, {"check": "x"}, "check='x' cannot be called: give a function"),
        (Order, {"max_age": -1}, "max_age=-1: give seconds, from 0 on"),
        (Order, {"backend": "nope"}, "nope"),
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
