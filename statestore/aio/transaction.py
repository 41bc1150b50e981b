"""Transactions, awaited."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable
from types import TracebackType
from typing import Any

from statestore.aio.documented import documented_by
from statestore.aio.loop import OwnLoop
from statestore.delivery import Delivery
from statestore.producing.transaction import Transaction, TransactionScope
from statestore.producing.unless_newer import NOT_COMPARED, Read


@documented_by(Transaction)
class AsyncTransaction:
    """The entities that one ``async with stores.transaction()`` writes. Only for the task of the block."""

    def __init__(self, transaction: Transaction, own: OwnLoop) -> None:
        self._transaction = transaction
        self._own = own

    @property
    def deliveries(self) -> list[Delivery]:
        """The deliveries of the records, in order; empty until the transaction is committed."""
        return self._transaction.deliveries

    async def add(self, entity: Any, *, unless_newer_than: Read = NOT_COMPARED) -> None:
        self._own.check()
        await self._transaction.add_async(entity, unless_newer_than=unless_newer_than)

    async def add_all(self, entities: Iterable[Any] | AsyncIterable[Any]) -> None:
        self._own.check()
        await self._transaction.add_all_async(entities)

    async def delete(self, entity_or_class: Any, *key: Any, unless_newer_than: Read = NOT_COMPARED) -> None:
        self._own.check()
        await self._transaction.delete_async(entity_or_class, *key, unless_newer_than=unless_newer_than)


class AsyncTransactionScope:
    """The block of a transaction, for ``async with``. When it ends well, it is committed."""

    def __init__(self, scope: TransactionScope, own: OwnLoop) -> None:
        self._scope = scope
        self._own = own

    async def __aenter__(self) -> AsyncTransaction:
        self._own.check()
        return AsyncTransaction(await self._scope.__aenter__(), self._own)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._own.check()
        await self._scope.__aexit__(kind, error, traceback)
