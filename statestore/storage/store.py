"""The store of bytes that a user opens: a mapping with batches and snapshots."""

from __future__ import annotations

from collections.abc import (
    Callable,
    ItemsView,
    Iterable,
    Iterator,
    KeysView,
    Mapping,
    MutableMapping,
    Sequence,
    ValuesView,
)
from operator import itemgetter
from typing import Any, TypeVar, cast, overload

from statestore.backends import Backend, Batch
from statestore.core import PointReads, RecordCache
from statestore.core.common import must_be_bytes
from statestore.errors import EncodeError
from statestore.runtime.interrupts import shielded
from statestore.storage.layout import DATA, LONGEST_KEY
from statestore.storage.user_store import BatchScope, UserStore
from statestore.storage.view import StoreView

T = TypeVar("T")
_MISSING: Any = object()


class KeyValueStore(UserStore, StoreView, MutableMapping[bytes, bytes]):
    """A store of bytes without Kafka, made by ``StoreManager.open``; also a mapping in the order of its keys.

    Thread-safe. Every method is atomic, those of a mapping included: ``pop``, ``popitem``, ``setdefault``,
    ``update`` and ``clear`` let no other write in between, and each iteration, over keys, ``items()`` or
    ``values()``, shows one moment. So ``dict(store.items())`` is a copy of one moment; ``dict(store)`` asks
    key by key, and raises ``KeyError`` where a key goes meanwhile.

    Every method raises ``StoreClosedError`` after ``close``, and ``TypeError`` for a key that is not
    ``bytes``. Writes raise ``EncodeError`` for a key that is too long for the backend, and a
    ``StoreUnavailableError`` where the backend cannot write; nothing of the write is then visible.
    """

    def __init__(
        self,
        name: str,
        backend: Backend,
        max_key_size: int,
        on_close: Callable[[], None] = lambda: None,
        cache: RecordCache | None = None,
    ) -> None:
        UserStore.__init__(self, name, on_close)
        StoreView.__init__(self, backend, cache=cache)
        self._cached = cache is not None
        self._max_key_size = max_key_size

    def put(self, key: bytes, value: bytes) -> None:
        """Set ``key`` to ``value``."""
        if type(key) is not bytes or len(key) > self._max_key_size:
            self._check_key(key)
        self._write([(DATA + key, value)], ())

    def delete(self, key: bytes) -> None:
        """Remove ``key``; fine when it is absent."""
        self._check_key(key)
        self._write((), [DATA + key])

    def promoted(self, backend: Backend, cache: RecordCache | None) -> None:
        """Read and write ``backend`` from now on: this process owns the store."""
        self._backend = self._reader = backend
        self._cached = cache is not None
        PointReads.__init__(self, backend.get, backend.get_many, DATA, 0, cache)

    def batch(self) -> WriteBatch:
        """Return a context manager with ``put`` and ``delete``, written atomically when it ends well."""
        return WriteBatch(self._write, self._check_key, self._max_key_size)

    def compact(self) -> None:
        """Give back the space of deleted and overwritten pairs; with LMDB writes wait meanwhile."""
        shielded(super().compact)

    def shut(self) -> None:
        """Make every call from now on raise ``StoreClosedError``, and wait for nothing: ``close`` follows."""
        StoreView.shut(self)

    def _release(self) -> None:
        StoreView.close(self)

    # As a mapping

    @overload
    def pop(self, key: bytes, /) -> bytes: ...

    @overload
    def pop(self, key: bytes, /, default: bytes | T) -> bytes | T: ...

    def pop(self, key: bytes, /, default: Any = _MISSING) -> Any:
        """Remove ``key`` and return its value; without it ``default``, or ``KeyError``."""
        with self._write_lock:
            value = self.get(key)
            if value is not None:
                self.delete(key)
                return value
        if default is _MISSING:
            raise KeyError(key)
        return default

    def popitem(self) -> tuple[bytes, bytes]:
        """Remove the last key, in byte order, and return it with its value; ``KeyError`` when empty."""
        with self._write_lock:
            for key, value in self.scan(reverse=True, limit=1):
                self.delete(key)
                return key, value
        raise KeyError(f"store {self.name!r} is empty")

    def setdefault(self, key: bytes, default: bytes = _MISSING, /) -> bytes:
        """Return the value of ``key``; where there is none, set it to ``default`` first."""
        if default is _MISSING:
            raise TypeError("setdefault() needs a value: None cannot be stored")
        with self._write_lock:
            value = self.get(key)
            if value is None:
                self.put(key, default)
                value = default
        return value

    def update(  # type: ignore[override] # keywords would be str keys
        self, other: Mapping[bytes, bytes] | Iterable[tuple[bytes, bytes]] = (), /
    ) -> None:
        """Set the pairs of ``other``, in one batch: all of them, or none where one is refused."""
        pairs = other.items() if isinstance(other, Mapping) else other
        with self.batch() as batch:
            for key, value in cast("Iterable[tuple[bytes, bytes]]", pairs):
                batch.put(key, value)

    def clear(self) -> None:
        """Remove every key, in one batch."""
        with self._write_lock, self.batch() as batch:
            for key in self:
                batch.delete(key)

    def keys(self) -> StoreKeys:
        """Return a view of the keys, in byte order; ``reversed`` turns it."""
        return StoreKeys(self)

    def items(self) -> StoreItems:
        """Return a view of the pairs, in byte order; each iteration over it shows one moment."""
        return StoreItems(self)

    def values(self) -> StoreValues:
        """Return a view of the values, in the order of their keys; each iteration shows one moment."""
        return StoreValues(self)

    def __getitem__(self, key: bytes) -> bytes:
        value = self.get(key)
        if value is None:
            raise KeyError(key)
        return value

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self.put(key, value)

    def __delitem__(self, key: bytes) -> None:
        with self._write_lock:
            if self.get(key) is None:
                raise KeyError(key)
            self.delete(key)

    def __iter__(self) -> Iterator[bytes]:
        return map(itemgetter(0), self.scan())

    def __reversed__(self) -> Iterator[bytes]:
        return map(itemgetter(0), self.scan(reverse=True))

    def __len__(self) -> int:
        return self.count()

    def __bool__(self) -> bool:
        return True  # a store is not its content: `if store:` must not scan

    def __eq__(self, other: object) -> bool:
        return self is other  # a mapping would compare contents: two scans

    def __hash__(self) -> int:
        return id(self)

    __repr__ = UserStore.__repr__

    def _write(self, puts: Sequence[tuple[bytes, bytes]], deletes: Sequence[bytes]) -> None:
        with self._write_lock:
            if not self._cached:  # a write in memory is short enough to notice the time of another `with`
                self._backend.write(Batch(puts, deletes))
                return
            with self._change(puts, deletes):
                self._backend.write(Batch(puts, deletes))

    def _check_key(self, key: bytes) -> None:
        if not isinstance(key, (bytes, bytearray, memoryview)):
            raise must_be_bytes("a key", key)
        if len(key) > self._max_key_size:
            raise key_too_long(self.name, len(key), self._max_key_size)


class StoreKeys(KeysView[bytes]):
    _mapping: KeyValueStore

    def __reversed__(self) -> Iterator[bytes]:
        return reversed(self._mapping)


class StoreItems(ItemsView[bytes, bytes]):
    _mapping: KeyValueStore

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        return self._mapping.scan()

    def __reversed__(self) -> Iterator[tuple[bytes, bytes]]:
        return self._mapping.scan(reverse=True)


class StoreValues(ValuesView[bytes]):
    _mapping: KeyValueStore

    def __iter__(self) -> Iterator[bytes]:
        return map(itemgetter(1), self._mapping.scan())

    def __reversed__(self) -> Iterator[bytes]:
        return map(itemgetter(1), self._mapping.scan(reverse=True))

    def __contains__(self, value: object) -> bool:
        return any(value == one for one in self)


class WriteBatch(BatchScope):
    """Changes that are written together when the ``with`` block ends, or not at all when it raises.

    One thread at a time. Of several changes to one key the last one counts. A batch serves one block: before
    it, after it and for a second one every method raises ``RuntimeError``.
    """

    def __init__(
        self,
        write: Callable[[Sequence[tuple[bytes, bytes]], Sequence[bytes]], None],
        check_key: Callable[[bytes], None],
        max_key_size: int,
    ) -> None:
        super().__init__()
        self._write = write
        self._check_key = check_key
        self._max_key_size = max_key_size
        self._changes: dict[bytes, bytes | None] = {}

    def put(self, key: bytes, value: bytes) -> None:
        """Set ``key`` to ``value`` when the block ends."""
        if not self._inside:
            raise self._misused()
        if type(key) is not bytes or len(key) > self._max_key_size:
            self._check_key(key)
        if not isinstance(value, bytes):
            raise must_be_bytes("a value", value)
        self._changes[DATA + key] = value

    def delete(self, key: bytes) -> None:
        """Remove ``key`` when the block ends; fine when it is absent."""
        if not self._inside:
            raise self._misused()
        self._check_key(key)
        self._changes[DATA + key] = None

    def _commit(self) -> None:
        if self._changes:
            puts = [(key, value) for key, value in self._changes.items() if value is not None]
            self._write(puts, [key for key, value in self._changes.items() if value is None])


def key_too_long(store: str, length: int, limit: int) -> EncodeError:
    return EncodeError(
        f"store {store!r}: a key of {length} bytes is longer than the {limit} that its backend takes; "
        f"shorten it{longer_keys(limit)}"
    )


def longer_keys(limit: int) -> str:
    """Return the remedy of another backend, after others, for a key that is longer than ``limit``."""
    return "" if limit >= LONGEST_KEY else f', or use backend="rocksdb", which takes {LONGEST_KEY}'
