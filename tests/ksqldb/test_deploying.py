"""Deploying to a real ksqlDB server."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pytest

from statestore.deploy import Deployer, KsqlClient, MemoryHistory, Plan
from statestore.ksql.statements import SourceColumn, Statement

pytestmark = pytest.mark.ksqldb

ID = SourceColumn("ID", "BIGINT", is_key=True)
AMOUNT = SourceColumn("AMOUNT", "DECIMAL(9, 2)")


@pytest.fixture
def client() -> Iterator[KsqlClient]:
    with KsqlClient(os.environ["STATESTORE_TEST_KSQLDB"]) as made:
        yield made


@pytest.fixture
def name() -> str:
    return f"T{uuid.uuid4().hex[:8]}".upper()


def statements(name: str, least: int = 1) -> list[Statement]:
    source = (
        f"CREATE STREAM IF NOT EXISTS {name} (ID BIGINT KEY, AMOUNT DECIMAL(9, 2)) "
        f"WITH (KAFKA_TOPIC='{name.lower()}', VALUE_FORMAT='JSON', PARTITIONS=1);"
    )
    large = (
        f"CREATE STREAM IF NOT EXISTS {name}_LARGE WITH (KAFKA_TOPIC='{name.lower()}_large') AS "
        f"SELECT * FROM {name} WHERE AMOUNT > {least} EMIT CHANGES;"
    )
    more = f"INSERT INTO {name}_LARGE SELECT * FROM {name} WHERE AMOUNT < 0;"
    counts = (
        f"CREATE TABLE IF NOT EXISTS {name}_COUNTS WITH (KAFKA_TOPIC='{name.lower()}_counts') AS SELECT ID, "
        f"COUNT(*) AS N FROM {name}_LARGE WINDOW TUMBLING (SIZE 1 MINUTE, GRACE PERIOD 1 SECOND) GROUP BY ID "
        "EMIT FINAL;"
    )
    counted = (ID, SourceColumn("N", "BIGINT"))
    topic = name.lower()
    return [
        Statement(source, "create stream", name, (), (ID, AMOUNT), topic),
        Statement(large, "create stream", f"{name}_LARGE", (name,), (ID, AMOUNT), f"{topic}_large", True),
        Statement(more, "insert into", f"{name}_LARGE", (name,), (), None, True),
        Statement(
            counts, "create table", f"{name}_COUNTS", (f"{name}_LARGE",), counted, f"{topic}_counts", True
        ),
    ]


def test_a_deployment_from_creation_to_retirement(client: KsqlClient, name: str) -> None:
    history = MemoryHistory()
    plan = Plan.of("tests", statements(name))
    assert client.is_healthy()
    assert client.info().release > (0, 0)
    report = Deployer(client, history).apply(plan, dry_run=False)
    assert [one.outcome for one in report.steps] == ["created", "created", "inserted", "created"]
    report = Deployer(client, history).apply(plan, dry_run=False)
    assert {one.outcome for one in report.steps} == {"skipped"}
    assert {one.state for one in Deployer(client, history).status(plan)} == {"current"}
    report = Deployer(client, MemoryHistory()).apply(
        Plan.of("others", [one for one in statements(name) if one.action != "insert into"]), dry_run=False
    )
    assert {one.outcome for one in report.steps} == {"found"}
    changed = Plan.of("tests", statements(name, least=2))
    report = Deployer(client, history).apply(changed, dry_run=False)
    assert [one.object for one in report.steps if one.outcome != "skipped"] == [
        f"{name}_LARGE_V2",
        f"{name}_LARGE_V2",
        f"{name}_COUNTS_V2",
    ]
    for each in ("_COUNTS", "_COUNTS_V2", "_LARGE", "_LARGE_V2", ""):
        Deployer(client, history).retire("tests", name + each, dry_run=False, allow_destructive=True)
    assert not [one for one in client.sources() if one.startswith(name)]


def test_a_query_gives_its_rows(client: KsqlClient, name: str) -> None:
    deployer = Deployer(client, MemoryHistory())
    deployer.apply(Plan.of("tests", statements(name)[:1]), dry_run=False)
    assert list(client.query(f"SELECT * FROM {name} EMIT CHANGES LIMIT 0;")) == []
    deployer.retire("tests", name, dry_run=False, allow_destructive=True)
