"""Reads of tables of entities, and of their snapshots."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar, overload

from statestore.errors import DecodeError
from statestore.query.facade import Queryable, TableQuery
from statestore.query.rows import Scan, count_rows, find, key_rows, planned_rows, stored_keys
from statestore.query.source import ScanPolicy, Source
from statestore.relational.values import Query
from statestore.runtime.slices import with_pauses
from statestore.runtime.text import bounded_repr
from statestore.serde.entities import EntityCodec
from statestore.serde.formats import KeyPlan
from statestore.storage.changelog_store import Rows
from statestore.storage.view import StoreReader
from statestore.tables.reads import Bounds, RowReads, RowSource, several
from statestore.tables.timestamps import Record, Timestamped, instant, timestamped, timestamped_rows
from statestore.tables.views import TableItems, TableKeys, TableValues

T = TypeVar("T")
D = TypeVar("D")


class EntityReads(Queryable[T], RowReads[T]):
    """Reads of rows that are entities; a key is the values of the key fields."""

    def __init__(self, binding: RowSource, codec: EntityCodec[T], scans: ScanPolicy) -> None:
        self._binding = binding
        self._codec = codec
        self._scans = scans
        self._all: Query[T] = Query.of(codec.cls)
        self._window = None if codec.window is None else codec.window.form.window
        self._one_key = codec.has_one_key  # else there may be several for the same values
        self._fills_event_time = codec.fills_event_time
        self._key_of = attrgetter(*codec.key_types)  # of several, a tuple

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
            if payload is None:
                return default
            if self._fills_event_time:
                return self._decode(store, encoded, payload)
            try:  # as _decode does, whose call would take a twentieth of the time of this one
                return self._codec.decode(encoded, payload)
            except DecodeError as error:
                raise self._undecodable(store, encoded, error) from error
        found = find(store, self._codec, self._binding.mirror.counts, key)
        return default if found is None else self._decode(store, *found)

    def get_many(self, keys: Iterable[Any], *, allow_stale: bool = False) -> list[T | None]:
        """Return the entities of ``keys`` in their order, ``None`` for absent ones, as of one instant.

        A key is the value of a single key field, or a tuple of the values of all. Raises the errors of
        ``get``.
        """
        store = self._binding.readable or self._binding.reading(allow_stale)
        found: list[T | None] = []
        with store.snapshot() as snapshot:
            for key in with_pauses(several(keys)):
                values = key if isinstance(key, tuple) else (key,)
                pair = find(snapshot, self._codec, self._binding.mirror.counts, values)
                found.append(None if pair is None else self._decode(snapshot, *pair))
        return found

    def get_with_timestamp(self, *key: Any, allow_stale: bool = False) -> Timestamped[T] | None:
        """Return the entity with these key field values and its record's timestamp; ``None``: there is none.

        Raises the errors of ``get``.
        """
        store = self._binding.readable or self._binding.reading(allow_stale)
        found = find(store, self._codec, self._binding.mirror.counts, key)
        timed = None if found is None else store.get_with_timestamp(found[0])
        if found is None or timed is None:
            return None
        return timestamped(self._decode(store, found[0], timed[1], timed[0]), timed[0])

    def get_record(self, *key: Any, allow_stale: bool = False) -> Record[T] | None:
        """Return what is known of the record that wrote the row with these key field values.

        ``None``: there is no row. Raises the errors of ``get``.
        """
        store = self._binding.readable or self._binding.reading(allow_stale)
        with store.snapshot() as snapshot:
            found = find(snapshot, self._codec, self._binding.mirror.counts, key)
            timed = None if found is None else snapshot.get_with_timestamp(found[0])
            if found is None or timed is None:
                return None
            entity = self._decode(snapshot, found[0], timed[1], timed[0])
            place = snapshot.partition_of(found[0])
            return Record(self._key_of(entity), entity, instant(timed[0]), place)

    def keys(self, *, allow_stale: bool = False) -> TableKeys[Any]:
        """Return a view of the keys, in their order; each iteration over it shows one instant.

        A key is the value of a single key field, or a tuple of the values of several. No value is decoded.
        """
        return TableKeys(self._viewed_keys(allow_stale))

    def values(self, *, allow_stale: bool = False) -> TableValues[T]:
        """Return a view of the entities, in key order; each iteration over it shows one instant."""
        return TableValues(self._viewed_values(allow_stale))

    def items(self, *, allow_stale: bool = False) -> TableItems[Any, T]:
        """Return a view of the pairs of key and entity, in key order; each iteration shows one instant."""
        return TableItems(self._viewed_items(allow_stale))

    if TYPE_CHECKING:

        def __getitem__(self, key: Any) -> T: ...

    def _value_of(self, key: Any, allow_stale: bool) -> T | None:
        return self.get(*(key if isinstance(key, tuple) else (key,)), allow_stale=allow_stale)

    def for_each(self, fn: Callable[[T], object], *, allow_stale: bool = False) -> None:
        """Call ``fn(entity)`` for every row of one snapshot, in key order."""
        for row in self.scan(allow_stale=allow_stale):
            fn(row)

    def __contains__(self, key: object) -> bool:
        store = self._binding.readable or self._binding.reading(False)
        values = key if isinstance(key, tuple) else (key,)
        return any(one in store for one in stored_keys(store, self._codec, values))

    def explain(self, start: Any = None, stop: Any = None, prefix: Any = None) -> str:
        """Return how ``scan`` finds the rows of a range, and their order: ``"ordered keys: one seek, …"``.

        Raises ``EncodeError`` for a bound that does not fit the key.
        """
        return f"{self._codec.key_format} keys: {self._plan((start, stop, prefix)).note}"

    def _plan(self, bounds: Bounds) -> KeyPlan:
        return self._codec.key_plan(
            *[bound if bound is None or isinstance(bound, tuple) else (bound,) for bound in bounds]
        )

    def _count(self, store: Rows, bounds: Bounds) -> int:
        return count_rows(store, self._codec, self._binding.mirror.counts, self._plan(bounds))

    def _rows(self, store: Rows, bounds: Bounds, reverse: bool, limit: int | None) -> Scan[T]:
        counts = self._binding.mirror.counts
        return planned_rows(store, self._codec, counts, self._plan(bounds), reverse, limit, self._decode)

    def _timed_rows(
        self, store: Rows, bounds: Bounds, reverse: bool, limit: int | None
    ) -> Scan[Timestamped[T]]:
        counts = self._binding.mirror.counts
        return timestamped_rows(store, self._codec, counts, self._plan(bounds), reverse, limit, self._decode)

    def _key_rows(self, store: Rows, reverse: bool) -> Scan[Any]:
        codec, counts = self._codec, self._binding.mirror.counts
        decode = partial(self._decoded_key, store)
        return key_rows(store, codec, counts, reverse, decode)

    def _values(self, rows: Iterator[T]) -> Iterator[T]:
        return rows

    def _items(self, rows: Iterator[T]) -> Iterator[tuple[Any, T]]:
        key_of = self._key_of
        return ((key_of(row), row) for row in rows)

    def _decoded_key(self, store: StoreReader, key: bytes) -> Any:
        try:
            values = self._codec.decode_key(key)
        except DecodeError as error:
            raise self._undecodable(store, key, error) from error
        return values[0] if len(values) == 1 else values

    def _query(self) -> TableQuery[T]:
        return TableQuery(self._all, (self._source,), (self._window,))

    def _source(self, allow_stale: bool) -> Source[T]:
        store = self._binding.readable or self._binding.reading(allow_stale)
        counts = self._binding.mirror.counts
        return Source(self._binding.name, store, self._codec, counts, self._decode, self._scans)

    def _decode(self, store: StoreReader, key: bytes, payload: bytes, timestamp: int | None = None) -> T:
        """Return the entity of a pair read from ``store``; ``timestamp``: its record's, where it is known."""
        try:
            if not self._fills_event_time:
                return self._codec.decode(key, payload)
            if timestamp is None:
                return self._codec.decode(key, payload, store.get_with_timestamp)
            known = timestamp, payload
            return self._codec.decode(key, payload, lambda _key: known)
        except DecodeError as error:
            raise self._undecodable(store, key, error) from error

    def _undecodable(self, store: StoreReader, key: bytes, error: DecodeError) -> DecodeError:
        self._binding.mirror.counts.decode_errors += 1
        found = store.get_with_timestamp(key)
        told = "deleted meanwhile" if found is None else f"timestamp {found[0]} ms"
        row = f"table {self._binding.name!r}, key {bounded_repr(key)}"
        return DecodeError(f"{row}, {told}: {error}")
