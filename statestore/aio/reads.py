"""Reads of rows, awaited: the same for a table and for a snapshot of one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Generic, Protocol, TypeVar, overload

from statestore.aio.documented import documented_by
from statestore.aio.loop import OwnLoop
from statestore.aio.query import AsyncQueryable
from statestore.aio.rows import AsyncRows
from statestore.errors import UnreachableRegistryError
from statestore.runtime.slices import pause_point
from statestore.serde.formats import REGISTRY_ACCESS
from statestore.tables.bytes_reads import BytesRowReads
from statestore.tables.entity_reads import EntityReads
from statestore.tables.reads import RowReads, several
from statestore.tables.timestamps import Record, Timestamped

T = TypeVar("T")
D = TypeVar("D")

FEW = 16
"""Keys that are read at once on the loop; more are read in slices …"""
AT_ONCE = 64
"""… of which each reads a number of so many."""


@documented_by(RowReads)
class AsyncRowReads(Generic[T]):
    """The reads that tables of entities and of bytes have in common."""

    _own: OwnLoop

    @property
    @abstractmethod
    def blocking(self) -> RowReads[T]:
        """The same for threads that may block."""

    def scan(
        self,
        start: Any = None,
        stop: Any = None,
        prefix: Any = None,
        reverse: bool = False,
        limit: int | None = None,
        *,
        allow_stale: bool = False,
    ) -> AsyncRows[T]:
        blocking = self.blocking
        return AsyncRows(
            self._own, lambda: blocking.scan(start, stop, prefix, reverse, limit, allow_stale=allow_stale)
        )

    def scan_with_timestamps(
        self,
        start: Any = None,
        stop: Any = None,
        prefix: Any = None,
        reverse: bool = False,
        limit: int | None = None,
        *,
        allow_stale: bool = False,
    ) -> AsyncRows[Timestamped[T]]:
        scan = self.blocking.scan_with_timestamps
        return AsyncRows(
            self._own, lambda: scan(start, stop, prefix, reverse, limit, allow_stale=allow_stale)
        )

    def __aiter__(self) -> AsyncRows[T]:
        return self.scan()

    async def to_list(
        self,
        start: Any = None,
        stop: Any = None,
        prefix: Any = None,
        reverse: bool = False,
        limit: int | None = None,
        *,
        allow_stale: bool = False,
    ) -> list[T]:
        return await self._own.in_slices(
            self.blocking.to_list, start, stop, prefix, reverse, limit, allow_stale=allow_stale
        )

    async def count(
        self, start: Any = None, stop: Any = None, prefix: Any = None, *, allow_stale: bool = False
    ) -> int:
        return await self._own.in_slices(self.blocking.count, start, stop, prefix, allow_stale=allow_stale)

    def __bool__(self) -> bool:
        return True  # a table is not its content


class _Readable(Protocol):
    def get_many(self, keys: Iterable[bytes]) -> list[bytes | None]: ...


def many(
    pinned: Callable[[], AbstractContextManager[_Readable]], keys: Sequence[bytes]
) -> list[bytes | None]:
    """Return the values of ``keys``, as of one instant; on a worker thread."""
    found: list[bytes | None] = []
    with pinned() as rows:
        for start in range(0, len(keys), AT_ONCE):
            pause_point()
            found += rows.get_many(keys[start : start + AT_ONCE])
    return found


@documented_by(BytesRowReads)
class AsyncBytesReads(AsyncRowReads[tuple[bytes, bytes]]):
    """Reads of rows that are ``(key, value)``: the bytes of a message's key and value."""

    @property
    @abstractmethod
    def blocking(self) -> BytesRowReads: ...

    @overload
    async def get(self, key: bytes, *, allow_stale: bool = False) -> bytes | None: ...
    @overload
    async def get(self, key: bytes, *, default: D, allow_stale: bool = False) -> bytes | D: ...
    async def get(self, key: bytes, *, default: Any = None, allow_stale: bool = False) -> Any:
        self._own.check()
        return self.blocking.get(key, default=default, allow_stale=allow_stale)

    async def get_many(self, keys: Iterable[bytes], *, allow_stale: bool = False) -> list[bytes | None]:
        keys = list(several(keys))
        if len(keys) > FEW:
            return await self._own.shortly(many, partial(self._pinned, allow_stale), keys)
        self._own.check()
        return self.blocking.get_many(keys, allow_stale=allow_stale)

    @abstractmethod
    def _pinned(self, allow_stale: bool) -> AbstractContextManager[BytesRowReads]:
        """Return the rows of one instant, on a worker thread."""

    async def get_with_timestamp(self, key: bytes, *, allow_stale: bool = False) -> Timestamped[bytes] | None:
        self._own.check()
        return self.blocking.get_with_timestamp(key, allow_stale=allow_stale)

    def __contains__(self, key: object) -> bool:
        self._own.check()
        return key in self.blocking

    async def get_record(self, key: bytes, *, allow_stale: bool = False) -> Record[bytes] | None:
        self._own.check()
        return self.blocking.get_record(key, allow_stale=allow_stale)

    def keys(self, *, allow_stale: bool = False) -> AsyncRows[bytes]:
        """Return the keys in their order, for ``async for``."""
        return AsyncRows(self._own, lambda: iter(self.blocking.keys(allow_stale=allow_stale)))

    def values(self, *, allow_stale: bool = False) -> AsyncRows[bytes]:
        """Return the values in the order of their keys, for ``async for``."""
        return AsyncRows(self._own, lambda: iter(self.blocking.values(allow_stale=allow_stale)))

    def items(self, *, allow_stale: bool = False) -> AsyncRows[tuple[bytes, bytes]]:
        """Return the pairs of key and value, in the order of the keys, for ``async for``."""
        return AsyncRows(self._own, lambda: iter(self.blocking.items(allow_stale=allow_stale)))

    async def for_each(self, fn: Callable[[bytes, bytes], object], *, allow_stale: bool = False) -> None:
        await self.scan(allow_stale=allow_stale).for_each(lambda pair: fn(*pair))


@documented_by(EntityReads)
class AsyncEntityReads(AsyncQueryable[T], AsyncRowReads[T]):
    """Reads of rows that are entities; a key is the values of the key fields."""

    @property
    @abstractmethod
    def blocking(self) -> EntityReads[T]: ...

    @overload
    async def get(self, *key: Any, allow_stale: bool = False) -> T | None: ...
    @overload
    async def get(self, *key: Any, default: D, allow_stale: bool = False) -> T | D: ...
    async def get(self, *key: Any, default: Any = None, allow_stale: bool = False) -> Any:
        if self._may_wait:
            read = partial(self.blocking.get, *key, default=default, allow_stale=allow_stale)
            return await self._own.shortly(read)
        self._own.check()
        return self.blocking.get(*key, default=default, allow_stale=allow_stale)

    async def get_many(self, keys: Iterable[Any], *, allow_stale: bool = False) -> list[T | None]:
        keys = list(several(keys))
        if self._may_wait or len(keys) > FEW:
            return await self._own.shortly(self.blocking.get_many, keys, allow_stale=allow_stale)
        self._own.check()
        return self.blocking.get_many(keys, allow_stale=allow_stale)

    async def get_with_timestamp(self, *key: Any, allow_stale: bool = False) -> Timestamped[T] | None:
        if self._may_wait:
            return await self._own.shortly(self.blocking.get_with_timestamp, *key, allow_stale=allow_stale)
        self._own.check()
        return self.blocking.get_with_timestamp(*key, allow_stale=allow_stale)

    async def get_record(self, *key: Any, allow_stale: bool = False) -> Record[T] | None:
        if self._may_wait:
            return await self._own.shortly(self.blocking.get_record, *key, allow_stale=allow_stale)
        self._own.check()
        return self.blocking.get_record(*key, allow_stale=allow_stale)

    def keys(self, *, allow_stale: bool = False) -> AsyncRows[Any]:
        """Return the keys in their order, for ``async for``: of several key fields a tuple of values."""
        return AsyncRows(self._own, lambda: iter(self.blocking.keys(allow_stale=allow_stale)))

    def values(self, *, allow_stale: bool = False) -> AsyncRows[T]:
        """Return the entities in key order, for ``async for``."""
        return AsyncRows(self._own, lambda: iter(self.blocking.values(allow_stale=allow_stale)))

    def items(self, *, allow_stale: bool = False) -> AsyncRows[tuple[Any, T]]:
        """Return the pairs of key and entity, in key order, for ``async for``."""
        return AsyncRows(self._own, lambda: iter(self.blocking.items(allow_stale=allow_stale)))

    @property
    def _may_wait(self) -> bool:
        """Whether a read may ask a schema registry."""
        return self.blocking._codec.waits  # noqa: SLF001 - of the other form of this object

    def __contains__(self, key: object) -> bool:
        self._own.check()
        if not self._may_wait:
            return key in self.blocking
        REGISTRY_ACCESS.allowed = False
        try:
            return key in self.blocking
        except UnreachableRegistryError as error:
            cause = "`in` cannot wait for its answer on an event loop: use `await table.get(key)`, which does"
            raise UnreachableRegistryError(error.address, error.subject, cause) from None
        finally:
            REGISTRY_ACCESS.allowed = True

    async def for_each(self, fn: Callable[[T], object], *, allow_stale: bool = False) -> None:
        await self.scan(allow_stale=allow_stale).for_each(fn)

    def explain(self, start: Any = None, stop: Any = None, prefix: Any = None) -> str:
        return self.blocking.explain(start, stop, prefix)
