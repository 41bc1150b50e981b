"""Fatal errors of librdkafka's clients: they end no call in silence, and none with an error of Python's."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError as Code
from confluent_kafka import KafkaException
from confluent_kafka import Producer as KafkaProducer

from statestore import DeliveryError, ProducerFencedError, StoreManager
from statestore.kafka.fatal import code_of
from statestore.producing import transaction
from statestore.producing.producer import Producer
from statestore.producing.sending import ProducerRecord

FENCED = Code._FENCED
MAPPED = Path("/proc/self/maps")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of librdkafka's mock broker, with a topic."""
    producer = KafkaProducer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0})
    (broker,) = producer.list_topics(timeout=60).brokers.values()
    producer.produce("orders", value=b"v")
    assert producer.flush(60) == 0
    yield f"{broker.host}:{broker.port}"
    del producer  # the broker lives as long as this


def fail(client: KafkaProducer) -> None:
    """Have ``client`` fail for good, as librdkafka's own tests do."""
    mapped = next(line for line in MAPPED.read_text().splitlines() if "librdkafka" in line)
    call = ctypes.CDLL(mapped.split(maxsplit=5)[5]).rd_kafka_test_fatal_error
    call.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p]
    pointer = ctypes.c_void_p.from_address(id(client) + object.__basicsize__)  # its first field
    call(pointer, Code.OUT_OF_ORDER_SEQUENCE_NUMBER, b"as a test has it")


@pytest.mark.skipif(not MAPPED.exists(), reason="only Linux tells where librdkafka is")
def test_a_fatal_error_among_the_last_reports_loses_none_of_them(address: str) -> None:
    """Each report ends a call that waits for it."""
    producer = Producer({"bootstrap.servers": address, "log_level": 0, "linger.ms": 30_000}, 60.0)
    producer._ending = True  # from now on reports come where the end flushes
    producer._thread.join()
    reports: list[Code | None] = []
    record = ProducerRecord("orders", b"k", b"v", 0, "subject", str)
    for _ in range(3):
        assert producer.send(record, lambda error, _: reports.append(error)) is None
    fail(producer._handle)
    producer.close()
    assert len(reports) == 3
    assert producer.health().in_flight == 0
    assert producer.fatal is not None
    assert producer.fatal.code() == Code.OUT_OF_ORDER_SEQUENCE_NUMBER


def wrapped(error: BaseException, depth: int) -> BaseException:
    for _ in range(depth):
        outer = SystemError("<function> returned a result with an exception set")
        outer.__cause__ = error
        error = outer
    return error


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_the_error_of_the_client_is_found_in_what_python_makes_of_it(depth: int) -> None:
    found = code_of(wrapped(KafkaException(Code(FENCED)), depth))
    assert found is not None
    assert found.code() == FENCED
    assert code_of(wrapped(ValueError("another"), depth)) is None


class FencedClient:
    """Stands in for a producer that is fenced in its second transaction, or in its first."""

    fenced_in = 2

    def __init__(self, *_: Any, **__: Any) -> None:
        self.transactions = 0
        self.reports: list[Callable[[None, Any], None]] = []

    def begin_transaction(self) -> None:
        self.transactions += 1

    def produce(self, *_: Any, on_delivery: Callable[[None, Any], None], **__: Any) -> None:
        self.reports.append(on_delivery)

    def flush(self, _: float) -> int:
        if self.transactions == self.fenced_in:
            raise wrapped(KafkaException(Code(FENCED, "a newer instance")), 1)
        raise wrapped(KafkaException(Code(Code.POLICY_VIOLATION)), 2)

    def abort_transaction(self, _: float) -> None: ...
    def init_transactions(self, _: float) -> None: ...
    def poll(self, _: float) -> None: ...


@pytest.mark.parametrize("fenced_in", [1, 2])
def test_only_a_producer_that_was_there_before_stays_fenced(
    fenced_in: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new one has fenced all others itself: it may have met its own question, which was asked twice."""
    monkeypatch.setattr(FencedClient, "fenced_in", fenced_in)
    record = ProducerRecord("orders", b"k", b"v", 0, "subject", str)
    with StoreManager(tmp_path, kafka="127.0.0.1:1") as manager:
        monkeypatch.setattr(manager._writer, "make_client", FencedClient)
        transactions = manager._transactions

        def commit() -> None:
            transactions._commit(transaction._Commit([record]))

        if fenced_in == 2:
            transactions._handle = transactions._make_handle()
            transactions._handle.begin_transaction()
            with pytest.raises(ProducerFencedError, match="restart this one"):
                commit()
            assert manager.health().transactions.fenced
            return
        with pytest.raises(DeliveryError, match=r"a newer instance.*write it again") as caught:
            commit()
        assert not isinstance(caught.value, ProducerFencedError)
        assert not manager.health().transactions.fenced
        monkeypatch.setattr(FencedClient, "fenced_in", 0)
        with pytest.raises(DeliveryError, match="Policy"):
            commit()
