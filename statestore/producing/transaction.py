"""Entities that become visible together, or not at all: Kafka's transactions.

A transaction keeps its records until its block ends without an error, and then sends all of them. A block
that raises has sent nothing, and readers of committed records do not wait for a slow block.
"""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any

from confluent_kafka import KafkaError as Code
from confluent_kafka import KafkaException, Message
from confluent_kafka import Producer as KafkaProducer

from statestore.delivery import Delivery
from statestore.errors import DeliveryError, ProducerFencedError, StoreClosedError
from statestore.kafka.client_log import ClientLog
from statestore.kafka.fatal import RAISED, code_of
from statestore.kafka.properties import producer_properties
from statestore.kafka.remedies import HeardError
from statestore.producing.delivery_errors import reason_of, remedy_for
from statestore.producing.sending import OnReport, ProducerRecord
from statestore.producing.unless_newer import NOT_COMPARED, Claim, Read
from statestore.producing.writer import EntityWriter
from statestore.runtime import fork
from statestore.runtime.health_report import HealthReport
from statestore.runtime.retry import retry
from statestore.runtime.steps import Steps, awaited_items, in_thread, run_async, run_blocking

log = logging.getLogger("statestore.producer")

_POLL_SECONDS = 0.1
_INIT_SECONDS = 1.0
"""The longest wait for the broker's first answer before what the client reports is looked at."""
_TURN = 200
"""Entities that are encoded in one turn on an event loop."""
_CLOSE_TIMEOUT = 10.0
"""Seconds that closing waits for a commit."""

_FENCED = (Code._FENCED, Code.PRODUCER_FENCED)  # noqa: SLF001 - that is its name

Report = tuple[Code | None, Message]


@dataclass(frozen=True, slots=True)
class TransactionHealth(HealthReport):
    """The counts of a manager's transactions, by how they ended."""

    begun: int = 0
    """Transactions whose block was entered."""
    committed: int = 0
    """Transactions that were committed, those without a record included."""
    aborted: int = 0
    """Transactions whose block raised, or that Kafka did not commit."""
    fenced: bool = False
    """Whether another producer took over the transactions of the data directory: this manager's raise."""

    def __str__(self) -> str:
        return self._line(*self)


def _report(reports: dict[int, Report], index: int, error: Code | None, message: Message) -> None:
    reports[index] = error, message


def _delivery(record: ProducerRecord, message: Message) -> Delivery:
    offset = message.offset()
    return Delivery(
        record.topic, message.partition() or 0, -1 if offset is None else offset, message.timestamp()[1]
    )


class Transaction:
    """The entities that one ``with manager.transaction()`` writes. Only for the thread or task of the block.

    Each method raises ``EntityRejectedError`` at once for an entity that cannot be written; when the error is
    caught the transaction goes on without that entity. Once the transaction has ended, each method raises
    ``RuntimeError``. The ``_async`` forms are for ``async with``: they do not block the event loop.

    ``unless_newer_than`` is that of :meth:`Table.add`. It is compared at the call and again when the block
    ends, before anything is sent: the transaction then raises ``NewerRecordError`` and nothing is written.
    """

    def __init__(self, writer: EntityWriter) -> None:
        self._writer = writer
        self._records: list[ProducerRecord] | None = []
        self._claims: list[tuple[int, Claim]] = []
        """The claims of ``unless_newer_than``, each with the index of its record."""
        self.deliveries: list[Delivery] = []
        """The deliveries of the records, in order; empty until the transaction is committed."""

    def add(self, entity: Any, *, unless_newer_than: Read = NOT_COMPARED) -> None:
        """Write an entity, new or changed, when the transaction ends."""
        run_blocking(self._one_added(entity, unless_newer_than))

    async def add_async(self, entity: Any, *, unless_newer_than: Read = NOT_COMPARED) -> None:
        """Await what :meth:`add` blocks for."""
        await run_async(self._one_added(entity, unless_newer_than))

    def add_all(self, entities: Iterable[Any]) -> None:
        """Write entities in their order. When one is rejected, none of them is taken."""
        run_blocking(self._added(entities))

    async def add_all_async(self, entities: Iterable[Any] | AsyncIterable[Any]) -> None:
        """Await what :meth:`add_all` blocks for."""
        items = awaited_items(entities) if isinstance(entities, AsyncIterable) else entities
        await run_async(self._added(items))

    def delete(self, entity_or_class: Any, *key: Any, unless_newer_than: Read = NOT_COMPARED) -> None:
        """Delete an entity: ``delete(order)``, or by the values of its key fields ``delete(Order, 42)``."""
        run_blocking(self._deleted(entity_or_class, key, unless_newer_than))

    async def delete_async(
        self, entity_or_class: Any, *key: Any, unless_newer_than: Read = NOT_COMPARED
    ) -> None:
        """Await what :meth:`delete` blocks for."""
        await run_async(self._deleted(entity_or_class, key, unless_newer_than))

    def _one_added(self, entity: Any, read: Read) -> Steps[None]:
        self._open()
        records = yield from self._writer.records([entity])
        self._take(records, None if read is NOT_COMPARED else self._writer.claim(entity, (), read))

    def _added(self, entities: Iterable[Any]) -> Steps[None]:
        self._open()
        self._open().extend((yield from self._writer.records(entities)))

    def _deleted(self, entity_or_class: Any, key: tuple[Any, ...], read: Read) -> Steps[None]:
        self._open()
        records = yield from self._writer.tombstones(entity_or_class, key)
        self._take(records, None if read is NOT_COMPARED else self._writer.claim(entity_or_class, key, read))

    def _take(self, records: list[ProducerRecord], claim: Claim | None) -> None:
        taken = self._open()
        if claim is not None:
            self._claims.append((len(taken), claim))
        taken.extend(records)

    def _open(self) -> list[ProducerRecord]:
        if self._records is None:
            raise RuntimeError("the transaction has ended: begin another, with manager.transaction()")
        self._writer.check_open()
        return self._records

    def _end(self) -> list[ProducerRecord]:
        records, self._records = self._records, None
        return records or []

    def _check_claims(self) -> None:
        for _, claim in self._claims:
            claim.check()

    def _committed(self, deliveries: list[Delivery]) -> None:
        self.deliveries = deliveries
        for index, claim in self._claims:
            claim.delivered(deliveries[index])

    def _release_claims(self) -> None:
        for _, claim in self._claims:
            claim.release()


class TransactionScope:
    """The block of a transaction, for ``with`` and ``async with``. When it ends well, it is committed.

    ``manager`` must live as long as the block.
    """

    def __init__(self, owner: Transactions, writer: EntityWriter, manager: object) -> None:
        self._owner = owner
        self._manager = manager
        self._transaction = Transaction(writer)
        self.is_open = False

    def __enter__(self) -> Transaction:
        begins = not self.is_open
        try:
            self._owner._begin(self)  # noqa: SLF001 - of this module
        except BaseException:
            if begins:
                self.is_open = False
            raise
        return self._transaction

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            run_blocking(self._ended(kind))
        finally:
            self.is_open = False

    async def __aenter__(self) -> Transaction:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await run_async(self._ended(kind))

    def _ended(self, kind: type[BaseException] | None) -> Steps[None]:
        transaction = self._transaction
        try:
            records = transaction._end()  # noqa: SLF001 - nothing more is taken, whatever happens
            if kind is None:
                transaction._check_claims()  # noqa: SLF001
                transaction._committed((yield from self._owner._committed(records)))  # noqa: SLF001
        finally:
            transaction._release_claims()  # noqa: SLF001
            self.is_open = False


class _Commit:
    """The records of one commit, which runs on a thread of its own, and whether it is still wanted."""

    def __init__(self, records: list[ProducerRecord]) -> None:
        self.records = records
        self.is_abandoned = False

    def check(self) -> None:
        if self.is_abandoned:
            raise _AbandonedError


class _AbandonedError(Exception):
    """Nobody waits for the commit any more: an interrupt, or the cancellation of a task."""


class Transactions:
    """The transactions of one manager, one at a time. Thread-safe.

    ``name`` is the ``transactional.id``. A process that takes over a data directory ends the transaction that
    its predecessor left open, and the predecessor cannot commit any more: it is fenced, and stays so.
    """

    def __init__(
        self, kafka: Mapping[str, Any], request_timeout: float, name: str, writer: EntityWriter
    ) -> None:
        self._kafka = kafka
        self._timeout = request_timeout
        self._name = name
        self._writer = writer
        self._client_log = ClientLog(log)
        self._heard = HeardError()
        self._mutex = fork.rlock()
        self._committing = fork.lock()  # on the threads of commits, one of which may be abandoned
        self._current: weakref.ref[TransactionScope] | None = None
        """The open transaction; a scope that was interrupted where its block ends is gone soon."""
        self._handle: KafkaProducer | None = None
        self._fenced: str | None = None
        self._begun = self._committed_count = 0
        self._closed = self._forked_here = False
        fork.register(self)

    def begin(self, manager: object) -> TransactionScope:
        """Return the block of a transaction of ``manager``, for ``with``."""
        self._check_open()
        return TransactionScope(self, self._writer, manager)

    def health(self) -> TransactionHealth:
        """Return the counts of the transactions, by how they ended."""
        with self._mutex:
            begun, committed, is_open = self._begun, self._committed_count, self._open_scope() is not None
        # Not counted, where an exception of a signal handler could come in between. For a moment after its
        # commit was counted a block is open still.
        aborted = max(0, begun - committed - is_open)
        return TransactionHealth(begun, committed, aborted, fenced=self._fenced is not None)

    def shut(self) -> None:
        """Make every call from now on raise ``StoreClosedError``, and wait for nothing: ``close`` follows."""
        self._closed = True

    def close(self) -> None:
        """Drop the producer, after a commit that is under way, for a limited time."""
        self._closed = True
        if self._committing.acquire(timeout=_CLOSE_TIMEOUT):
            self._handle = None
            self._committing.release()

    def _begin(self, scope: TransactionScope) -> None:
        self._check_open()
        with self._mutex:
            if scope.is_open or self._open_scope() is not None:
                raise RuntimeError(
                    "a transaction of this manager is open already: end it before the next one"
                )
            self._current = weakref.ref(scope)
            scope.is_open = True
            self._begun += 1

    def _count_committed(self) -> None:
        with self._mutex:
            self._committed_count += 1

    def _open_scope(self) -> TransactionScope | None:
        scope = None if self._current is None else self._current()
        return scope if scope is not None and scope.is_open else None

    def _check_open(self) -> None:
        if self._forked_here:
            raise fork.forked_error()
        if self._closed:
            raise StoreClosedError("the manager is closed")
        if self._fenced is not None:
            raise ProducerFencedError(self._fenced)

    def _committed(self, records: list[ProducerRecord]) -> Steps[list[Delivery]]:
        """Commit ``records``; when nobody waits any more, abort them unless the commit has begun."""
        self._check_open()
        if not records:
            self._count_committed()
            return []
        commit = _Commit(records)
        try:
            deliveries: list[Delivery] = yield in_thread("statestore-transaction", partial(self._run, commit))
            return deliveries
        finally:
            commit.is_abandoned = True

    # On the thread of a commit

    def _run(self, commit: _Commit) -> list[Delivery]:
        with self._committing:
            self._check_open()
            watch = self._writer.watch
            before = {topic: watch.positions(topic) for topic in {one.topic for one in commit.records}}
            deliveries = self._commit(commit)
            self._count_committed()
            watch.delivered(before, deliveries)
            return deliveries

    def _commit(self, commit: _Commit) -> list[Delivery]:
        records = commit.records
        reports: dict[int, Report] = {}
        began_at: float | None = None
        is_new = self._handle is None
        try:
            handle = self._handle = self._handle or self._make_handle()
            began_at = time.monotonic()
            handle.begin_transaction()
            for index, record in enumerate(records):
                commit.check()
                self._send(handle, record, partial(_report, reports, index))
            handle.flush(self._timeout)
            commit.check()
            self._retry(handle.commit_transaction)
        except RAISED as failure:
            is_fenced = began_at is not None and self._abort(began_at, failure, reports)
            if is_fenced and not is_new:
                self._stay_fenced()
                raise ProducerFencedError(
                    f"the transaction of {len(records)} records is not committed: {self._fenced}",
                    undelivered=[record.subject for record in records],
                ) from failure
            raise self._failed(failure, records, reports) from failure
        except BaseException as error:
            if began_at is not None:
                self._abort(began_at, error, reports)
            raise
        return [_delivery(record, reports[index][1]) for index, record in enumerate(records)]

    def _make_handle(self) -> KafkaProducer:
        properties = {
            **producer_properties(self._kafka, self._timeout),
            "transactional.id": self._name,
            "transaction.timeout.ms": self._transaction_timeout,
            "delivery.timeout.ms": self._transaction_timeout,
            "error_cb": self._on_error,  # else a fatal error is raised into the next callback
        }
        handle = self._writer.make_client(properties, logger=self._client_log)
        self._heard.forget()

        def may_pass(error: Exception) -> bool:
            # Instead of a time-out the client tells what it waits for, as for a coordinator that is starting.
            return (
                isinstance(error, KafkaException)
                and not error.args[0].fatal()
                and self._heard.refusal is None
            )

        def initialise(left: float) -> None:
            try:
                handle.init_transactions(min(left, _INIT_SECONDS))
            finally:
                handle.poll(0)  # what the client reports is heard here only

        # In short pieces, since the client goes on trying where the broker refuses it.
        retry(initialise, self._timeout, _POLL_SECONDS, may_pass)
        return handle

    @property
    def _transaction_timeout(self) -> int:
        return max(1000, int(self._timeout * 1000))

    def _on_error(self, error: Code) -> None:
        self._heard.hear(error)
        log.info("Kafka at %s: transactions: %s", self._kafka.get("bootstrap.servers"), error.str())

    @staticmethod
    def _send(handle: KafkaProducer, record: ProducerRecord, on_delivery: OnReport) -> None:
        while True:
            try:
                handle.produce(
                    record.topic,
                    record.value,
                    record.key,
                    record.partition,
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

    def _abort(self, began_at: float, failure: BaseException, reports: Mapping[int, Report]) -> bool:
        """Abort the transaction; say whether a later producer has fenced this one.

        Where the broker itself has refused a record, the producer is kept: it notices a successor, which a
        new one would fence. One that lost its broker fails its next transaction, and is dropped. If the abort
        fails, the next transaction does it, since its producer has the same name.
        """
        codes = [error.code() for error, _ in list(reports.values()) if error is not None]
        refused = all(code > 0 for code in codes) and (codes or not isinstance(failure, RAISED))
        handle, self._handle = self._handle, None
        errors = [failure]
        if handle is not None:
            try:
                self._retry(handle.abort_transaction)
                if refused:
                    self._handle = handle
            except RAISED as second:
                errors.append(second)
                log.warning("a transaction could not be aborted: %s", second)
        # The broker says the same of a transaction that it has ended because of its age.
        in_time = (time.monotonic() - began_at) * 1000 < self._transaction_timeout
        return in_time and any(_is_fenced(error) for error in errors)

    def _stay_fenced(self) -> None:
        """Begin no transaction any more.

        Not for a new producer: it has fenced all others itself a moment ago. Who comes right then may be an
        earlier question of its own, asked again by the client since the answer was late.
        """
        self._fenced = (
            f"the producer of this manager's transactions was fenced: another one took over its "
            f"transactional.id {self._name!r}, which is that of the data directory. Is a copy of the "
            "directory in use? Each process needs a directory of its own; restart this one to take over again"
        )
        log.error("Kafka at %s: %s", self._kafka.get("bootstrap.servers"), self._fenced)

    def _failed(
        self, failure: BaseException, records: list[ProducerRecord], reports: dict[int, Report]
    ) -> DeliveryError:
        cause: Any = code_of(failure) or failure
        refused = [error for _, (error, _) in sorted(reports.items()) if error is not None]
        cause = (refused or [cause])[0]
        text, remedy = str(cause), ""
        if isinstance(cause, Code):
            text, remedy = reason_of(cause, self._heard), remedy_for(cause, self._heard)
            if cause.code() == Code.TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
                remedy = f"grant the client Write on the transactional.id {self._name!r}"
            elif cause.code() in _FENCED:
                remedy = "write it again"
        first = records[0]
        return DeliveryError(
            f"the transaction of {len(records)} records, the first {first.describe(first.subject)}, is not "
            f"committed: Kafka at {self._kafka.get('bootstrap.servers')}: {text}; none of them is "
            f"visible, unless the broker received the commit before it failed{remedy and f'; {remedy}'}",
            undelivered=[record.subject for record in records],
        )

    def _forked(self) -> None:
        self._forked_here = True
        fork.leak(self._handle)
        self._handle = None


def _is_fenced(error: BaseException) -> bool:
    code = code_of(error)
    return code is not None and code.code() in _FENCED
