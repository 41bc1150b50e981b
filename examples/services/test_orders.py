"""Tests of a service that reads orders, with a broker and a mirror of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from orders import Order

from statestore import F, StoreManager, Table
from statestore.testing.kafka import Broker, KafkaBroker, external_broker


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    """The broker that STATESTORE_TEST_KAFKA names, or one of our own: it needs Java 17, and Maven once."""
    if (running := external_broker()) is not None:
        yield running
        return
    with KafkaBroker() as started:
        yield started


@pytest.fixture
def orders(broker: Broker, tmp_path: Path) -> Iterator[Table[Order]]:
    """The table, on an empty topic; the test writes what it needs."""
    if broker.has_topic("orders"):
        broker.delete_topic("orders")
    broker.create_topic("orders")
    with StoreManager(tmp_path / "state", kafka=broker.bootstrap, backend="memory") as stores:
        yield stores.bind(Order)


def total_of(orders: Table[Order], customer: str) -> float:
    """What is tested here."""
    return sum(order.amount for order in orders.where(F.customer == customer))


def test_the_total_of_a_customer(orders: Table[Order]) -> None:
    orders.add_all([Order(1, "ada", 10.0), Order(2, "alan", 5.0), Order(3, "ada", 2.5)], wait=True)
    assert total_of(orders, "ada") == 12.5
    orders.delete(3, wait=True)
    assert total_of(orders, "ada") == 10.0


def test_a_customer_without_orders(orders: Table[Order]) -> None:
    orders.wait_until_ready(timeout=30)
    assert total_of(orders, "grace") == 0
