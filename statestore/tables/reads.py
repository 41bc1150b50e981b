"""Reads of rows that tables and snapshots, of entities and of bytes, have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from statestore.changelog.counts import Counts
from statestore.query.row_iterator import RowIterator
from statestore.query.rows import Scan
from statestore.runtime.text import bounded_repr
from statestore.storage.changelog_store import Rows
from statestore.tables.timestamps import Timestamped
from statestore.tables.views import Viewed

T = TypeVar("T")

Bounds = tuple[Any, Any, Any]
"""``start``, ``stop`` and ``prefix`` of a scan, as its caller gave them."""

ALL: Bounds = (None, None, None)


class Counting(Protocol):
    """What counts faults that reads meet."""

    @property
    def counts(self) -> Counts: ...


class RowSource(Protocol):
    """What says which store may be read."""

    @property
    def name(self) -> str:
        """The logical store name."""
        ...

    @property
    def mirror(self) -> Counting: ...

    @property
    def readable(self) -> Rows | None:
        """The store while reads are allowed."""
        ...

    def reading(self, allow_stale: bool) -> Rows:
        """Return the store to read from, or raise why it cannot be read."""
        ...


class RowReads(Generic[T]):
    """The reads that tables of entities and of bytes, and their snapshots, have in common. Thread-safe.

    A key is the value of a single key field, a tuple of the values of several, or bytes. Operators, as
    ``table[key]``, read as methods do without ``allow_stale``.
    """

    _binding: RowSource

    def scan(
        self,
        start: Any = None,
        stop: Any = None,
        prefix: Any = None,
        reverse: bool = False,
        limit: int | None = None,
        *,
        allow_stale: bool = False,
    ) -> RowIterator[T]:
        """Iterate over the rows of a key range in key order, as of the moment of this call.

        A bound is the value of a single key field, or a tuple of the values of the leading key fields.
        ``start`` is included and ``stop`` excluded, also with ``reverse``. ``prefix`` narrows the range
        further; when it ends with the key's last field, a ``str`` or ``bytes``, that value is a prefix, too.
        ``limit=0`` gives no rows. Rows are ordered by the values of their keys; ``explain`` says how they are
        found. Raises ``EncodeError`` for a bound that does not fit the key, ``ValueError`` for a negative
        ``limit``.
        """
        store = self._binding.readable or self._binding.reading(allow_stale)
        bounds = start, stop, prefix
        rows = self._rows(store, bounds, reverse, limit)
        return RowIterator(rows, partial(self._about, "scan", bounds, reverse, limit), self)

    def to_list(
        self,
        start: Any = None,
        stop: Any = None,
        prefix: Any = None,
        reverse: bool = False,
        limit: int | None = None,
        *,
        allow_stale: bool = False,
    ) -> list[T]:
        """Return the rows of ``scan`` with the same arguments: without any, all rows in key order."""
        store = self._binding.readable or self._binding.reading(allow_stale)
        scan = self._rows(store, (start, stop, prefix), reverse, limit)
        try:
            return list(scan.rows)
        finally:
            scan.close()

    def count(
        self, start: Any = None, stop: Any = None, prefix: Any = None, *, allow_stale: bool = False
    ) -> int:
        """Return the exact number of rows, of all or of a key range.

        It looks at each key and decodes no value: about 0.1 to 0.3 s for a million rows. A table's
        ``approximate_count()`` reads none.
        """
        store = self._binding.readable or self._binding.reading(allow_stale)
        return self._count(store, (start, stop, prefix))

    def scan_with_timestamps(
        self,
        start: Any = None,
        stop: Any = None,
        prefix: Any = None,
        reverse: bool = False,
        limit: int | None = None,
        *,
        allow_stale: bool = False,
    ) -> RowIterator[Timestamped[T]]:
        """Iterate over the rows of a range as ``scan`` does, each with the timestamp of its record."""
        store = self._binding.readable or self._binding.reading(allow_stale)
        bounds = start, stop, prefix
        rows = self._timed_rows(store, bounds, reverse, limit)
        about = partial(self._about, "scan with timestamps", bounds, reverse, limit)
        return RowIterator(rows, about, self)

    # As a mapping

    def __getitem__(self, key: Any) -> Any:
        """Return the value of ``key``; raise ``KeyError`` where there is none."""
        if isinstance(key, slice):
            raise TypeError(f"a table has no slices: scan({_named(key)}) reads a range of keys")
        value = self._value_of(key, False)
        if value is None:
            raise KeyError(f"{self._whose} has no row with the key {bounded_repr(key)}; get() returns None")
        return value

    def __iter__(self) -> RowIterator[T]:
        return self.scan()

    def __reversed__(self) -> RowIterator[T]:
        return self.scan(reverse=True)

    def __len__(self) -> int:
        """Return the exact number of rows, as ``count()`` does and at its cost.

        Python's ``list(table)`` asks for it first; ``to_list()`` does not.
        """
        return self.count()

    def __bool__(self) -> bool:
        return True  # a table is not its content: `if table:` must not scan

    def _viewed_keys(self, allow_stale: bool) -> Viewed[Any]:
        def rows(reverse: bool) -> RowIterator[Any]:
            store = self._binding.readable or self._binding.reading(allow_stale)
            return self._whole("keys", self._key_rows(store, reverse), reverse)

        return self._viewed(rows, allow_stale)

    def _viewed_values(self, allow_stale: bool) -> Viewed[Any]:
        def rows(reverse: bool) -> RowIterator[Any]:
            scan = self._all_rows(reverse, allow_stale)
            return self._whole("values", Scan(self._values(scan.rows), scan.close), reverse)

        return self._viewed(rows, allow_stale)

    def _viewed_items(self, allow_stale: bool) -> Viewed[tuple[Any, Any]]:
        def rows(reverse: bool) -> RowIterator[tuple[Any, Any]]:
            scan = self._all_rows(reverse, allow_stale)
            return self._whole("items", Scan(self._items(scan.rows), scan.close), reverse)

        return self._viewed(rows, allow_stale)

    def _viewed(self, rows: Callable[[bool], RowIterator[Any]], allow_stale: bool) -> Viewed[Any]:
        return Viewed(
            self,
            rows,
            lambda: self.count(allow_stale=allow_stale),
            lambda key: self._value_of(key, allow_stale),
        )

    @abstractmethod
    def _value_of(self, key: Any, allow_stale: bool) -> Any:
        """Return the value of ``key``, ``None`` where there is none; several key fields are a tuple."""

    def _all_rows(self, reverse: bool, allow_stale: bool) -> Scan[T]:
        store = self._binding.readable or self._binding.reading(allow_stale)
        return self._rows(store, ALL, reverse, None)

    def _whole(self, what: str, scan: Scan[Any], reverse: bool) -> RowIterator[Any]:
        return RowIterator(scan, partial(self._about, what, ALL, reverse, None), self)

    def _about(self, what: str, bounds: Bounds, reverse: bool, limit: int | None) -> str:
        named = dict(zip(("start", "stop", "prefix"), bounds, strict=True))
        given = [f"{name}={bounded_repr(bound)}" for name, bound in named.items() if bound is not None]
        given += ["reverse=True"] * bool(reverse) + ([] if limit is None else [f"limit={limit}"])
        return ", ".join([f"{what} of {self._whose}", *given])

    @property
    def _whose(self) -> str:
        """What is read, for messages."""
        return f"table {self._binding.name!r}"

    @abstractmethod
    def _count(self, store: Rows, bounds: Bounds) -> int:
        """Return the number of rows of a range."""

    @abstractmethod
    def _timed_rows(
        self, store: Rows, bounds: Bounds, reverse: bool, limit: int | None
    ) -> Scan[Timestamped[T]]:
        """Return the rows of a range with their timestamps."""

    @abstractmethod
    def _rows(self, store: Rows, bounds: Bounds, reverse: bool, limit: int | None) -> Scan[T]:
        """Return the rows of a range."""

    @abstractmethod
    def _key_rows(self, store: Rows, reverse: bool) -> Scan[Any]:
        """Return all keys."""

    @abstractmethod
    def _values(self, rows: Iterator[T]) -> Iterator[Any]:
        """Return the values of rows."""

    @abstractmethod
    def _items(self, rows: Iterator[T]) -> Iterator[tuple[Any, Any]]:
        """Return keys and values of rows."""


def several(keys: Iterable[Any]) -> Iterable[Any]:
    """Return the keys given to ``get_many``. Raises ``TypeError`` for a single one."""
    if isinstance(keys, str | bytes | bytearray) or not isinstance(keys, Iterable):
        key = bounded_repr(keys)
        raise TypeError(f"get_many takes several keys, not {key}: get_many([{key}]), or get({key})")
    return keys


def _named(bounds: slice) -> str:
    """Return what a slice says, as the arguments of a scan."""
    given = {"start": bounds.start, "stop": bounds.stop}
    return ", ".join(f"{name}={bounded_repr(one)}" for name, one in given.items() if one is not None)
