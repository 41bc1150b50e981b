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
from statestore.producing.writer import Writer
from statestore.runtime.steps import Steps, run, run_async

T = TypeVar("T")


class ManagerWrites:
    """Writing entities of any declared class, whether it is bound or not, to their topics. Thread-safe.

    Each method returns when Kafka has taken everything. Nothing is written into a store: a table has it when
    its mirror has read it (``table.wait_for``). ``timeout`` is in seconds; ``None`` waits for as long as the
    producer tries (``delivery.timeout.ms``, by default ``request_timeout``). The ``_async`` forms are awaited
    and block no thread; a cancelled one sends no more, what it sent is delivered or not.

    Raises ``RefusedError`` for what cannot be encoded or is too large, ``DeliveryError`` for what Kafka does
    not take; both carry what was delivered and what was not. ``ConfigError`` for a class that is no entity.
    """

    _writer: Writer
    _transactions: Transactions

    @abstractmethod
    def _check_open(self) -> None:
        """Raise once closed."""

    def add(self, entity: Any, *, timeout: float | None = None) -> Delivery:
        """Write an entity, new or changed, and return where it is."""
        return run(self._writer.add(entity), timeout)

    async def add_async(self, entity: Any, *, timeout: float | None = None) -> Delivery:
        """Await what :meth:`add` blocks for."""
        return await run_async(self._writer.add(entity), timeout)

    def add_all(self, entities: Iterable[Any], *, timeout: float | None = None) -> list[Delivery]:
        """Write entities in their order, many in flight at once, and return where they are.

        A collection is encoded as a whole first: when one is refused nothing is sent. An iterator is sent as
        it comes, and waits where Kafka is slower than it. After the first failure nothing more is sent.
        """
        return run(self._writer.add_all(entities), timeout)

    async def add_all_async(self, entities: Iterable[Any], *, timeout: float | None = None) -> list[Delivery]:
        """Await what :meth:`add_all` blocks for."""
        return await run_async(self._writer.add_all(entities), timeout)

    def delete(self, entity_or_class: Any, *key: Any, timeout: float | None = None) -> Delivery:
        """Delete an entity: ``delete(order)``, or by the values of its key fields ``delete(Order, 42)``."""
        return run(self._deletion(entity_or_class, key), timeout)[0]

    async def delete_async(self, entity_or_class: Any, *key: Any, timeout: float | None = None) -> Delivery:
        """Await what :meth:`delete` blocks for."""
        return (await run_async(self._deletion(entity_or_class, key), timeout))[0]

    def transaction(self) -> AbstractContextManager[Transaction]:
        """Write entities, of any topics, that become visible together: ``with stores.transaction() as tx:``.

        What the block gives to ``tx.add``, ``tx.add_all`` and ``tx.delete`` is sent and committed when it
        ends, and nothing is sent where it raises. Blocks until then; ``tx.deliveries`` are for ``wait_for``.
        One at a time: ``RuntimeError`` while another is open. ``DeliveryError`` where Kafka does not commit.
        """
        self._check_open()
        return self._transactions.begin()

    def flush(self, timeout: float = 30.0) -> None:
        """Return when nothing that any thread has written is on its way any more.

        Raises ``DeliveryError`` saying how many records still are after ``timeout`` seconds.
        """
        self._check_open()
        self._writer.flush(timeout)

    def _deletion(self, entity_or_class: Any, key: tuple[Any, ...]) -> Steps[list[Delivery]]:
        if isinstance(entity_or_class, type):
            return self._writer.delete(key, entity_or_class)
        if key:
            raise TypeError("delete takes an entity, or a class and the values of the key: delete(Order, 42)")
        return self._writer.delete_entity(entity_or_class)


class AwaitsDeliveries:
    """Reading what was written: waiting until a table has applied it."""

    _binding: Binding

    def wait_for(self, delivered: Delivery | Iterable[Delivery], timeout: float | None = 15.0) -> None:
        """Return when the table has applied what was ``delivered``, by ``add`` or by any other producer.

        One that restores is waited for until it is ready, so that a read finds what was written.
        Raises ``ReadyTimeoutError`` after ``timeout`` seconds (``None``: never), at once the failure of a
        table that has failed and ``StoreNotReadyError`` for one that is stopped; ``ValueError`` for a
        delivery to another topic.
        """
        run(self._applied(delivered, timeout), timeout)

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


class TableWrites(AwaitsDeliveries, Generic[T]):
    """Writing the entities of a table to its topic. Thread-safe.

    As on the manager (:class:`ManagerWrites`); with ``wait=True`` a method returns when this table has
    applied what was written, so that a read finds it. ``timeout`` is for both together; ``None`` then waits
    for as long as the table runs. ``ReadyTimeoutError`` where Kafka has taken what was written, but the table
    has not applied it in time; its ``delivered`` says where it is.
    """

    _writer: Writer
    _cls: type[T]

    def add(self, entity: T, *, wait: bool = False, timeout: float | None = None) -> Delivery:
        """Write an entity, new or changed, and return where it is."""
        return run(self._added(entity, wait, timeout), timeout)

    async def add_async(self, entity: T, *, wait: bool = False, timeout: float | None = None) -> Delivery:
        """Await what :meth:`add` blocks for."""
        return await run_async(self._added(entity, wait, timeout), timeout)

    def add_all(
        self, entities: Iterable[T], *, wait: bool = False, timeout: float | None = None
    ) -> list[Delivery]:
        """Write entities in their order, many in flight at once, and return where they are.

        A collection is encoded as a whole first: when one is refused nothing is sent. An iterator is sent as
        it comes, and waits where Kafka is slower than it. After the first failure nothing more is sent.
        """
        return run(self._all_added(entities, wait, timeout), timeout)

    async def add_all_async(
        self, entities: Iterable[T], *, wait: bool = False, timeout: float | None = None
    ) -> list[Delivery]:
        """Await what :meth:`add_all` blocks for."""
        return await run_async(self._all_added(entities, wait, timeout), timeout)

    def delete(self, *key: Any, wait: bool = False, timeout: float | None = None) -> Delivery:
        """Delete the entity with these values of the key fields, whether there is one or not."""
        return run(self._deleted(key, wait, timeout), timeout)

    async def delete_async(self, *key: Any, wait: bool = False, timeout: float | None = None) -> Delivery:
        """Await what :meth:`delete` blocks for."""
        return await run_async(self._deleted(key, wait, timeout), timeout)

    def _check_writable(self, wait: bool) -> None:
        """Raise before anything is written, where the wait behind it would be in vain."""
        self._binding.check_open()
        if wait:
            self._binding.raise_if_over()

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
