"""``ensure_topics`` on the real broker, which creates no topic by itself."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource

from statestore import ConfigError, KafkaError, Key, StoreManager, TopicsReport, entity
from statestore.testing.kafka import Broker

pytestmark = pytest.mark.kafka

Managers = Callable[..., StoreManager]
NewTopic = Callable[[str], str]


def table_of(topic: str, **declared: Any) -> type[Any]:
    """Return an entity class of its own, of a table in ``topic``."""

    @entity(topic=topic, **declared)
    @dataclass(frozen=True)
    class Row:
        number: Annotated[int, Key]

    return Row


def stream_of(topic: str, **declared: Any) -> type[Any]:
    """Return an entity class of its own, of a stream in ``topic``."""

    @entity(topic=topic, **declared)
    @dataclass(frozen=True)
    class Line:
        text: str

    return Line


def config_of(broker: Broker, topic: str) -> dict[str, str]:
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    return {
        name: entry.value for name, entry in admin.describe_configs([resource])[resource].result(60).items()
    }


def test_what_is_missing_is_created_as_declared(broker: Broker, topic: NewTopic, managers: Managers) -> None:
    plain, rich, lines = topic("plain"), topic("rich"), topic("lines")
    entities = [
        table_of(plain),
        table_of(
            rich,
            partitions=3,
            compaction="compact,delete",
            retention=timedelta(days=2),
            config={"max.message.bytes": 5000, "message.timestamp.type": "LogAppendTime"},
        ),
        stream_of(lines, config={"retention.ms": -1}),
    ]
    manager = managers(broker)
    assert manager.ensure_topics(*entities) == TopicsReport(created=(plain, rich, lines))
    assert manager.ensure_topics(*entities, mode="error") == TopicsReport(existing=(plain, rich, lines))
    assert config_of(broker, plain)["cleanup.policy"] == "compact"
    assert config_of(broker, lines)["cleanup.policy"] == "delete"
    assert len(broker.end_offsets(rich)) == 3
    config = config_of(broker, rich)
    assert sorted(config["cleanup.policy"].split(",")) == ["compact", "delete"]
    assert (config["retention.ms"], config["max.message.bytes"]) == ("172800000", "5000")
    assert config["message.timestamp.type"] == "LogAppendTime"
    table = manager.bind(entities[0])
    table.add(entities[0](1), wait=True, timeout=60)


def test_the_settings_go_before_the_class(broker: Broker, topic: NewTopic, tmp_path: Path) -> None:
    name = topic("set")
    settings = {"topics": {name: {"partitions": 2, "config": {"segment.ms": "60000"}}}}
    row = table_of(name, partitions=1, config={"segment.ms": 1, "segment.jitter.ms": 7})
    with StoreManager(tmp_path / "state", broker.bootstrap, "memory", settings=settings) as manager:
        manager.ensure_topics(row)
        assert manager.ensure_topics(row, mode="error") == TopicsReport(existing=(name,))
    assert len(broker.end_offsets(name)) == 2
    config = config_of(broker, name)
    assert (config["segment.ms"], config["segment.jitter.ms"]) == ("60000", "7")


def test_every_difference_of_every_topic_is_one_report(
    broker: Broker, topic: NewTopic, managers: Managers, caplog: pytest.LogCaptureFixture
) -> None:
    one, other, fine, missing = topic("one"), topic("other"), topic("fine"), topic("missing")
    broker.create_topic(one, 2, {"cleanup.policy": "delete"})
    broker.create_topic(other, 1, {"cleanup.policy": "compact", "segment.ms": "1000"})
    broker.create_topic(fine, 7)
    entities = [
        table_of(one, partitions=4),
        table_of(other, config={"segment.ms": 2000, "max.message.bytes": 99}),
        table_of(fine),
        table_of(missing),
    ]
    manager = managers(broker)
    with pytest.raises(ConfigError) as error:
        manager.ensure_topics(*entities, mode="error")
    assert len(error.value.faults) == 4
    assert not broker.has_topic(missing), "it was created though the others are wrong"
    with caplog.at_level(logging.WARNING, "statestore.producer"):
        report = manager.ensure_topics(*entities)
    assert (report.created, report.existing) == ((missing,), (one, other, fine))
    assert [(unlike.topic, unlike.setting) for unlike in report.differences] == [
        (one, "partitions"),
        (one, "cleanup.policy"),
        (other, "segment.ms"),
        (other, "max.message.bytes"),
    ]
    (warning,) = [one.getMessage() for one in caplog.records if one.name == "statestore.producer"]
    assert all(str(unlike) in warning for unlike in report.differences)
    assert len(broker.end_offsets(one)) == 2, "it was altered"
    assert config_of(broker, other)["segment.ms"] == "1000", "it was altered"


def test_several_processes_create_at_once(broker: Broker, topic: NewTopic, managers: Managers) -> None:
    names = [topic(f"t{number}") for number in range(5)]
    made = [managers(broker, directory=str(number)) for number in range(4)]
    reports: list[TopicsReport] = []

    def ensure(manager: StoreManager) -> None:
        reports.append(manager.ensure_topics(*(table_of(name, partitions=2) for name in names), mode="error"))

    threads = [threading.Thread(target=ensure, args=(manager,)) for manager in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(name for report in reports for name in report.created) == sorted(names)
    assert [sorted(report.created + report.existing) for report in reports] == [sorted(names)] * 4


def test_what_the_broker_refuses_is_told_for_every_topic(
    broker: Broker, topic: NewTopic, managers: Managers
) -> None:
    good, wide, odd = topic("good"), topic("wide"), topic("odd")
    entities = [table_of(good), table_of(wide, replication=3), table_of(odd, config={"no.such": "x"})]
    with pytest.raises(KafkaError, match=r"wide.*replication factor.*odd.*no\.such"):
        managers(broker).ensure_topics(*entities)
    assert not broker.has_topic(wide)


def test_without_a_broker(managers: Managers) -> None:
    manager = managers("127.0.0.1:1", defaults={"request_timeout": 0.5})
    with pytest.raises(KafkaError, match=r"127\.0\.0\.1:1.*(refused|Timed out)"):
        manager.ensure_topics(table_of("orders"))


def test_topics_of_ours_are_created_in_lower_case(
    broker: Broker, topic: NewTopic, managers: Managers
) -> None:
    ours, theirs = topic("OURS"), topic("THEIRS")
    stores = managers(broker)
    with pytest.raises(ConfigError, match=rf"{ours}.*declare '{ours.lower()}', or ksql=True"):
        stores.ensure_topics(table_of(theirs, ksql=True), table_of(ours))
    assert stores.ensure_topics(table_of(theirs, ksql=True)).created == (theirs,)
    assert stores.ensure_topics(table_of(theirs)).existing == (theirs,)
