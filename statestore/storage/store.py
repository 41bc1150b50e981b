"""The store of bytes that a user opens: a mapping with batches and snapshots."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from operator import itemgetter
from types import TracebackType
from typing import Self

from statestore.backends import Backend, Batch
from statestore.core import RecordCache
from statestore.errors import EncodeError
from statestore.runtime import fork
from statestore.storage.layout import DATA
from statestore.storage.view import StoreView


class KeyValueStore(StoreView, MutableMapping[bytes, bytes]):
    """A store of bytes without Kafka, made by ``StoreManager.open``; also a mapping that iterates its keys.

    Thread-safe. Every method raises ``StoreClosedError`` after ``close``. Writes raise ``EncodeError`` for a
    key that is too long for the backend, and a ``StoreUnavailableError`` where the backend cannot write;
    nothing of the write is then visible.
    """

    def __init__(
        self,
        name: str,
        backend: Backend,
        max_key_size: int,
        on_close: Callable[[], None] = lambda: None,
        cache: RecordCache | None = None,
    ) -> None:
        super().__init__(backend, cache=cache)
        self.name = name
        self._max_key_size = max_key_size
        self._on_close = on_close
        self._close_lock = fork.lock()
        self._closed = False

    def put(self, key: bytes, value: bytes) -> None:
        """Set ``key`` to ``value``."""
        self._check_key(key)
        self._write([(DATA + key, value)], ())

    def delete(self, key: bytes) -> None:
        """Remove ``key``; fine when it is absent."""
        self._check_key(key)
        self._write((), [DATA + key])

    def batch(self) -> WriteBatch:
        """Return a context manager with ``put`` and ``delete``, written atomically when it ends well."""
        return WriteBatch(self._write, self._check_key)

    def compact(self) -> None:
        """Give back the space of deleted and overwritten pairs."""
        self._backend.compact()

    def close(self) -> None:
        """Close the store; live iterators and snapshots end with ``StoreClosedError``. Idempotent."""
        with self._close_lock:
            if self._closed:
                return
            self._closed = True
        super().close()
        self._on_close()

    def clear(self) -> None:
        """Remove every key, in one batch."""
        with self.batch() as batch:
            for key in self:
                batch.delete(key)

    def __getitem__(self, key: bytes) -> bytes:
        value = self.get(key)
        if value is None:
            raise KeyError(key)
        return value

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self.put(key, value)

    def __delitem__(self, key: bytes) -> None:
        if key not in self:
            raise KeyError(key)
        self.delete(key)

    def __iter__(self) -> Iterator[bytes]:
        return map(itemgetter(0), self.scan())

    def __len__(self) -> int:
        return self.count()

    def __bool__(self) -> bool:
        return True  # a store is not its content: `if store:` must not scan

    def __eq__(self, other: object) -> bool:
        return self is other  # a mapping would compare contents: two scans

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        return f"<KeyValueStore {self.name!r}{' closed' if self._closed else ''}>"

    def _write(self, puts: Sequence[tuple[bytes, bytes]], deletes: Sequence[bytes]) -> None:
        with self._change(puts, deletes):
            self._backend.write(Batch(puts, deletes))

    def _check_key(self, key: bytes) -> None:
        if len(key) > self._max_key_size:
            raise key_too_long(self.name, len(key), self._max_key_size)


class WriteBatch:
    """Changes that are written together when the ``with`` block ends, or not at all when it raises.

    One thread at a time. Of several changes to one key the last one counts.
    """

    def __init__(
        self,
        write: Callable[[Sequence[tuple[bytes, bytes]], Sequence[bytes]], None],
        check_key: Callable[[bytes], None],
    ) -> None:
        self._write = write
        self._check_key = check_key
        self._changes: dict[bytes, bytes | None] = {}

    def put(self, key: bytes, value: bytes) -> None:
        self._check_key(key)
        if not isinstance(value, bytes):
            raise TypeError(f"a value is bytes, not {type(value).__name__}")
        self._changes[DATA + key] = value

    def delete(self, key: bytes) -> None:
        self._check_key(key)
        self._changes[DATA + key] = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None and self._changes:
            puts = [(key, value) for key, value in self._changes.items() if value is not None]
            self._write(puts, [key for key, value in self._changes.items() if value is None])


def key_too_long(store: str, length: int, limit: int) -> EncodeError:
    return EncodeError(
        f"store {store!r}: a key of {length} bytes is longer than the {limit} that its backend takes; "
        'shorten it, or use backend="rocksdb", which takes 65536'
    )
