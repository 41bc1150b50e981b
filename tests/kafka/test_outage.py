"""The broker goes away and comes back: tables say so, lose nothing and are ready again by themselves."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import Producer

from statestore import (
    KafkaError,
    Reason,
    State,
    StateChange,
    StoreManager,
    StoreNotReadyError,
    StorePositionError,
)
from statestore.changelog import binder
from statestore.testing.kafka import Broker, KafkaBroker, Proxy

pytestmark = pytest.mark.kafka(seconds=6)

Managers = Callable[..., StoreManager]
Fold = Callable[[Broker, str], dict[bytes, bytes]]
Eventually = Callable[..., None]

NOWHERE = "127.0.0.1:1"
BACKENDS = ("memory", "rocksdb", "lmdb")


@pytest.fixture(scope="module")
def shared_mortal() -> Iterator[KafkaBroker]:
    with KafkaBroker() as started:
        yield started


@pytest.fixture
def mortal(shared_mortal: KafkaBroker) -> KafkaBroker:
    """A broker that the test may kill; the next one finds it running again."""
    if shared_mortal.pid is None:
        shared_mortal.start()
    return shared_mortal


@pytest.fixture
def proxy(mortal: KafkaBroker) -> Iterator[Proxy]:
    """What is between the program and its broker: while it is cut, clients find the broker gone."""
    with Proxy(mortal) as made:
        yield made


@pytest.fixture
def name(request: pytest.FixtureRequest, mortal: KafkaBroker) -> str:
    made = request.node.name.replace("[", ".").replace("]", "")
    mortal.create_topic(made)
    return str(made)


def test_killed_while_following(
    mortal: KafkaBroker, name: str, managers: Managers, fold: Fold, eventually: Eventually
) -> None:
    mortal.produce(name, [(b"a", b"1"), (b"b", b"1")])
    tables = {kind: managers(mortal, directory=kind, backend=kind).bind(name) for kind in BACKENDS}
    for table in tables.values():
        table.wait_until_ready(60)
    mortal.kill()
    for backend, table in tables.items():
        eventually(lambda table=table: table.reason is Reason.STALLED)
        assert table.get(b"a") == b"1", f"{backend}: without max_staleness it goes on being read"
        assert table.health().cause, backend
    mortal.start()
    mortal.produce(name, [(b"a", b"2"), (b"b", None)])
    for backend, table in tables.items():
        eventually(lambda table=table: table.get(b"a") == b"2" and table.reason is Reason.NONE)
        assert dict(table.scan()) == fold(mortal, name), backend
        assert table.is_ready, backend


def test_cut_in_the_middle_of_a_restore(
    mortal: KafkaBroker,
    proxy: Proxy,
    name: str,
    managers: Managers,
    fold: Fold,
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mortal.produce(name, [(b"%06d" % i, b"x" * 900) for i in range(60_000)])
    # A small queue and small reads: the restore takes long enough to be interrupted, and shows that it began.
    whole = binder.restore_limits
    monkeypatch.setattr(binder, "restore_limits", lambda memory: replace(whole(memory), records=1_000))
    kafka = {"bootstrap.servers": proxy.bootstrap, "fetch.message.max.bytes": 50_000}
    kafka |= {"queued.max.messages.kbytes": 1024}
    manager = managers(mortal, kafka=kafka)
    table = manager.bind(name)
    eventually(lambda: table.health().records)
    proxy.cut()
    eventually(lambda: table.reason is Reason.STALLED)
    assert table.state is State.RESTORING
    assert table.lag is not None
    assert 0 < table.lag < 60_000
    with pytest.raises(StoreNotReadyError) as refused:
        table.get(b"000000")
    assert refused.value.reason == "stalled"
    proxy.heal()
    table.wait_until_ready(60)
    assert dict(table.scan()) == fold(mortal, name)
    assert table.health().records == 60_000, "records were applied twice"


def test_staleness_is_an_event_and_passes(
    mortal: KafkaBroker, proxy: Proxy, name: str, managers: Managers, eventually: Eventually
) -> None:
    mortal.produce(name, [(b"a", b"1")])
    table = managers(proxy.bootstrap).bind(name, max_staleness=1.0)
    table.wait_until_ready(60)
    seen: list[StateChange] = []
    table.on_state_change(seen.append)
    proxy.cut()
    eventually(lambda: table.state is State.LAGGING)
    with pytest.raises(StoreNotReadyError) as refused:
        table.get(b"a")
    assert refused.value.reason == "stalled"
    assert table.get(b"a", allow_stale=True) == b"1"
    proxy.heal()
    table.wait_until_ready(60)
    eventually(lambda: len(seen) >= 3 and seen[-1].state is State.READY)
    # A busy machine may have more such events.
    assert [event.state for event in seen[:3]] == [State.READY, State.LAGGING, State.READY]
    assert "max_staleness=1 s" in seen[1].cause


def test_closing_without_the_broker(
    mortal: KafkaBroker, proxy: Proxy, name: str, managers: Managers, eventually: Eventually
) -> None:
    mortal.produce(name, [(b"a", b"1")])
    ready, restoring = (managers(proxy.bootstrap, directory=one) for one in ("ready", "restoring"))
    tables = [manager.bind(name) for manager in (ready, restoring)]
    for table in tables:
        table.wait_until_ready(60)
    proxy.cut()
    for table in tables:
        eventually(lambda table=table: table.reason is Reason.STALLED)
    tables[1].restart()
    assert not tables[1].is_ready
    for manager in (ready, restoring):
        before = threading.active_count()
        manager.close()  # which the fixture gives a minute
        assert threading.active_count() < before


def test_a_bind_while_the_broker_is_away(proxy: Proxy, name: str, managers: Managers) -> None:
    manager = managers(proxy.bootstrap)
    manager.bind(name).wait_until_ready(60)
    proxy.cut()
    with pytest.raises(KafkaError, match=proxy.bootstrap):
        manager.bind("another")


def test_the_first_bind_without_a_broker(managers: Managers) -> None:
    began = time.monotonic()
    manager = managers(NOWHERE, defaults={"request_timeout": 600.0})
    for _ in range(2):  # and again, with nothing left of the first
        with pytest.raises(KafkaError, match=f"{NOWHERE}.*refused") as failure:
            manager.bind("orders")
        assert failure.value.address == NOWHERE
        assert failure.value.cause
    assert time.monotonic() - began < 60, "at once, not when the time for an answer is over"


def test_constructing_and_opening_touch_no_network(managers: Managers) -> None:
    manager = managers(NOWHERE)
    manager.open("local").put(b"k", b"v")
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("statestore")]


def test_a_lazy_bind_waits_for_the_broker(
    mortal: KafkaBroker, proxy: Proxy, name: str, managers: Managers, eventually: Eventually
) -> None:
    mortal.produce(name, [(b"a", b"1")])
    proxy.cut()
    began = time.monotonic()
    table = managers(proxy.bootstrap, connect="lazy", defaults={"request_timeout": 120.0}).bind(name)
    assert time.monotonic() - began < 60, "it blocked"
    eventually(lambda: table.reason is Reason.STALLED and table.health().cause)
    with pytest.raises(StoreNotReadyError) as refused:
        table.get(b"a")
    assert refused.value.lag is None, "unknown is not 0"
    assert table.lag is None
    proxy.heal()
    table.wait_until_ready(60)
    assert table.get(b"a") == b"1"


def test_an_unknown_topic_is_told_at_once(broker: Broker, managers: Managers) -> None:
    began = time.monotonic()
    manager = managers(broker, defaults={"request_timeout": 600.0})
    with pytest.raises(KafkaError, match=r"no-such-topic.*[Uu]nknown topic") as failure:
        manager.bind("no-such-topic")
    assert failure.value.address == broker.bootstrap
    assert time.monotonic() - began < 60
    assert not broker.has_topic("no-such-topic"), "binding created it"


def test_a_lazy_bind_waits_for_its_topic_alone(
    broker: Broker, topic: Callable[[str], str], managers: Managers, eventually: Eventually
) -> None:
    there, coming = topic("there"), topic("coming")
    broker.create_topic(there)
    manager = managers(broker, connect="lazy")
    waiting = manager.bind(coming)
    ready = manager.bind(there)
    ready.wait_until_ready(60)
    eventually(lambda: "nknown topic" in waiting.health().cause)
    assert waiting.reason is Reason.CONNECTING
    assert ready.reason is Reason.NONE, "the broker is there: another's topic is missing"
    with pytest.raises(StoreNotReadyError, match="nknown topic"):
        waiting.to_list()
    broker.create_topic(coming)
    waiting.wait_until_ready(60)
    assert waiting.to_list() == []


# A broker that comes back with another log, or hangs


def saved(mortal: KafkaBroker) -> Callable[[], None]:
    """Keep what the broker has on disk; return what has it come back with that, in a later leader epoch."""
    data, copy = mortal._home / "data", mortal._home / "copy"
    mortal.stop()
    shutil.copytree(data, copy)
    mortal.start()

    def lose() -> None:
        mortal.stop()
        shutil.rmtree(data)
        copy.rename(data)
        mortal.start()
        mortal.restart()  # only then its epoch is past the one that was lost

    return lose


def bound_rows(manager: StoreManager, topic: str, **options: Any) -> dict[bytes, bytes]:
    table = manager.bind(topic, **options)
    table.wait_until_ready(60)
    return dict(table.scan())


def test_records_that_the_broker_lost(
    mortal: KafkaBroker, name: str, managers: Managers, fold: Fold, eventually: Eventually
) -> None:
    """It took others at the same offsets: no mirror goes on past them, whatever it did meanwhile."""
    equal, quiet = f"{name}.equal", f"{name}.quiet"
    for topic in (equal, quiet):
        mortal.create_topic(topic)
    for topic in (name, equal, quiet):
        mortal.produce(topic, [(b"k%03d" % i, b"common") for i in range(100)])
    lose = saved(mortal)
    for topic in (name, equal):
        mortal.produce(topic, [(b"k%03d" % i, b"lost") for i in range(55)])
    consumer: dict[str, Any] = {"bootstrap.servers": mortal.bootstrap, "stats_cb": print}
    lmdb: dict[str, Any] = {"backend": "lmdb"}
    readers = {"native": mortal.bootstrap, "consumer": consumer}
    for reader, kafka in readers.items():
        with managers(mortal, directory=f"away {reader}", kafka=kafka, **lmdb) as manager:
            for topic in (name, equal, quiet):
                manager.bind(topic).wait_until_ready(60)
    living = {what: managers(mortal, directory=what).bind(name) for what in ("follows", "paused", "stopped")}
    for table in living.values():
        table.wait_until_ready(60)
    living["paused"].pause()
    living["stopped"].stop()
    lose()
    mortal.produce(name, [(b"k%03d" % i, b"new") for i in range(60)])
    mortal.produce(equal, [(b"k%03d" % i, b"new") for i in range(55)])

    eventually(lambda: living["follows"].state is State.FAILED)
    living["paused"].resume()
    living["stopped"].restart()
    for table in living.values():
        eventually(lambda table=table: table.state is State.FAILED)
        with pytest.raises(StorePositionError, match="truncation detected at offset 155"):
            table.to_list()
    for reader, kafka in readers.items():
        away = {"directory": f"away {reader}", "kafka": kafka, **lmdb}
        manager = managers(mortal, **away)
        for topic in (name, equal):
            with pytest.raises(StorePositionError, match="cut off before the stored position 155"):
                manager.bind(topic).wait_until_ready(60)
        assert bound_rows(manager, quiet) == fold(mortal, quiet), "only its leader is another"
        manager.close()
        assert bound_rows(managers(mortal, **away), name, on_missing="rebuild") == fold(mortal, name)


def test_a_tail_without_records_is_not_taken_for_a_lost_one(
    mortal: KafkaBroker, name: str, managers: Managers, fold: Fold, eventually: Eventually
) -> None:
    """The end of an aborted transaction has a later epoch than the last record."""
    mortal.produce(name, [(b"k%03d" % i, b"common") for i in range(100)])
    mortal.restart()
    producer = Producer({"bootstrap.servers": mortal.bootstrap, "transactional.id": name})
    producer.init_transactions(60)
    producer.begin_transaction()
    producer.produce(name, b"aborted", b"k000")
    producer.flush(60)
    producer.abort_transaction(60)
    for _ in range(2):
        with managers(mortal, backend="lmdb") as manager:
            table = manager.bind(name)
            table.wait_until_ready(60)
            eventually(lambda table=table: table.health().positions == {0: 102})
            assert dict(table.scan()) == fold(mortal, name)


def test_a_broker_that_hangs_at_the_first_contact(
    mortal: KafkaBroker, name: str, managers: Managers, fold: Fold, eventually: Eventually
) -> None:
    """A time-out is no answer: the id is asked for until it is told, and before that nothing is applied."""
    mortal.produce(name, [(b"old%d" % i, b"old") for i in range(50)])
    with managers(mortal, backend="lmdb") as manager:
        table = manager.bind(name)
        table.wait_until_ready(60)
        eventually(lambda: table.health().topic_id != "unknown")
    mortal.recreate_topic(name)
    mortal.produce(name, [(b"new%d" % i, b"new") for i in range(80)])
    again = managers(mortal, backend="lmdb").bind(name)
    fresh = managers(mortal, directory="fresh").bind(name)
    assert mortal.pid is not None
    os.kill(mortal.pid, signal.SIGSTOP)
    try:
        time.sleep(binder.IDENTITY_TIMEOUT + 0.5)
        states = again.state
    finally:
        os.kill(mortal.pid, signal.SIGCONT)
    assert states in (State.RESTORING, State.FAILED)
    with pytest.raises(StorePositionError, match="created again"):
        again.wait_until_ready(60)
    fresh.wait_until_ready(60)
    assert dict(fresh.scan()) == fold(mortal, name)
    eventually(lambda: "unknown" not in (fresh.health().topic_id, fresh.health().cleanup_policy))
