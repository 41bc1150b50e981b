"""Tables: reading the store of a bound topic. Nothing here writes a store."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, Generic, TypeVar, overload

from statestore.changelog.binding import Binding
from statestore.changelog.health import TableHealth
from statestore.core import BytesReads
from statestore.errors import DecodeError
from statestore.producing.mixins import TableWriteMixin
from statestore.producing.writer import EntityWriter
from statestore.runtime.text import bounded_repr
from statestore.serde.entities import EntityCodec
from statestore.serde.formats import KeyPlan
from statestore.storage.changelog_store import ChangelogStore
from statestore.tables.lifecycle import BoundTopic
from statestore.tables.rows import count_rows, find, planned_rows

T = TypeVar("T")
D = TypeVar("D")

_Bounds = tuple[Any, Any, Any]
"""``start``, ``stop`` and ``prefix`` of a scan, as its caller gave them."""


class BoundTable(BoundTopic, Generic[T]):
    """The reading methods that tables of entities and of bytes have in common. Thread-safe.

    Every reading method takes ``allow_stale``. Without it, a read raises ``StoreNotReadyError`` (with the
    lag) while the table has not reached the end of its topic, and ``StoreUnavailableError`` once the table
    has failed. After ``close`` every method raises ``StoreClosedError``. A read sees one snapshot and never
    blocks the mirror.
    """

    def scan(
        self,
        start: Any = None,
        stop: Any = None,
        prefix: Any = None,
        reverse: bool = False,
        limit: int | None = None,
        *,
        allow_stale: bool = False,
    ) -> Iterator[T]:
        """Iterate over the rows of a key range in key order, as of the moment of this call.

        A bound is the value of a single key field, or a tuple of the values of the leading key fields.
        ``start`` is included and ``stop`` excluded, also with ``reverse``. ``prefix`` narrows the range
        further; when it ends with the key's last field, a ``str`` or ``bytes``, that value is a prefix, too.
        ``limit=0`` gives no rows. Rows are ordered by the values of their keys; ``explain`` says how they are
        found. Raises ``EncodeError`` for a bound that does not fit the key, ``ValueError`` for a negative
        ``limit``.
        """
        store = self._binding.readable or self._binding.reading(allow_stale)
        return self._rows(store, (start, stop, prefix), reverse, limit)

    def to_list(self, *, allow_stale: bool = False) -> list[T]:
        """Return all rows, in key order."""
        return list(self.scan(allow_stale=allow_stale))

    def count(self, *, allow_stale: bool = False) -> int:
        """Return the exact number of rows (a scan that decodes nothing)."""
        return (self._binding.readable or self._binding.reading(allow_stale)).count()

    def approximate_count(self, *, allow_stale: bool = False) -> int:
        """Return an estimate of the number of rows; it reads no rows."""
        return (self._binding.readable or self._binding.reading(allow_stale)).approximate_count()

    def __iter__(self) -> Iterator[T]:
        return self.scan()

    @abstractmethod
    def _rows(self, store: ChangelogStore, bounds: _Bounds, reverse: bool, limit: int | None) -> Iterator[T]:
        """Iterate over the rows of a range."""


class BytesTable(BytesReads, BoundTable[tuple[bytes, bytes]]):
    """A topic bound by name. Rows are ``(key, value)``: the bytes of a message's key and value."""

    def for_each(self, fn: Callable[[bytes, bytes], object], *, allow_stale: bool = False) -> None:
        """Call ``fn(key, value)`` for every row of one snapshot, in key order."""
        for key, value in self.scan(allow_stale=allow_stale):
            fn(key, value)

    def _rows(
        self, store: ChangelogStore, bounds: _Bounds, reverse: bool, limit: int | None
    ) -> Iterator[tuple[bytes, bytes]]:
        for bound in bounds:
            if not isinstance(bound, bytes | None):
                raise TypeError(f"a key of table {self.name!r} is bytes, not {type(bound).__name__}")
        return store.scan(*bounds, reverse, limit)


class Table(TableWriteMixin[T], BoundTable[T]):
    """A topic bound by an entity class. Rows are entities; a key is the values of the key fields.

    Writing sends records to the topic; every mirror of the topic, this one too, then reads them.
    """

    def __init__(self, binding: Binding, codec: EntityCodec[T], cls: type[T], writer: EntityWriter) -> None:
        super().__init__(binding)
        self._codec = codec
        self._one_key = codec.key_plan().accepts is None  # else there may be several for the same values
        self._cls = cls
        self._writer = writer

    @overload
    def get(self, *key: Any, allow_stale: bool = False) -> T | None: ...
    @overload
    def get(self, *key: Any, default: D, allow_stale: bool = False) -> T | D: ...
    def get(self, *key: Any, default: Any = None, allow_stale: bool = False) -> Any:
        """Return the entity with these key field values, or ``default``.

        Raises ``EncodeError`` for values that do not fit the key fields, ``DecodeError`` for a stored value
        that does not fit the class.
        """
        store = self._binding.readable or self._binding.reading(allow_stale)
        if self._one_key:
            encoded = self._codec.encode_key(key)
            payload = store.get(encoded)
            return default if payload is None else self._decode(store, encoded, payload)
        found = find(store, self._codec, self._binding.mirror.counts, key)
        return default if found is None else self._decode(store, *found)

    def health(self) -> TableHealth:
        codec = self._codec
        return replace(
            super().health(),
            decoder="msgspec" if codec.decoder is None else "native",
            key_mismatches=codec.key_mismatches,
            overlong=codec.overlong,
        )

    def for_each(self, fn: Callable[[T], object], *, allow_stale: bool = False) -> None:
        """Call ``fn(entity)`` for every row of one snapshot, in key order."""
        for row in self.scan(allow_stale=allow_stale):
            fn(row)

    def __contains__(self, key: object) -> bool:
        store = self._binding.readable or self._binding.reading(False)
        return any(
            one in store for one in self._codec.key_encodings(key if isinstance(key, tuple) else (key,))
        )

    def count(self, *, allow_stale: bool = False) -> int:
        store = self._binding.readable or self._binding.reading(allow_stale)
        return count_rows(store, self._codec, self._binding.mirror.counts)

    def explain(self, start: Any = None, stop: Any = None, prefix: Any = None) -> str:
        """Return how ``scan`` finds the rows of a range, and their order: ``"ordered keys: one seek, …"``.

        Raises ``EncodeError`` for a bound that does not fit the key.
        """
        return f"{self._codec.key_format} keys: {self._plan((start, stop, prefix)).note}"

    def _plan(self, bounds: _Bounds) -> KeyPlan:
        return self._codec.key_plan(
            *[bound if bound is None or isinstance(bound, tuple) else (bound,) for bound in bounds]
        )

    def _rows(self, store: ChangelogStore, bounds: _Bounds, reverse: bool, limit: int | None) -> Iterator[T]:
        counts, decode = self._binding.mirror.counts, partial(self._decode, store)
        return planned_rows(store, self._codec, counts, self._plan(bounds), reverse, limit, decode)

    def _decode(self, store: ChangelogStore, key: bytes, payload: bytes) -> T:
        try:
            return self._codec.decode(key, payload)
        except DecodeError as error:
            self._binding.mirror.counts.decode_errors += 1
            found = store.get_with_timestamp(key)
            timestamp = "deleted meanwhile" if found is None else f"timestamp {found[0]} ms"
            row = f"table {self.name!r}, key {bounded_repr(key)}"
            raise DecodeError(f"{row}, {timestamp}: {error}") from error
