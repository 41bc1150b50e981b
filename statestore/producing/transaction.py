"""Entities that become visible together, or not at all: Kafka's transactions.

A transaction keeps its records until its block ends without an error, and then sends all of them. A block
that raises has sent nothing, and readers of committed records do not wait for a slow block.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, cast

from confluent_kafka import KafkaError as Code
from confluent_kafka import KafkaException, Message
from confluent_kafka import Producer as KafkaProducer

from statestore.delivery import Delivery
from statestore.errors import DeliveryError, StoreClosedError
from statestore.kafka.properties import producer_properties
from statestore.producing.sending import OnReport, ProducerRecord
from statestore.producing.writer import EntityWriter
from statestore.runtime import fork
from statestore.runtime.retry import retry

log = logging.getLogger("statestore.producer")

_POLL_SECONDS = 0.1

# A fatal error is raised as itself, which its type does not tell, or into whatever the client calls next.
_FAILURES: tuple[type[BaseException], ...] = (KafkaException, cast("Any", Code), SystemError)

Report = tuple[Code | None, Message]


def _report(reports: dict[int, Report], index: int, error: Code | None, message: Message) -> None:
    reports[index] = error, message


def _delivery(record: ProducerRecord, message: Message) -> Delivery:
    offset = message.offset()
    return Delivery(
        record.topic, message.partition() or 0, -1 if offset is None else offset, message.timestamp()[1]
    )


class Transaction:
    """The entities that one ``with manager.transaction()`` writes. Only for the thread that opened it.

    Each method raises ``EntityRejectedError`` at once for an entity that cannot be written; when the error is
    caught the transaction goes on without that entity. Once the transaction has ended, each method raises
    ``RuntimeError``.
    """

    def __init__(self, writer: EntityWriter) -> None:
        self._writer = writer
        self._records: list[ProducerRecord] | None = []
        self.deliveries: list[Delivery] = []
        """The deliveries of the records, in order; empty until the transaction is committed."""

    def add(self, entity: Any) -> None:
        """Write an entity, new or changed, when the transaction ends."""
        self._open().append(self._writer.record(entity))

    def add_all(self, entities: Iterable[Any]) -> None:
        """Write entities in their order. When one is rejected, none of them is taken."""
        self._open().extend([self._writer.record(entity) for entity in entities])

    def delete(self, entity_or_class: Any, *key: Any) -> None:
        """Delete an entity: ``delete(order)``, or by the values of its key fields ``delete(Order, 42)``."""
        self._open().extend(self._writer.tombstones(entity_or_class, key))

    def _open(self) -> list[ProducerRecord]:
        if self._records is None:
            raise RuntimeError("the transaction has ended: begin another, with manager.transaction()")
        return self._records

    def _end(self) -> list[ProducerRecord]:
        records, self._records = self._open(), None
        return records


class Transactions:
    """The transactions of one manager, one at a time. Thread-safe.

    ``name`` is the ``transactional.id``. A process that takes over a data directory ends the transaction that
    its predecessor left open, and the predecessor cannot commit any more.
    """

    def __init__(
        self, kafka: Mapping[str, Any], request_timeout: float, name: str, writer: EntityWriter
    ) -> None:
        self._kafka = kafka
        self._timeout = request_timeout
        self._name = name
        self._writer = writer
        self._lock = fork.lock()
        self._handle: KafkaProducer | None = None
        self._closed = self._forked_here = False
        fork.register(self)

    @contextlib.contextmanager
    def begin(self) -> Iterator[Transaction]:
        """Give a transaction, and commit it when the block ends without an error."""
        self._check_open()
        if not self._lock.acquire(blocking=False):
            raise RuntimeError("a transaction of this manager is open already: end it before the next one")
        try:
            transaction = Transaction(self._writer)
            try:
                yield transaction
            finally:
                records = transaction._end()  # noqa: SLF001 - nothing more is taken, whatever happens
            if records:
                transaction.deliveries = self._commit(records)
        finally:
            if self._lock.locked():  # in a child that was forked in the block it is free
                self._lock.release()

    def close(self) -> None:
        """Drop the producer. No record is in flight, since a commit waits until it has ended."""
        self._closed = True
        self._handle = None

    def _check_open(self) -> None:
        if self._forked_here:
            raise fork.forked_error()
        if self._closed:
            raise StoreClosedError("the manager is closed")

    def _commit(self, records: list[ProducerRecord]) -> list[Delivery]:
        self._check_open()
        reports: dict[int, Report] = {}
        began = False
        try:
            handle = self._handle = self._handle or self._make_handle()
            handle.begin_transaction()
            began = True
            for index, record in enumerate(records):
                self._send(handle, record, partial(_report, reports, index))
            handle.flush(self._timeout)
            self._retry(handle.commit_transaction)
        except _FAILURES as failure:
            if began:
                self._abort()
            raise self._failed(failure, records, reports) from failure
        except BaseException:
            if began:
                self._abort()
            raise
        return [_delivery(record, reports[index][1]) for index, record in enumerate(records)]

    def _make_handle(self) -> KafkaProducer:
        timeout = max(1000, int(self._timeout * 1000))
        properties = {
            **producer_properties(self._kafka, self._timeout),
            "transactional.id": self._name,
            "transaction.timeout.ms": timeout,
            "delivery.timeout.ms": timeout,
            "error_cb": self._on_error,  # else a fatal error is raised into the next callback
        }
        handle = KafkaProducer(properties, logger=log)
        handle.init_transactions(self._timeout)
        return handle

    def _on_error(self, error: Code) -> None:
        log.info("Kafka at %s: transactions: %s", self._kafka.get("bootstrap.servers"), error.str())

    @staticmethod
    def _send(handle: KafkaProducer, record: ProducerRecord, on_delivery: OnReport) -> None:
        while True:
            try:
                handle.produce(
                    record.topic,
                    record.value,
                    record.key,
                    on_delivery=on_delivery,
                    timestamp=record.timestamp,
                )
            except BufferError:
                handle.poll(_POLL_SECONDS)  # records leave the queue, or fail after their time
            else:
                return

    def _retry(self, call: Callable[[float], None]) -> None:
        def may_pass(error: Exception) -> bool:
            return isinstance(error, KafkaException) and bool(error.args[0].retriable())

        retry(lambda left: call(max(0.1, left)), self._timeout, 0.0, may_pass)

    def _abort(self) -> None:
        """Abort the transaction, and drop the producer: after a failure its numbering may have a gap.

        If the abort fails, the next transaction does it, since its producer has the same name.
        """
        handle, self._handle = self._handle, None
        if handle is not None:
            try:
                self._retry(handle.abort_transaction)
            except _FAILURES as failure:
                log.warning("a transaction could not be aborted: %s", failure)

    def _failed(
        self, failure: BaseException, records: list[ProducerRecord], reports: dict[int, Report]
    ) -> DeliveryError:
        told: BaseException = (isinstance(failure, SystemError) and failure.__cause__) or failure
        cause: Any = told.args[0] if isinstance(told, KafkaException) else told
        refused = [error for _, (error, _) in sorted(reports.items()) if error is not None]
        cause = (refused or [cause])[0]
        text = cause.str() if isinstance(cause, Code) else str(cause)
        first = records[0]
        return DeliveryError(
            f"the transaction of {len(records)} records, the first {first.describe(first.subject)}, is not "
            f"committed: Kafka at {self._kafka.get('bootstrap.servers')}: {text}; none of them is "
            "visible, unless the broker received the commit before it failed",
            undelivered=[record.subject for record in records],
        )

    def _forked(self) -> None:
        self._forked_here = True
        fork.leak(self._handle)
        self._handle = None
