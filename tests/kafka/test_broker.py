"""The broker for tests does what the tests of the mirror take for granted."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from statestore.testing.kafka import FILLER_KEY, Broker, KafkaBroker

pytestmark = pytest.mark.kafka(seconds=5)

NewTopic = Callable[..., str]


def pairs(broker: Broker, topic: str, partition: int = 0) -> list[tuple[object, object]]:
    return [(message.key(), message.value()) for message in broker.read(topic, partition)]


def test_records_survive_restart_and_kill(own_broker: KafkaBroker) -> None:
    address = own_broker.bootstrap
    own_broker.create_topic("t", partitions=2)
    own_broker.produce("t", [(b"a", b"1")], partition=1)
    own_broker.restart()
    own_broker.produce("t", [(b"b", b"2")], partition=1)
    killed = own_broker.pid
    own_broker.kill()
    own_broker.start()
    assert own_broker.pid != killed
    assert own_broker.bootstrap == address
    assert pairs(own_broker, "t", 0) == []
    assert pairs(own_broker, "t", 1) == [(b"a", b"1"), (b"b", b"2")]


def test_truncation_moves_the_start(broker: Broker, topic: NewTopic) -> None:
    name = topic()
    broker.create_topic(name, config={"cleanup.policy": "compact,delete"})
    broker.produce(name, [(b"%d" % i, b"") for i in range(10)])
    broker.truncate(name, 0, before_offset=7)
    assert broker.start_offsets(name) == {0: 7}
    assert broker.end_offsets(name) == {0: 10}
    assert [key for key, _ in pairs(broker, name)] == [b"7", b"8", b"9"]


def test_recreated_topic_is_another(broker: Broker, topic: NewTopic) -> None:
    name = topic()
    broker.create_topic(name)
    broker.produce(name, [(b"k", b"v")])
    first = broker.topic_id(name)
    broker.recreate_topic(name, partitions=3)
    assert broker.topic_id(name) != first
    assert broker.end_offsets(name) == {0: 0, 1: 0, 2: 0}


def test_topics_are_not_created_by_writing(broker: Broker, topic: NewTopic) -> None:
    name = topic()
    assert not broker.has_topic(name)
    with pytest.raises(KeyError, match=name):
        broker.end_offsets(name)


def test_compaction_removes_superseded_values_then_tombstones(broker: Broker, topic: NewTopic) -> None:
    name = topic()
    broker.create_topic(name, partitions=2, config={"cleanup.policy": "compact", "delete.retention.ms": "0"})
    broker.produce(name, [(b"kept", b"old"), (b"gone", b"old"), (b"kept", b"new"), (b"gone", None)])
    broker.force_compaction(name)
    records = pairs(broker, name)
    assert (b"kept", b"new") in records
    assert not {(b"kept", b"old"), (b"gone", b"old")} & set(records)
    broker.force_compaction(name, tombstones=True)
    records = pairs(broker, name)
    assert [record for record in records if record[0] != FILLER_KEY] == [(b"kept", b"new")]
    assert broker.end_offsets(name)[1] == 0, "a partition without records stays empty"


def test_compaction_that_cannot_be_is_told(broker: Broker, topic: NewTopic) -> None:
    name = topic()
    broker.create_topic(name, config={"cleanup.policy": "delete"})
    broker.produce(name, [(b"k", b"1"), (b"k", b"2")])
    with pytest.raises(TimeoutError, match="is it compacted"):
        broker.force_compaction(name, timeout=0.5)


def test_broker_dies_with_the_process_that_started_it(
    tmp_path: Path, eventually: Callable[..., None]
) -> None:
    program = (
        "import time; from statestore.testing.kafka import KafkaBroker\n"
        "broker = KafkaBroker(); broker.start(); print(broker.bootstrap, flush=True); time.sleep(600)"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-P", "-c", program], stdout=subprocess.PIPE, env=environment
    ) as parent:
        assert parent.stdout is not None
        host, _, port = parent.stdout.readline().decode().strip().partition(":")
        parent.send_signal(signal.SIGKILL)

    def listens() -> bool:
        try:
            socket.create_connection((host, int(port)), timeout=60).close()
        except OSError:
            return False
        return True

    eventually(lambda: not list(tmp_path.iterdir()))
    eventually(lambda: not listens())
