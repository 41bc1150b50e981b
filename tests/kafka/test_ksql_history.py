"""The history of deployments in its compacted topic, on a real broker."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict

import pytest

from statestore.deploy import Deployer, HistoryRecord, KafkaHistory, KsqlClient, Plan
from statestore.errors import ConfigError, DecodeError, KafkaError
from statestore.ksql.statements import SourceColumn, Statement
from statestore.testing.kafka import Broker
from statestore.testing.ksqldb import StandInKsqldb

pytestmark = pytest.mark.kafka(seconds=5)

COLUMNS = (SourceColumn("ID", "BIGINT", is_key=True),)
ORDERS = Statement(
    "CREATE STREAM IF NOT EXISTS ORDERS (ID BIGINT KEY) WITH (KAFKA_TOPIC='orders', VALUE_FORMAT='JSON');",
    "create stream",
    "ORDERS",
    (),
    COLUMNS,
    "orders",
)
COPY = Statement(
    "CREATE STREAM IF NOT EXISTS COPY WITH (KAFKA_TOPIC='copy') AS SELECT * FROM ORDERS EMIT CHANGES;",
    "create stream",
    "COPY",
    ("ORDERS",),
    COLUMNS,
    "copy",
    True,
)
MORE = Statement("INSERT INTO COPY SELECT * FROM ORDERS;", "insert into", "COPY", ("ORDERS",), (), None, True)

RECORD = HistoryRecord(
    application="shop",
    service="default_",
    cluster="kafka-1",
    object="ORDERS",
    base="ORDERS",
    version=1,
    action="create stream",
    sha256="0",
    statement=ORDERS.text,
    reads=(),
    topic="orders",
    state="applied",
    time="2026-01-01T00:00:00+00:00",
    user="me",
)


@pytest.fixture
def server() -> Iterator[StandInKsqldb]:
    with StandInKsqldb() as started:
        started.catalog.learn([COPY])
        yield started


def test_there_is_one_record_of_each_applied_statement(
    server: StandInKsqldb, broker: Broker, topic: Callable[[str], str]
) -> None:
    name = topic("migrations")
    plan = Plan.of("shop", [ORDERS, COPY, MORE])
    for _ in range(2):
        with (
            KsqlClient(server.url) as client,
            KafkaHistory({"bootstrap.servers": broker.bootstrap}, topic=name) as history,
        ):
            report = Deployer(client, history).apply(plan, dry_run=False)
    assert {one.outcome for one in report.steps} == {"skipped"}
    broker.force_compaction(name)
    last = {message.key(): message.value() for message in broker.read(name)}
    records = [json.loads(value) for value in last.values() if value is not None]
    assert [(one["statement"], one["state"]) for one in records] == [
        (one.text, "applied") for one in plan.statements
    ]
    for one in records:
        assert (one["application"], one["cluster"], one["version"]) == ("shop", "kafka-1", 1)
        assert one["time"]
        assert one["user"]


def test_a_topic_that_is_not_compacted_is_refused(broker: Broker, topic: Callable[[str], str]) -> None:
    name = topic("migrations")
    broker.create_topic(name, config={"cleanup.policy": "delete"})
    with (
        KafkaHistory({"bootstrap.servers": broker.bootstrap}, topic=name) as history,
        pytest.raises(ConfigError, match=r"cleanup\.policy is delete, but compact"),
    ):
        history.write(RECORD)


def test_reading_creates_no_topic(broker: Broker, topic: Callable[[str], str]) -> None:
    name = topic("migrations")
    with KafkaHistory({"bootstrap.servers": broker.bootstrap}, topic=name) as history:
        assert history.read() == []
    assert not broker.has_topic(name)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (b"{}", "application: Field required"),
        (b"{", "Invalid JSON"),
        (b"[]", "object"),
        (json.dumps(asdict(RECORD) | {"version": "x"}).encode(), "version: Input should be a valid integer"),
        (json.dumps(asdict(RECORD) | {"reads": "abc"}).encode(), "reads: Input should be a valid "),
        (json.dumps(asdict(RECORD) | {"sha256": {}}).encode(), "sha256: Input should be a valid string"),
    ],
)
def test_what_is_no_record_is_told_with_its_place(
    value: bytes, told: str, broker: Broker, topic: Callable[[str], str]
) -> None:
    name = topic("migrations")
    broker.create_topic(name)
    later = json.dumps(asdict(RECORD) | {"more": "of a later version"}).encode()
    broker.produce(name, [(b"k", later), (b"l", value)])
    with (
        KafkaHistory({"bootstrap.servers": broker.bootstrap}, topic=name) as history,
        pytest.raises(DecodeError, match=rf"partition 0, offset 1: not a record of deployments \(.*{told}"),
    ):
        history.read()


def test_a_broker_that_is_away_is_told() -> None:
    with (
        KafkaHistory({"bootstrap.servers": "127.0.0.1:1"}, request_timeout=2.0) as history,
        pytest.raises(KafkaError, match=r"Kafka at 127\.0\.0\.1:1"),
    ):
        history.read()
