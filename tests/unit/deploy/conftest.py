"""A server, statements of a small application, and deployers of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from statestore.deploy import Deployer, History, KsqlClient, MemoryHistory, Plan
from statestore.ksql.statements import SourceColumn, Statement
from statestore.testing.ksqldb import StandInKsqldb

ID = SourceColumn("ID", "BIGINT", is_key=True)
CUSTOMER = SourceColumn("CUSTOMER", "STRING", is_key=True)
AMOUNT = SourceColumn("AMOUNT", "DECIMAL(9, 2)")
TOTAL = SourceColumn("TOTAL", "DECIMAL(9, 2)")


def orders(*more: str) -> Statement:
    """A stream over a topic that exists."""
    columns = (ID, AMOUNT, *(SourceColumn(name, "STRING") for name in more))
    listed = ", ".join(f"{one.name} {one.type}{' KEY' if one.is_key else ''}" for one in columns)
    text = f"CREATE STREAM IF NOT EXISTS ORDERS ({listed}) WITH (KAFKA_TOPIC='orders', VALUE_FORMAT='JSON');"
    return Statement(text, "create stream", "ORDERS", (), columns, "orders")


def large(least: int = 100) -> Statement:
    text = (
        "CREATE STREAM IF NOT EXISTS LARGE WITH (KAFKA_TOPIC='large') AS SELECT * FROM ORDERS "
        f"WHERE AMOUNT > {least} EMIT CHANGES;"
    )
    return Statement(text, "create stream", "LARGE", ("ORDERS",), (ID, AMOUNT), "large", True)


def totals(emit: str = "CHANGES") -> Statement:
    text = (
        "CREATE TABLE IF NOT EXISTS TOTALS WITH (KAFKA_TOPIC='totals') AS SELECT CUSTOMER, "
        f"SUM(AMOUNT) AS TOTAL FROM LARGE GROUP BY CUSTOMER EMIT {emit};"
    )
    return Statement(text, "create table", "TOTALS", ("LARGE",), (CUSTOMER, TOTAL), "totals", True)


def returns(reason: str = "bad") -> Statement:
    text = f"INSERT INTO LARGE SELECT * FROM ORDERS WHERE AMOUNT < 0 AND REASON = '{reason}';"
    return Statement(text, "insert into", "LARGE", ("ORDERS",), (), None, True)


@pytest.fixture
def server() -> Iterator[StandInKsqldb]:
    with StandInKsqldb() as started:
        started.catalog.learn([orders(), large(), totals()])
        yield started


@pytest.fixture
def history() -> MemoryHistory:
    return MemoryHistory()


@pytest.fixture
def deployer(server: StandInKsqldb, history: History) -> Iterator[Callable[..., Deployer]]:
    """Make deployers of the server, as if each was a process of its own: ``deployer(timeout=1)``."""
    clients: list[KsqlClient] = []

    def make(**arguments: Any) -> Deployer:
        clients.append(KsqlClient(server.url, **{"wait": lambda _: None, **arguments}))
        return Deployer(clients[-1], history)

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def plan_of() -> Callable[..., Plan]:
    """Make the plan of an application named ``shop``."""
    return lambda *statements: Plan.of("shop", statements)


@pytest.fixture
def shop() -> Any:
    """The statements, each made by a call: ``shop.orders("REASON")``, ``shop.large(200)``."""
    return SimpleNamespace(orders=orders, large=large, totals=totals, returns=returns)
