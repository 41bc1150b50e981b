"""Fixtures of ``statestore`` for pytest: ``driver``, ``manager``, ``mock_broker``, ``broker`` and ``proxy``.

pytest finds this module by its entry point, in each run wherever the library is installed. So it lies beside
the package, and imports nothing of it before a fixture is used. A fixture of the same name in a
``conftest.py`` or a test module goes before the one of here, and ``-p no:statestore_pytest`` leaves all out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from statestore import StoreManager
    from statestore.testing import TestDriver
    from statestore.testing.kafka import Broker, Proxy

__all__ = ["broker", "driver", "manager", "mock_broker", "proxy"]


@pytest.fixture
def driver() -> Iterator[Callable[..., TestDriver]]:
    """Make drivers: ``driver(Order, Customer, partitions=3)``, closed after the test.

    Arguments by name are those of ``statestore.testing.TestDriver``.
    """
    from statestore.testing.driver import TestDriver

    with ExitStack() as made:

        def make(*entities: type | str, **arguments: Any) -> TestDriver:
            return made.enter_context(TestDriver(entities, **arguments))

        yield make


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Callable[..., StoreManager]]:
    """Make managers: ``manager(kafka=mock_broker, entities=[Order])``, closed after the test.

    Arguments are those of ``statestore.StoreManager``, but that the data directory is one of the test's: the
    same each time, or ``tmp_path / directory``.
    """
    from statestore import StoreManager

    with ExitStack() as made:

        def make(directory: str | Path = "statestore", **arguments: Any) -> StoreManager:
            return made.enter_context(StoreManager(tmp_path / directory, **arguments))

        yield make


@pytest.fixture
def mock_broker() -> Iterator[str]:
    """The address of a broker in this process, librdkafka's own mock, without topics.

    It starts in milliseconds, makes a topic with its first record, and keeps no transactions apart.
    """
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0})
    one = next(iter(producer.list_topics(timeout=60).brokers.values()))
    yield f"{one.host}:{one.port}"
    del producer


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    """A real Apache Kafka broker for all tests of the session: make topics of your own.

    It is the one that ``STATESTORE_TEST_KAFKA`` names, or one started here, which takes Java 17 and Maven.
    Without them the test is skipped, and says what is missing.
    """
    from statestore.testing.kafka import BrokerUnavailableError, KafkaBroker, external_broker

    external = external_broker()
    if external is not None:
        yield external
        return
    try:
        started = KafkaBroker()
    except BrokerUnavailableError as error:
        pytest.skip(f"no broker: {error}")
    with started:
        yield started


@pytest.fixture
def proxy(broker: Broker) -> Iterator[Proxy]:
    """A proxy in front of ``broker``: clients at ``proxy.bootstrap`` meet what the test does to the network.

    It is closed after the test. A broker that was not started here tells clients its own address, so that
    they would leave the proxy: the test is skipped then, and says so.
    """
    from statestore.testing.kafka import KafkaBroker, Proxy

    if not isinstance(broker, KafkaBroker):
        pytest.skip(f"no proxy: the broker at {broker.bootstrap} sends its clients to an address of its own")
    with Proxy(broker) as made:
        yield made
