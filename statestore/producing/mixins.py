"""What a user calls to write: on the manager for any entity class, on a table for its own."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeVar

from statestore.changelog.binding import Binding
from statestore.delivery import Delivery
from statestore.errors import ReadyTimeoutError
from statestore.producing.transaction import Transaction, Transactions
from statestore.producing.writer import EntityWriter
from statestore.runtime.steps import Steps, run_async, run_blocking

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

    def add(self, entity: Any, *, timeout: float | None = None) -> Delivery:
        """Write an entity, new or changed, and return where its record is."""
        return run_blocking(self._writer.add(entity), timeout)

    async def add_async(self, entity: Any, *, timeout: float | None = None) -> Delivery:
        """Await what :meth:`add` blocks for."""
        return await run_async(self._writer.add(entity), timeout)

    def add_all(self, entities: Iterable[Any], *, timeout: float | None = None) -> list[Delivery]:
        """Write entities in their order, many in flight at once, and return where their records are.

        A collection is encoded as a whole first: when one entity is rejected nothing is sent. An iterator is
        sent as it comes, and waits while Kafka is slower. After the first failure nothing more is sent.
        """
        return run_blocking(self._writer.add_all(entities), timeout)

    async def add_all_async(self, entities: Iterable[Any], *, timeout: float | None = None) -> list[Delivery]:
        """Await what :meth:`add_all` blocks for."""
        return await run_async(self._writer.add_all(entities), timeout)

    def delete(self, entity_or_class: Any, *key: Any, timeout: float | None = None) -> Delivery:
        """Delete an entity: ``delete(order)``, or by the values of its key fields ``delete(Order, 42)``."""
        return run_blocking(self._deletion(entity_or_class, key), timeout)[0]

    async def delete_async(self, entity_or_class: Any, *key: Any, timeout: float | None = None) -> Delivery:
        """Await what :meth:`delete` blocks for."""
        return (await run_async(self._deletion(entity_or_class, key), timeout))[0]

    def transaction(self) -> AbstractContextManager[Transaction]:
        """Write entities of any topics that become visible together: ``with stores.transaction() as tx:``.

        Entities given to ``tx.add``, ``tx.add_all`` and ``tx.delete`` are sent and committed when the block
        ends; when the block raises, nothing is sent. The end of the block waits for the commit. Afterwards
        ``tx.deliveries`` says where the records are, for ``wait_for``. Raises ``RuntimeError`` while another
        transaction is open, and ``DeliveryError`` when Kafka does not commit.
        """
        self._check_open()
        return self._transactions.begin()

    def flush(self, timeout: float = 30.0) -> None:
        """Return when every record that any thread has written is delivered, or has failed.

        Raises ``DeliveryError`` after ``timeout`` seconds, with the number of records still in flight.
        """
        self._check_open()
        self._writer.flush(timeout)

    def _deletion(self, entity_or_class: Any, key: tuple[Any, ...]) -> Steps[list[Delivery]]:
        if isinstance(entity_or_class, type):
            return self._writer.delete(key, entity_or_class)
        if key:
            raise TypeError("delete takes an entity, or a class and the values of the key: delete(Order, 42)")
        return self._writer.delete_entity(entity_or_class)


class DeliveryWaitMixin:
    """Waiting until a table has applied what was written."""

    _binding: Binding

    def wait_for(self, delivered: Delivery | Iterable[Delivery], timeout: float | None = 15.0) -> None:
        """Return when the table has applied the ``delivered`` records, of ``add`` or of any other producer.

        If the table is restoring, this waits until it is ready. Raises ``ReadyTimeoutError`` after
        ``timeout`` seconds (``None``: never). For a failed table it raises the table's failure at once, for a
        stopped one ``StoreNotReadyError``, and for a delivery to another topic ``ValueError``.
        """
        run_blocking(self._applied(delivered, timeout), timeout)

    async def wait_for_async(
        self, delivered: Delivery | Iterable[Delivery], timeout: float | None = 15.0
    ) -> None:
        """Await what :meth:`wait_for` blocks for."""
        await run_async(self._applied(delivered, timeout), timeout)

    def _applied(self, delivered: Delivery | Iterable[Delivery], timeout: float | None) -> Steps[None]:
        binding = self._binding
        offsets: dict[int, int] = {}
        waited = [delivered] if isinstance(delivered, Delivery) else list(delivered)
        for one in waited:
            if one.topic != binding.topic:
                raise ValueError(f"table {binding.name!r} mirrors {binding.topic!r}, not {one.topic!r}")
            offsets[one.partition] = max(one.offset, offsets.get(one.partition, -1))
        applied = binding.applied(offsets)
        try:
            yield applied
        except TimeoutError:
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

    def add(self, entity: T, *, wait: bool = False, timeout: float | None = None) -> Delivery:
        """Write an entity, new or changed, and return where its record is."""
        return run_blocking(self._added(entity, wait, timeout), timeout)

    async def add_async(self, entity: T, *, wait: bool = False, timeout: float | None = None) -> Delivery:
        """Await what :meth:`add` blocks for."""
        return await run_async(self._added(entity, wait, timeout), timeout)

    def add_all(
        self, entities: Iterable[T], *, wait: bool = False, timeout: float | None = None
    ) -> list[Delivery]:
        """Write entities in their order, many in flight at once, and return where their records are.

        A collection is encoded as a whole first: when one entity is rejected nothing is sent. An iterator is
        sent as it comes, and waits while Kafka is slower. After the first failure nothing more is sent.
        """
        return run_blocking(self._all_added(entities, wait, timeout), timeout)

    async def add_all_async(
        self, entities: Iterable[T], *, wait: bool = False, timeout: float | None = None
    ) -> list[Delivery]:
        """Await what :meth:`add_all` blocks for."""
        return await run_async(self._all_added(entities, wait, timeout), timeout)

    def delete(self, *key: Any, wait: bool = False, timeout: float | None = None) -> Delivery:
        """Delete the entity with these values of the key fields, whether there is one or not."""
        return run_blocking(self._deleted(key, wait, timeout), timeout)

    async def delete_async(self, *key: Any, wait: bool = False, timeout: float | None = None) -> Delivery:
        """Await what :meth:`delete` blocks for."""
        return await run_async(self._deleted(key, wait, timeout), timeout)

    def _check_writable(self, wait: bool) -> None:
        """Raise before anything is written, when the wait after it could never end."""
        self._binding.check_open()
        if wait:
            self._binding.check_may_become_ready()

    def _added(self, entity: T, wait: bool, timeout: float | None) -> Steps[Delivery]:
        self._check_writable(wait)
        delivery = yield from self._writer.add(entity, self._cls)
        if wait:
            yield from self._applied(delivery, timeout)
        return delivery

    def _all_added(self, entities: Iterable[T], wait: bool, timeout: float | None) -> Steps[list[Delivery]]:
        self._check_writable(wait)
        deliveries = yield from self._writer.add_all(entities, self._cls)
        if wait:
            yield from self._applied(deliveries, timeout)
        return deliveries

    def _deleted(self, key: tuple[Any, ...], wait: bool, timeout: float | None) -> Steps[Delivery]:
        self._check_writable(wait)
        deliveries = yield from self._writer.delete(key, self._cls)
        if wait:
            yield from self._applied(deliveries, timeout)
        return deliveries[0]
