"""What a user calls to write: on the manager for any entity class, on a table for its own."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterable, Iterable
from typing import Any, Generic, TypeVar

from statestore.changelog.binding import Binding
from statestore.delivery import Delivery
from statestore.errors import ReadyTimeoutError
from statestore.producing.transaction import Transactions, TransactionScope
from statestore.producing.unless_newer import NOT_COMPARED, Read
from statestore.producing.writer import EntityWriter
from statestore.runtime.interrupts import TimeOverError
from statestore.runtime.steps import Steps, awaited_items, run_async, run_blocking

T = TypeVar("T")


class ManagerWriteMixin:
    """Writing entities of any declared class, whether it is bound or not, to their topics. Thread-safe.

    Each method returns when Kafka has confirmed every record. Nothing is written into a store: a table shows
    a record when its mirror has read it (``table.wait_for``). ``timeout`` is in seconds; with ``None`` the
    wait ends when the producer gives up (``delivery.timeout.ms``, by default ``request_timeout``). The
    ``_async`` forms are awaited and block no thread. When one is cancelled it sends nothing more; what it has
    sent may still be delivered.

    Raises ``EntityRejectedError`` for an entity that cannot be encoded or is too large, ``DeliveryError`` for
    records that Kafka does not take; both say what was delivered and what was not. Raises ``ConfigError`` for
    a class that is not an entity.
    """

    _writer: EntityWriter
    _transactions: Transactions

    @abstractmethod
    def _check_open(self) -> None:
        """Raise once closed."""

    def add(
        self, entity: Any, *, unless_newer_than: Read = NOT_COMPARED, timeout: float | None = None
    ) -> Delivery:
        """Write an entity, new or changed, and return where its record is.

        ``unless_newer_than`` is that of :meth:`Table.add`; the class must be bound.
        """
        return run_blocking(self._writer.add(entity, read=unless_newer_than), timeout)

    async def add_async(
        self, entity: Any, *, unless_newer_than: Read = NOT_COMPARED, timeout: float | None = None
    ) -> Delivery:
        """Await what :meth:`add` blocks for."""
        return await run_async(self._writer.add(entity, read=unless_newer_than), timeout)

    def add_all(self, entities: Iterable[Any], *, timeout: float | None = None) -> list[Delivery]:
        """Write entities in their order, many in flight at once, and return where their records are.

        A collection is encoded as a whole first: when one entity is rejected nothing is sent. An iterator is
        sent as it comes, and waits while Kafka is slower. After the first failure nothing more is sent. When
        ``timeout`` is over, no more is taken from an iterator; a step of its own that blocks is waited for.
        """
        return run_blocking(self._writer.add_all(entities), timeout)

    async def add_all_async(
        self, entities: Iterable[Any] | AsyncIterable[Any], *, timeout: float | None = None
    ) -> list[Delivery]:
        """Await what :meth:`add_all` blocks for; an async iterator is cancelled when ``timeout`` is over."""
        return await run_async(self._writer.add_all(_items(entities)), timeout)

    def delete(
        self,
        entity_or_class: Any,
        *key: Any,
        unless_newer_than: Read = NOT_COMPARED,
        timeout: float | None = None,
    ) -> Delivery:
        """Delete an entity: ``delete(order)``, or by the values of its key fields ``delete(Order, 42)``.

        ``unless_newer_than`` is that of :meth:`Table.add`; the class must be bound.
        """
        return run_blocking(self._deletion(entity_or_class, key, unless_newer_than), timeout)[0]

    async def delete_async(
        self,
        entity_or_class: Any,
        *key: Any,
        unless_newer_than: Read = NOT_COMPARED,
        timeout: float | None = None,
    ) -> Delivery:
        """Await what :meth:`delete` blocks for."""
        return (await run_async(self._deletion(entity_or_class, key, unless_newer_than), timeout))[0]

    def transaction(self) -> TransactionScope:
        """Write entities of any topics that become visible together: ``with stores.transaction() as tx:``.

        Entities given to ``tx.add``, ``tx.add_all`` and ``tx.delete`` are sent and committed when the block
        ends; when the block raises, nothing is sent. The end of the block waits for the commit. Afterwards
        ``tx.deliveries`` says where the records are, for ``wait_for``. ``async with`` works, too, and blocks
        no event loop; its block awaits ``tx.add_async``, ``tx.add_all_async`` and ``tx.delete_async``. Raises
        ``RuntimeError`` while another transaction is open, ``DeliveryError`` when Kafka does not commit, and
        ``ProducerFencedError`` since another producer took over the transactions of this data directory.
        """
        self._check_open()
        return self._transactions.begin(self)

    def flush(self, timeout: float = 30.0) -> None:
        """Return when every record that any thread has written is delivered, or has failed.

        Raises ``DeliveryError`` after ``timeout`` seconds, with the number of records still in flight.
        """
        self._check_open()
        self._writer.flush(timeout)

    def _deletion(self, entity_or_class: Any, key: tuple[Any, ...], read: Read) -> Steps[list[Delivery]]:
        if isinstance(entity_or_class, type):
            return self._writer.delete(key, entity_or_class, read)
        if key:
            raise TypeError("delete takes an entity, or a class and the values of the key: delete(Order, 42)")
        return self._writer.delete_entity(entity_or_class, read)


class DeliveryWaitMixin:
    """Waiting until a table has applied what was written."""

    _binding: Binding

    def wait_for(self, delivered: Delivery | Iterable[Delivery], timeout: float | None = 15.0) -> None:
        """Return when the table has applied the ``delivered`` records, of ``add`` or of any other producer.

        Of deliveries to several topics, as those of a transaction, the table's own are waited for. If the
        table is restoring, this waits until it is ready. Raises ``ReadyTimeoutError`` after ``timeout``
        seconds (``None``: never). For a failed table it raises the table's failure at once, for a stopped one
        ``StoreNotReadyError``, and where all deliveries are to other topics ``ValueError``.
        """
        run_blocking(self._applied(delivered, timeout), timeout)

    async def wait_for_async(
        self, delivered: Delivery | Iterable[Delivery], timeout: float | None = 15.0
    ) -> None:
        """Await what :meth:`wait_for` blocks for."""
        await run_async(self._applied(delivered, timeout), timeout)

    def _applied(self, delivered: Delivery | Iterable[Delivery], timeout: float | None) -> Steps[None]:
        binding = self._binding
        binding.check_open()
        offsets: dict[int, int] = {}
        given = [delivered] if isinstance(delivered, Delivery) else list(delivered)
        waited = [one for one in given if one.topic == binding.topic]
        if given and not waited:
            others = ", ".join(sorted({repr(one.topic) for one in given}))
            raise ValueError(f"table {binding.name!r} mirrors {binding.topic!r}, not {others}")
        if not waited:
            return
        for one in waited:
            offsets[one.partition] = max(one.offset, offsets.get(one.partition, -1))
        applied = binding.applied(offsets)
        try:
            yield applied
        except TimeOverError:
            where = ", ".join(f"[{number}] @ {offset}" for number, offset in sorted(offsets.items()))
            raise ReadyTimeoutError(
                f"{binding.topic} {where} is not applied after {timeout:g} s: {binding.describe()}",
                lag=binding.lag,
                reason=binding.reason,
                delivered=waited,
            ) from None
        finally:
            binding.forget_applied(applied)


class TableWriteMixin(DeliveryWaitMixin, Generic[T]):
    """Writing the entities of a table to its topic. Thread-safe.

    The methods are those of the manager (:class:`ManagerWriteMixin`). With ``wait=True`` a method returns
    when this table has applied the records, so that a read finds them. ``timeout`` then covers both;
    ``None`` waits for as long as the table runs. Raises ``ReadyTimeoutError`` when Kafka has the records but
    the table has not applied them in time; its ``delivered`` says where they are.
    """

    _writer: EntityWriter
    _cls: type[T]

    def add(
        self,
        entity: T,
        *,
        unless_newer_than: Read = NOT_COMPARED,
        wait: bool = False,
        timeout: float | None = None,
    ) -> Delivery:
        """Write an entity, new or changed, and return where its record is.

        ``unless_newer_than`` is the record on which the entity is based, as ``get_record`` returned
        it; ``None``: there was no row. Nothing is written, and ``NewerRecordError`` is raised, if the table
        has another record of the key by now, or if this manager is writing one with ``unless_newer_than``.
        Where it is not given, nothing is compared. Kafka itself compares nothing: a record of another
        process that this table has not applied yet (``lag``, usually some milliseconds) is not seen, and the
        write wins over it. Raises what a read raises while the table is not ready.
        """
        return run_blocking(self._added(entity, unless_newer_than, wait, timeout), timeout)

    async def add_async(
        self,
        entity: T,
        *,
        unless_newer_than: Read = NOT_COMPARED,
        wait: bool = False,
        timeout: float | None = None,
    ) -> Delivery:
        """Await what :meth:`add` blocks for."""
        return await run_async(self._added(entity, unless_newer_than, wait, timeout), timeout)

    def add_all(
        self, entities: Iterable[T], *, wait: bool = False, timeout: float | None = None
    ) -> list[Delivery]:
        """Write entities in their order, many in flight at once, and return where their records are.

        A collection is encoded as a whole first: when one entity is rejected nothing is sent. An iterator is
        sent as it comes, and waits while Kafka is slower. After the first failure nothing more is sent. When
        ``timeout`` is over, no more is taken from an iterator; a step of its own that blocks is waited for.
        """
        return run_blocking(self._all_added(entities, wait, timeout), timeout)

    async def add_all_async(
        self,
        entities: Iterable[T] | AsyncIterable[T],
        *,
        wait: bool = False,
        timeout: float | None = None,
    ) -> list[Delivery]:
        """Await what :meth:`add_all` blocks for; an async iterator is cancelled when ``timeout`` is over."""
        return await run_async(self._all_added(_items(entities), wait, timeout), timeout)

    def delete(
        self,
        *key: Any,
        unless_newer_than: Read = NOT_COMPARED,
        wait: bool = False,
        timeout: float | None = None,
    ) -> Delivery:
        """Delete an entity: ``delete(order)``, or by the values of its key fields: ``delete(42)``.

        It is fine where there is none.

        With ``unless_newer_than`` only if the record that was read is the newest, as with :meth:`add`.
        """
        return run_blocking(self._deleted(key, unless_newer_than, wait, timeout), timeout)

    async def delete_async(
        self,
        *key: Any,
        unless_newer_than: Read = NOT_COMPARED,
        wait: bool = False,
        timeout: float | None = None,
    ) -> Delivery:
        """Await what :meth:`delete` blocks for."""
        return await run_async(self._deleted(key, unless_newer_than, wait, timeout), timeout)

    def _check_writable(self, wait: bool) -> None:
        """Raise before anything is written, when the wait after it could never end."""
        self._binding.check_open()
        if wait:
            self._binding.check_may_become_ready()

    def _added(self, entity: T, read: Read, wait: bool, timeout: float | None) -> Steps[Delivery]:
        self._check_writable(wait)
        delivery = yield from self._writer.add(entity, self._cls, read)
        if wait:
            yield from self._applied(delivery, timeout)
        return delivery

    def _all_added(self, entities: Iterable[T], wait: bool, timeout: float | None) -> Steps[list[Delivery]]:
        self._check_writable(wait)
        deliveries = yield from self._writer.add_all(entities, self._cls)
        if wait:
            yield from self._applied(deliveries, timeout)
        return deliveries

    def _deleted(
        self, key: tuple[Any, ...], read: Read, wait: bool, timeout: float | None
    ) -> Steps[Delivery]:
        self._check_writable(wait)
        if len(key) == 1 and isinstance(key[0], self._cls):
            deliveries = yield from self._writer.delete_entity(key[0], read)
        else:
            deliveries = yield from self._writer.delete(key, self._cls, read)
        if wait:
            yield from self._applied(deliveries, timeout)
        return deliveries[0]


def _items(entities: Iterable[T] | AsyncIterable[T]) -> Iterable[Any]:
    """Return what the writer takes, on an event loop."""
    return awaited_items(entities) if isinstance(entities, AsyncIterable) else entities
