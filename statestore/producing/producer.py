"""The producer of a manager: librdkafka's producer, its thread, its counts and its end."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError as Code
from confluent_kafka import KafkaException, Message
from confluent_kafka import Producer as KafkaProducer

from statestore.errors import ConfigError, DeliveryError, StoreClosedError
from statestore.kafka.client_log import ClientLog
from statestore.kafka.fatal import RAISED, code_of, take_pending
from statestore.kafka.properties import largest_record, producer_properties
from statestore.kafka.remedies import HeardError
from statestore.producing.sending import OnReport, ProducerRecord
from statestore.runtime import fork
from statestore.runtime.health_report import HealthReport
from statestore.runtime.interrupts import Outcome, TimeOverError, await_future

log = logging.getLogger("statestore.producer")

CLOSE_TIMEOUT = 10.0
"""Seconds that closing waits for records in flight."""
_POLL_SECONDS = 0.1
"""Seconds between two checks of the thread whether it should end."""


@dataclass(frozen=True, slots=True)
class ProducerHealth(HealthReport):
    """The counts of a manager's records, by what became of them."""

    sent: int = 0
    """Records handed to librdkafka."""
    delivered: int = 0
    """Records that Kafka has confirmed."""
    failed: int = 0
    """Records that failed."""
    in_flight: int = 0
    """Records without a delivery report yet."""

    def __str__(self) -> str:
        return self._line(*self)


class Producer:
    """Sends records in the order given, each written once. Thread-safe.

    Delivery reports come on the producer's thread, or on a thread that flushes. The constructor raises
    ``ConfigError`` for properties that librdkafka refuses. Nothing is sent before the first record.
    """

    def __init__(
        self,
        given: Mapping[str, Any],
        request_timeout: float,
        make: Callable[..., KafkaProducer] = KafkaProducer,
    ) -> None:
        self._make = make
        self.address = str(given["bootstrap.servers"])
        self.max_record_bytes = largest_record(given)
        """Most bytes of key and value of a record."""
        self.heard = HeardError()
        """What the client has reported since a record was delivered."""
        self.fatal: Code | None = None
        """Why the client failed for good, the last time; the records that it had then are given up."""
        self._properties = {**producer_properties(given, request_timeout), "error_cb": self._on_error}
        self._mutex = fork.rlock()
        self._sent = self._delivered = self._failed = 0
        self._waiting: list[tuple[int, Future[None]]] = []
        """The waits for room in the queue; each ends at its number of records in flight."""
        self._renewal: Future[None] | None = None
        """Done when the handle, after a fatal error, is replaced."""
        self._client_log = ClientLog(log)
        self._closed = self._ending = self._forked_here = False
        self._handle = self._make_handle()
        self._thread = threading.Thread(target=self._run, name="statestore-producer", daemon=True)
        self._thread.start()
        fork.register(self)

    def _make_handle(self) -> KafkaProducer:
        try:
            return self._make(self._properties, logger=self._client_log)
        except KafkaException as error:
            raise ConfigError(f"kafka: {error.args[0].str()}") from error

    def send(self, record: ProducerRecord, on_report: OnReport) -> Future[None] | None:
        """Send ``record`` and return ``None``; if it cannot be sent now, return what to wait for first.

        Raises ``KafkaException`` if librdkafka refuses the record.
        """

        def reported(error: Code | None, message: Message) -> None:
            if (fatal := take_pending()) is not None:
                self.fatal = fatal
            self._count(error)
            on_report(error, message)

        with self._mutex:
            self.check_open()
            if self._renewal is not None:
                return self._renewal
            self._sent += 1  # before: an exception of a signal handler comes after produce() has succeeded
            try:
                self._handle.produce(
                    record.topic,
                    record.value,
                    record.key,
                    record.partition,
                    on_delivery=reported,
                    timestamp=record.timestamp,
                )
            except BufferError:
                self._sent -= 1
                return self._room()
            except KafkaException as error:
                self._sent -= 1
                if error.args[0].code() != Code._FATAL:
                    raise
                self._renewal = Outcome()
                return self._renewal
            return None

    def flush(self, timeout: float) -> None:
        """Return when no record is in flight. Raises ``DeliveryError`` after ``timeout`` seconds."""
        # Not librdkafka's flush(): it would run the reports here, where a signal handler may cut them short.
        flushed: Future[None] = Outcome()
        with self._mutex:
            self.check_open()
            if not self._in_flight:
                return
            self._waiting.append((0, flushed))
        try:
            await_future(flushed, timeout)
        except TimeOverError:
            raise DeliveryError(
                f"{self.health().in_flight} records are not delivered after {timeout:g} s: Kafka at "
                f"{self.address}{f': {self.heard.text}' if self.heard.text else ' is slow'}"
            ) from None

    def health(self) -> ProducerHealth:
        """Return the counts of the records, by what became of them."""
        with self._mutex:
            return ProducerHealth(self._sent, self._delivered, self._failed, self._in_flight)

    def close(self) -> None:
        """Wait for records in flight, drop the rest, end the thread. Idempotent."""
        with self._mutex:
            if self._forked_here:
                raise fork.forked_error()
            if self._closed:
                return
            self._closed = True
        if left := self._drained(CLOSE_TIMEOUT):
            log.warning(
                "closing: %d records were not delivered within %g s and are dropped", left, CLOSE_TIMEOUT
            )
            self._handle.purge()
            self._drained(1.0)  # the waits for them end
        self._ending = True
        self._thread.join()
        if self._renewal is not None:
            self._renewal.set_result(None)  # the next try raises StoreClosedError

    @property
    def closed(self) -> bool:
        return self._closed

    def check_open(self) -> None:
        """Raise once closed, or in a forked child."""
        if self._forked_here:
            raise fork.forked_error()
        if self._closed:
            raise StoreClosedError("the manager is closed")

    # Room in the queue; the caller holds the mutex

    @property
    def _in_flight(self) -> int:
        return self._sent - self._delivered - self._failed

    def _room(self) -> Future[None]:
        """Return a future that is done when half of the records in flight are reported."""
        room: Future[None] = Outcome()
        if self._in_flight:
            self._waiting.append((self._in_flight // 2, room))
        else:  # reported meanwhile, but librdkafka frees the place a moment later
            room.set_result(None)
        return room

    # On the producer's thread

    def _count(self, error: Code | None) -> None:
        with self._mutex:
            if error is None:
                self._delivered += 1
                self.heard.forget()
            else:
                self._failed += 1
            if not self._waiting:
                return
            rooms = [room for most, room in self._waiting if self._in_flight <= most]
            self._waiting = [one for one in self._waiting if self._in_flight > one[0]]
        for room in rooms:
            room.set_result(None)

    def _on_error(self, error: Code) -> None:
        self.heard.hear(error)
        log.info("Kafka at %s: %s", self.address, error.str())

    def _run(self) -> None:
        while not self._ending:
            try:
                self._handle.poll(_POLL_SECONDS)
                if self._renewal is not None:
                    self._renew()
            except RAISED as error:  # a fatal error is raised here, and not given to error_cb
                self._note_fatal(error)
            except Exception:  # without this thread there would be no delivery reports
                log.exception("an unexpected error on %s", self._thread.name)

    def _note_fatal(self, error: BaseException) -> None:
        code = code_of(error)
        if code is None:
            log.error("an unexpected error of the client", exc_info=error)
        else:
            self.fatal = code

    def _drained(self, timeout: float) -> int:
        """Wait for the reports of records in flight, past a fatal error, too; return how many are left."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                return self._handle.flush(max(0.0, deadline - time.monotonic()))
            except RAISED as error:
                self._note_fatal(error)
                if time.monotonic() >= deadline:
                    return len(self._handle)

    def _renew(self) -> None:
        """Replace a handle after a fatal error; the records in flight have failed."""
        log.error(
            "Kafka at %s: the producer had a fatal error and is replaced: %s",
            self.address,
            self.fatal or self.heard.text,
        )
        self._handle.purge()
        self._drained(1.0)
        fresh = self._make_handle()
        with self._mutex:
            self._handle = fresh
            renewal, self._renewal = self._renewal, None
        if renewal is not None:
            renewal.set_result(None)

    def _forked(self) -> None:
        self._forked_here = True
        fork.leak(self._handle)
