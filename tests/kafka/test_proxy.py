"""The network between a program and its broker fails, and is there again: nothing is lost or doubled."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import make_dataclass
from typing import Annotated, Any

import pytest
from confluent_kafka import Producer
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from statestore import Key, Reason, State, StoreManager, StoreNotReadyError, entity
from statestore.testing.kafka import Broker, Direction, Proxy

pytestmark = pytest.mark.kafka(seconds=2)

Managers = Callable[..., StoreManager]
Fold = Callable[[Broker, str], dict[bytes, bytes]]
Eventually = Callable[..., None]

DIRECTIONS: tuple[Direction, ...] = ("requests", "responses")


@pytest.fixture
def name(broker: Broker, topic: Callable[[str], str]) -> str:
    made = topic("t")
    broker.create_topic(made)
    return made


def points(counts: dict[str, int]) -> list[tuple[Direction, int]]:
    """Return after how many bytes of each direction to break what took ``counts`` of them in all."""
    found: list[tuple[Direction, int]] = []
    for direction in DIRECTIONS:
        whole = counts[direction]
        found += [(direction, count) for count in (whole // 2, whole)]
    return found


def test_a_connection_that_is_silent_is_told_and_passes(
    broker: Broker, proxy: Proxy, name: str, managers: Managers, fold: Fold, eventually: Eventually
) -> None:
    """Nothing is refused and nothing answers, as where a firewall drops packets."""
    broker.produce(name, [(b"a", b"1")])
    table = managers(proxy.bootstrap, defaults={"request_timeout": 1.0}).bind(name, max_staleness=1.0)
    table.wait_until_ready(60)
    proxy.freeze()
    broker.produce(name, [(b"a", b"2"), (b"b", b"2")])
    # Which of both is known first depends on when the questions time out.
    eventually(lambda: table.state is State.LAGGING and table.reason is Reason.STALLED)
    with pytest.raises(StoreNotReadyError):
        table.get(b"a")
    assert table.get(b"a", allow_stale=True) == b"1"
    assert table.health().cause == "the broker did not answer"
    proxy.heal()
    table.wait_until_ready(60)
    eventually(lambda: dict(table.scan()) == fold(broker, name))
    assert proxy.resets == 0


def took(proxy: Proxy, call: Callable[[], object]) -> dict[str, int]:
    """Return how many bytes of each direction ``call`` takes."""
    before = proxy.passed
    call()
    return {direction: count - before[direction] for direction, count in proxy.passed.items()}


def test_a_restore_breaks_anywhere(
    broker: Broker, proxy: Proxy, name: str, managers: Managers, fold: Fold, eventually: Eventually
) -> None:
    broker.produce(name, [(b"%04d" % number, b"x" * 500) for number in range(2_000)])
    rows = fold(broker, name)
    with managers(proxy.bootstrap, directory="whole") as manager:
        whole = took(proxy, lambda: manager.bind(name).wait_until_ready(60))
    for number, (direction, count) in enumerate(points(whole)):
        proxy.reset_after(count, direction)
        with managers(proxy.bootstrap, directory=str(number), backend="rocksdb", connect="lazy") as manager:
            table = manager.bind(name)
            table.wait_until_ready(60)
            eventually(lambda number=number: proxy.resets > number)
            assert dict(table.scan()) == rows
            assert table.health().records == 2_000, "applied twice"


def least(proxy: Proxy, call: Callable[[], object]) -> dict[str, int]:
    """Return how many bytes of each direction ``call`` takes where nothing else is said beside it."""
    all_of = [took(proxy, call) for _ in range(4)]
    return {direction: min(one[direction] for one in all_of) for direction in DIRECTIONS}


def row_class(topic: str) -> Any:
    return entity(make_dataclass("Row", [("number", Annotated[int, Key])], frozen=True), topic=topic)


def keys(broker: Broker, topic: str) -> Counter[bytes]:
    """Return how often each key is in what is committed of a topic."""
    return Counter(bytes(message.key() or b"") for message in broker.read(topic))


def test_what_is_added_is_there_once_wherever_the_connection_breaks(
    broker: Broker, proxy: Proxy, name: str, managers: Managers, eventually: Eventually
) -> None:
    row = row_class(name)
    manager = managers(proxy.bootstrap, entities=[row])
    numbers = itertools.count(1_000)

    def add() -> None:
        manager.add(row(next(numbers)))

    breaks = points(least(proxy, add))
    for direction, count in breaks:
        resets = proxy.resets
        proxy.reset_after(count, direction)
        while proxy.resets == resets:  # other bytes than those of the record may have passed, too
            add()
    written = keys(broker, name)
    assert len(written) == next(numbers) - 1_000
    assert {*written.values()} == {1}, "lost, or written twice"
    assert proxy.resets == len(breaks)


def test_a_transaction_is_there_whole_and_once_wherever_the_connection_breaks(
    broker: Broker, proxy: Proxy, name: str, managers: Managers
) -> None:
    row = row_class(name)
    manager = managers(proxy.bootstrap, entities=[row])
    numbers = itertools.count(1_000)

    def write() -> None:
        with manager.transaction() as transaction:
            transaction.add_all([row(next(numbers)), row(next(numbers))])

    breaks = points(least(proxy, write))
    for direction, count in breaks:
        resets = proxy.resets
        proxy.reset_after(count, direction)
        while proxy.resets == resets:
            write()
    written = keys(broker, name)
    assert len(written) == next(numbers) - 1_000
    assert {*written.values()} == {1}
    assert proxy.resets == len(breaks)


FAULTS: dict[str, Callable[[Proxy], None]] = {
    "cut": Proxy.cut,
    "reset": Proxy.reset,
    "freeze requests": lambda proxy: proxy.freeze("requests"),
    "freeze responses": lambda proxy: proxy.freeze("responses"),
    "delay": lambda proxy: proxy.delay(0.03),
    "throttle": lambda proxy: proxy.throttle(20_000),
    "heal": Proxy.heal,
}
STEPS = st.one_of(
    st.sampled_from(sorted(FAULTS)),
    st.tuples(st.sampled_from(DIRECTIONS), st.integers(1, 3_000)),
    st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.none() | st.binary(max_size=3)), min_size=1),
)


def test_whatever_the_network_does_a_table_is_the_fold_of_its_topic(
    broker: Broker, proxy: Proxy, name: str, managers: Managers, fold: Fold, eventually: Eventually
) -> None:
    directories = itertools.count()
    producer = Producer({"bootstrap.servers": broker.bootstrap})

    @settings(
        max_examples=50 if os.environ.get("STATESTORE_SOAK") == "1" else 5,
        phases=[Phase.explicit, Phase.generate],  # shrinking would take minutes
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(st.lists(STEPS, min_size=4, max_size=12))
    def holds(steps: list[Any]) -> None:
        with managers(proxy.bootstrap, directory=str(next(directories)), connect="lazy") as manager:
            table = manager.bind(name)
            for step in steps:
                match step:
                    case str():
                        FAULTS[step](proxy)
                    case list():
                        for key, value in step:
                            producer.produce(name, value, key)
                        producer.flush(60)
                    case (direction, count):
                        proxy.reset_after(count, direction)
            proxy.heal()
            table.wait_until_ready(60)
            rows = fold(broker, name)
            eventually(lambda: dict(table.scan()) == rows)

    holds()
