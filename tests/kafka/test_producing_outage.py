"""The broker is away while entities are written: each is delivered once, or its error says that it is not."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from confluent_kafka import KafkaError as Code
from confluent_kafka import KafkaException
from confluent_kafka import Producer as Handle

from statestore import Delivery, DeliveryError, Key, StoreClosedError, StoreManager, entity
from statestore.producing import producer
from statestore.producing.producer import ProducerHealth
from statestore.testing.kafka import KafkaBroker, Proxy

pytestmark = pytest.mark.kafka

Managers = Callable[..., StoreManager]
Eventually = Callable[..., None]

NOWHERE = "127.0.0.1:1"


@entity(topic="orders")
@dataclass(frozen=True, slots=True)
class Order:
    number: Annotated[int, Key]
    text: str = ""


@pytest.fixture(scope="module")
def shared_mortal() -> Iterator[KafkaBroker]:
    with KafkaBroker() as started:
        yield started


@pytest.fixture
def mortal(shared_mortal: KafkaBroker) -> KafkaBroker:
    """A broker with an empty topic ``orders``, which the test may kill."""
    if shared_mortal.pid is None:
        shared_mortal.start()
    if shared_mortal.has_topic("orders"):
        shared_mortal.delete_topic("orders")
    shared_mortal.create_topic("orders")
    return shared_mortal


@pytest.fixture
def proxy(mortal: KafkaBroker) -> Iterator[Proxy]:
    """What is between the program and its broker, and can be cut."""
    with Proxy(mortal) as made:
        yield made


class Adder(threading.Thread):
    """Adds orders one after the other, until told to stop, and keeps what came of each."""

    def __init__(self, manager: StoreManager) -> None:
        super().__init__()
        self.manager = manager
        self.outcomes: dict[int, Delivery | DeliveryError] = {}
        self.done = threading.Event()

    def run(self) -> None:
        number = 0
        while not self.done.is_set():
            try:
                self.outcomes[number] = self.manager.add(self.order(number))
            except DeliveryError as error:
                self.outcomes[number] = error
            number += 1

    def order(self, number: int) -> Order:
        return Order(number, str(id(self)))

    def record(self, number: int) -> tuple[bytes | None, bytes | None]:
        sent = self.manager._writer._encoder(Order).record(self.order(number))
        return sent.key, sent.value

    def delivered(self) -> int:
        return sum(isinstance(outcome, Delivery) for outcome in list(self.outcomes.values()))

    def failed(self) -> int:
        return len(self.outcomes) - self.delivered()


def test_killed_in_the_middle(mortal: KafkaBroker, managers: Managers, eventually: Eventually) -> None:
    adders = [
        Adder(
            managers(
                mortal,
                directory=str(patience),
                kafka={"bootstrap.servers": mortal.bootstrap, "delivery.timeout.ms": patience},
            )
        )
        for patience in (600_000, 1_000)
    ]
    patient, impatient = adders
    for adder in adders:
        adder.start()
    try:
        eventually(lambda: all(adder.delivered() > 20 for adder in adders))
        mortal.kill()
        eventually(lambda: impatient.failed() > 0)
        before = [adder.delivered() for adder in adders]
        mortal.start()
        for adder, sent in zip(adders, before, strict=True):
            eventually(lambda adder=adder, sent=sent: adder.delivered() > sent + 20)
    finally:
        for adder in adders:
            adder.done.set()
        for adder in adders:
            adder.join()
    assert patient.failed() == 0
    written = [((message.key(), message.value()), message.offset() or 0) for message in mortal.read("orders")]
    times, where = Counter(record for record, _ in written), dict(written)
    for adder in adders:
        for number, outcome in adder.outcomes.items():
            record = adder.record(number)
            if isinstance(outcome, Delivery):
                assert times[record] == 1, "lost, or written twice"
                assert where[record] <= outcome.offset
            else:
                assert outcome.undelivered == (adder.order(number),)
                assert times[record] <= 1, "written twice"


class Failed:
    """A handle after an error that is final, as when the broker has refused its sequence numbers."""

    def __init__(self, handle: Handle) -> None:
        self.poll, self.flush, self.purge = handle.poll, handle.flush, handle.purge

    def produce(self, *record: Any, **more: Any) -> None:
        raise KafkaException(Code(Code._FATAL, "made up", fatal=True))


def test_a_producer_that_failed_for_good_is_replaced(mortal: KafkaBroker, managers: Managers) -> None:
    manager = managers(mortal)
    manager.add(Order(0))
    made: Any = manager._writer.producer
    for number in (1, 2):
        made._handle = Failed(made._handle)
        assert manager.add(Order(number)).offset == number
    made._handle = Failed(made._handle)
    assert [one.offset for one in asyncio.run(manager.add_all_async([Order(3), Order(4)]))] == [3, 4]
    assert manager.health().producer == ProducerHealth(sent=5, delivered=5, failed=0, in_flight=0)


def test_what_was_delivered_and_what_was_not_is_in_the_error(
    proxy: Proxy, managers: Managers, eventually: Eventually
) -> None:
    manager = managers(
        proxy.bootstrap, kafka={"bootstrap.servers": proxy.bootstrap, "delivery.timeout.ms": 1_500}
    )

    def entities() -> Iterator[Order]:
        for number in range(100_000):
            if number == 3_000:
                eventually(lambda: manager.health().producer.delivered > 10)
                proxy.cut()
            yield Order(number, "x" * 100)

    with pytest.raises(DeliveryError, match=rf"of \d+ are not delivered.*{proxy.bootstrap}") as raised:
        manager.add_all(entities())
    error = raised.value
    numbers = [order.number for order in error.undelivered]
    assert numbers == sorted(numbers)
    assert len(error.delivered) + len(numbers) >= 3_000
    assert len(error.delivered) > 0
    counts = manager.health().producer
    assert counts == ProducerHealth(counts.sent, len(error.delivered), len(numbers), in_flight=0)


def test_time_is_up_though_the_producer_goes_on(managers: Managers) -> None:
    manager = managers(NOWHERE, defaults={"request_timeout": 5.0})
    manager._writer.topic_exists("orders", 1)
    with pytest.raises(DeliveryError, match=r"Order\(number=2\).*in the time given.*all the same") as error:
        manager.add(Order(2), timeout=0.1)
    assert error.value.undelivered == (Order(2),)
    with pytest.raises(DeliveryError, match=r"1 records are not delivered after 0\.1 s"):
        manager.flush(0.1)
    manager.flush(60)
    assert manager.health().producer == ProducerHealth(sent=1, delivered=0, failed=1, in_flight=0)


def test_cancelling_leaves_nothing_behind(managers: Managers) -> None:
    kafka = {"bootstrap.servers": NOWHERE, "queue.buffering.max.messages": 10, "delivery.timeout.ms": 5_000}
    manager = managers(NOWHERE, kafka=kafka)
    manager._writer.topic_exists("orders", 1)
    taken = 0

    def endless() -> Iterator[Order]:
        nonlocal taken
        while True:
            taken += 1
            yield Order(taken)

    async def main() -> None:
        one = asyncio.create_task(manager.add_async(Order(1)))
        many = asyncio.create_task(manager.add_all_async(endless()))
        while taken < 10:
            await asyncio.sleep(0.01)
        for task in (one, many):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        with pytest.raises(DeliveryError):
            await manager.add_async(Order(1), timeout=0.1)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())
    manager.flush(60)  # reports come when the loop is long closed
    assert manager.health().producer == ProducerHealth(sent=10, delivered=0, failed=10, in_flight=0)
    assert taken == 10, "one was sent alone, nine of many, and one more waited for its place"


def test_closing_gives_up_what_cannot_be_delivered(
    managers: Managers,
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(producer, "CLOSE_TIMEOUT", 0.3)
    manager = managers(NOWHERE)
    manager._writer.topic_exists("orders", 1)
    raised: Future[Exception] = Future()

    def add() -> None:
        try:
            manager.add_all([Order(1), Order(2)])
        except Exception as error:  # noqa: BLE001 - looked at below
            raised.set_result(error)

    adding = threading.Thread(target=add)
    adding.start()
    eventually(lambda: manager.health().producer.in_flight == 2)
    with caplog.at_level(logging.WARNING, "statestore.producer"):
        manager.close()
    adding.join()
    error = raised.result(0)
    assert isinstance(error, DeliveryError)
    assert error.undelivered == (Order(1), Order(2))
    assert "manager was closed" in str(error)
    assert "2 records were not delivered within 0.3 s and are dropped" in caplog.text
    with pytest.raises(StoreClosedError):
        manager.add(Order(3))


def test_without_a_broker(managers: Managers) -> None:
    manager = managers(NOWHERE, defaults={"request_timeout": 1.0})
    with pytest.raises(DeliveryError, match=rf"Order\(number=1\).*{NOWHERE}.*refused.*broker is back"):
        manager.add(Order(1))
