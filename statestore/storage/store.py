"""Stores: what users read and write, over a backend that knows nothing but ordered bytes.

Physical keys carry one namespace byte in front: ``0x00`` metadata, ``0x01`` data. A store bound to a topic
keeps its partitions' positions in the metadata, written in the same batch as the data, so both are always of
one instant. Its values are ``timestamp ms (int64 BE, -1 = none) ‖ payload``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from operator import itemgetter
from types import TracebackType
from typing import NamedTuple, Self

from statestore.backends.contract import Backend, BackendIterator, BackendReader, Batch, check_limit
from statestore.core import KeyRange, PairRun, Pairs, PointReads, RecordCache, Writes, count_pairs, uses
from statestore.errors import EncodeError
from statestore.runtime import fork

DATA = b"\x01"
POSITION_PREFIX = b"\x00pos"
HEADER = 8
"""Bytes of timestamp in front of the payload in a bound store."""

SMALL_COUNT = 10_000
"""Changes of up to so many keys ..."""
SMALL_SIZE = 4 << 20
"""... and so many bytes are written as a batch, where more are loaded in bulk."""

_POSITION_KEY = struct.Struct(">4si")
_POSITION = struct.Struct(">qiq")


class StoreReader(PointReads):
    """Reads of one store or snapshot: keys without namespace, values without their header. Thread-safe."""

    def __init__(self, reader: BackendReader, header: int = 0, cache: RecordCache | None = None) -> None:
        super().__init__(reader.get, reader.get_many, header, cache)
        self._reader = reader
        self._header = header

    def scan(
        self,
        start: bytes | None = None,
        stop: bytes | None = None,
        prefix: bytes | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> Iterator[tuple[bytes, bytes]]:
        """Iterate over ``(key, value)`` in byte order, over the content at the moment of this call.

        ``start`` is included and ``stop`` excluded, also in ``reverse``; ``prefix`` intersects; ``limit=0``
        gives nothing. Raises ``ValueError`` for a negative ``limit``. The iterator's next step after the
        store was closed raises ``StoreClosedError``.
        """
        return Pairs(self.scan_stored(start, stop, prefix, reverse, limit), self._header)

    def scan_stored(
        self,
        start: bytes | None = None,
        stop: bytes | None = None,
        prefix: bytes | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> BackendIterator:
        """The same, with each key's namespace byte and each value's header."""
        check_limit(limit)
        return self._reader.scan(KeyRange(start, stop, prefix).within(DATA), reverse, limit)

    def count(self) -> int:
        """Return the exact number of keys. This scans: use ``approximate_count`` where a guess will do."""
        return count_pairs(self.scan_stored())

    def close(self) -> None:
        """Release what this holds. Idempotent."""
        self._forget()
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class KeyValueStore(StoreReader, MutableMapping[bytes, bytes]):
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
        self._backend = backend
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

    def snapshot(self) -> StoreReader:
        """Return a read-only view fixed at this moment; close it, or use it in ``with``."""
        return StoreReader(self._backend.snapshot())

    def approximate_count(self) -> int:
        """Return about how many keys there are, cheaply."""
        return self._backend.approximate_count()

    def size(self) -> int:
        """Return the bytes this store takes on disk (in memory, for the memory backend)."""
        return self._backend.size()

    def flush(self) -> None:
        """Return when everything written before survives power loss."""
        self._backend.flush()

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


class Position(NamedTuple):
    """Where the mirror of one partition stands."""

    offset: int
    """The next offset to apply."""
    leader_epoch: int = -1
    """Leader epoch of the last applied record, -1 unknown."""
    valid_since: int = 0
    """When the pass that last reached the end began, ms since the epoch; 0: the end was never reached."""


class ChangelogStore(StoreReader):
    """The mirror of a topic: data and positions, changed together. One binder writes; everyone may read."""

    def __init__(
        self, name: str, backend: Backend, max_key_size: int, cache: RecordCache | None = None
    ) -> None:
        super().__init__(backend, HEADER, cache)
        self.name = name
        self.backend = backend
        self.max_key_size = max_key_size
        self._loads = uses("bulk")

    def positions(self) -> dict[int, Position]:
        """Read the position of every partition that has one."""
        pairs = self.backend.scan(KeyRange(prefix=POSITION_PREFIX))
        return {_POSITION_KEY.unpack(key)[1]: Position._make(_POSITION.unpack(value)) for key, value in pairs}

    def apply(
        self,
        writes: Writes,
        positions: Mapping[int, Position],
    ) -> bool:
        """Write changes and the positions behind them as one atomic unit. Keys carry their namespace.

        Says whether they, and everything before, survive power loss already. Otherwise a flush has to follow.
        """
        entries = [
            (_POSITION_KEY.pack(POSITION_PREFIX, partition), _POSITION.pack(*position))
            for partition, position in positions.items()
        ]
        if self._loads and (len(writes) > SMALL_COUNT or writes.size > SMALL_SIZE):
            with self._change(None, None):
                self.backend.load([PairRun(entries), writes])
            return True
        puts, deletes = writes.puts(), writes.deletes()
        with self._change(puts, deletes):
            self.backend.write(Batch([*puts, *entries], deletes))
        return False

    def get_with_timestamp(self, key: bytes) -> tuple[int, bytes] | None:
        """Return ``(timestamp ms, payload)`` of ``key``."""
        value = self._reader.get(DATA + key)
        return None if value is None else (int.from_bytes(value[:HEADER], signed=True), value[HEADER:])

    def snapshot(self) -> StoreReader:
        """Return a read-only view fixed at this moment."""
        return StoreReader(self.backend.snapshot(), HEADER)


def key_too_long(store: str, length: int, limit: int) -> EncodeError:
    return EncodeError(
        f"store {store!r}: a key of {length} bytes is longer than the {limit} that its backend takes; "
        'shorten it, or use backend="rocksdb", which takes 65536'
    )
