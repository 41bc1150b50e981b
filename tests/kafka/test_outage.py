"""The broker goes away and comes back: tables say so, lose nothing and are ready again by themselves."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from statestore import KafkaError, Reason, State, StateChange, StoreManager, StoreNotReadyError
from statestore.changelog import binder
from statestore.testing.kafka import Broker, KafkaBroker

pytestmark = pytest.mark.kafka

Managers = Callable[..., StoreManager]
Fold = Callable[[Broker, str], dict[bytes, bytes]]
Eventually = Callable[..., None]

NOWHERE = "127.0.0.1:1"


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
def name(request: pytest.FixtureRequest, mortal: KafkaBroker) -> str:
    made = request.node.name.replace("[", ".").replace("]", "")
    mortal.create_topic(made)
    return str(made)


def test_killed_while_following(
    backend: str, mortal: KafkaBroker, name: str, managers: Managers, fold: Fold, eventually: Eventually
) -> None:
    mortal.produce(name, [(b"a", b"1"), (b"b", b"1")])
    table = managers(mortal, backend=backend).bind(name)
    table.wait_until_ready(60)
    mortal.kill()
    eventually(lambda: table.reason is Reason.STALLED)
    assert table.get(b"a") == b"1", "without max_staleness it goes on being read"
    assert table.health().cause
    mortal.start()
    mortal.produce(name, [(b"a", b"2"), (b"b", None)])
    eventually(lambda: table.get(b"a") == b"2" and table.reason is Reason.NONE)
    assert dict(table.scan()) == fold(mortal, name)
    assert table.is_ready


def test_killed_in_the_middle_of_a_restore(
    mortal: KafkaBroker,
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
    kafka = {"bootstrap.servers": mortal.bootstrap, "fetch.message.max.bytes": 50_000}
    kafka |= {"queued.max.messages.kbytes": 1024}
    manager = managers(mortal, kafka=kafka)
    table = manager.bind(name)
    eventually(lambda: table.health().records)
    mortal.kill()
    eventually(lambda: table.reason is Reason.STALLED)
    assert table.state is State.RESTORING
    assert table.lag is not None
    assert 0 < table.lag < 60_000
    with pytest.raises(StoreNotReadyError) as refused:
        table.get(b"000000")
    assert refused.value.reason == "stalled"
    mortal.start()
    table.wait_until_ready(60)
    assert dict(table.scan()) == fold(mortal, name)
    assert table.health().records == 60_000, "records were applied twice"


def test_staleness_is_an_event_and_passes(
    mortal: KafkaBroker, name: str, managers: Managers, eventually: Eventually
) -> None:
    mortal.produce(name, [(b"a", b"1")])
    table = managers(mortal).bind(name, max_staleness=1.0)
    table.wait_until_ready(60)
    seen: list[StateChange] = []
    table.on_state_change(seen.append)
    mortal.kill()
    eventually(lambda: table.state is State.LAGGING)
    with pytest.raises(StoreNotReadyError) as refused:
        table.get(b"a")
    assert refused.value.reason == "stalled"
    assert table.get(b"a", allow_stale=True) == b"1"
    mortal.start()
    table.wait_until_ready(60)
    eventually(lambda: len(seen) >= 3 and seen[-1].state is State.READY)
    # A busy machine may have more such events.
    assert [event.state for event in seen[:3]] == [State.READY, State.LAGGING, State.READY]
    assert "max_staleness=1 s" in seen[1].cause


@pytest.mark.parametrize("ready_first", [True, False], ids=["ready", "restoring"])
def test_closing_without_the_broker(
    ready_first: bool, mortal: KafkaBroker, name: str, managers: Managers, eventually: Eventually
) -> None:
    mortal.produce(name, [(b"a", b"1")])
    manager = managers(mortal)
    table = manager.bind(name)
    table.wait_until_ready(60)
    mortal.kill()
    eventually(lambda: table.reason is Reason.STALLED)
    if not ready_first:
        table.restart()
        assert not table.is_ready
    before = threading.active_count()
    manager.close()  # which the fixture gives a minute
    assert threading.active_count() < before


def test_a_bind_while_the_broker_is_away(mortal: KafkaBroker, name: str, managers: Managers) -> None:
    manager = managers(mortal)
    manager.bind(name).wait_until_ready(60)
    mortal.kill()
    with pytest.raises(KafkaError, match=mortal.bootstrap):
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
    mortal: KafkaBroker, name: str, managers: Managers, eventually: Eventually
) -> None:
    mortal.produce(name, [(b"a", b"1")])
    mortal.kill()
    began = time.monotonic()
    table = managers(mortal, connect="lazy", defaults={"request_timeout": 120.0}).bind(name)
    assert time.monotonic() - began < 60, "it blocked"
    eventually(lambda: table.reason is Reason.STALLED and table.health().cause)
    with pytest.raises(StoreNotReadyError) as refused:
        table.get(b"a")
    assert refused.value.lag is None, "unknown is not 0"
    assert table.lag is None
    mortal.start()
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
