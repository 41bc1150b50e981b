"""The references of reads and writes: the backends' own Python bindings, used as their manuals say."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import lmdb
from content import Pairs
from rocksdict import Options, Rdict, RdictIter, ReadOptions, WriteBatch, WriteOptions
from sortedcontainers import SortedDict

MAP_SIZE = 16 << 30


class Binding(ABC):
    """A store made with a binding alone. It creates its ``directory``. ``get`` is the point read."""

    get: Callable[[bytes], Any]
    names: ClassVar[dict[str, str]]
    """The calls that are measured, by kind of work."""

    @abstractmethod
    def __init__(self, directory: Path) -> None: ...

    @abstractmethod
    def get_many(self, keys: Sequence[bytes]) -> object:
        """Return the values of ``keys``."""

    @abstractmethod
    def scan(self) -> None:
        """Look at each pair, and at the status after the last one."""

    @abstractmethod
    def pairs(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Give the pairs from ``start`` to before ``stop``."""

    @abstractmethod
    def write(self, pairs: Pairs) -> None:
        """Write ``pairs`` as one batch."""

    @abstractmethod
    def close(self) -> None: ...

    def fill(self, pairs: Pairs, batch: int = 10_000) -> Self:
        """Write ``pairs`` and return when they are on disk."""
        for start in range(0, len(pairs), batch):
            self.write(pairs[start : start + batch])
        self.flush()
        return self

    def flush(self) -> None:  # noqa: B027 - LMDB has written it already
        """Return when everything is on disk."""

    def compact(self) -> None:  # noqa: B027 - LMDB needs none
        """Give the files the form in which reads are fastest."""

    def settle(self) -> None:  # noqa: B027 - LMDB does nothing by itself
        """Return when nothing is done in the background any more."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def settle(database: Rdict) -> None:
    """Return when RocksDB has merged the files that overlap, of each of which a read asks."""
    names = ("rocksdb.compaction-pending", "rocksdb.num-running-compactions")
    deadline = time.monotonic() + 600
    while any(database.property_int_value(name) for name in names):
        assert time.monotonic() < deadline, "RocksDB compacts for more than ten minutes"
        time.sleep(0.05)


class RocksDBBinding(Binding):
    """``rocksdict`` with its defaults, raw bytes and no write-ahead log."""

    names: ClassVar = {
        "get": "Rdict.get",
        "get_many": "Rdict.get(list)",
        "scan": "RdictIter, status()",
        "pairs": "RdictIter, upper bound",
        "write": "WriteBatch, no WAL",
    }

    def __init__(self, directory: Path) -> None:
        self._store = Rdict(str(directory), Options(raw_mode=True))
        self.get = self._store.get
        self._options = WriteOptions()
        self._options.disable_wal = True  # type: ignore[method-assign, assignment] # the stub is wrong

    def get_many(self, keys: Sequence[bytes]) -> object:
        return self._store.get(list(keys))

    def scan(self) -> None:
        cursor: RdictIter = self._store.iter(ReadOptions())
        cursor.seek_to_first()
        while cursor.valid():
            cursor.key(), cursor.value()
            cursor.next()
        cursor.status()  # a corrupt block ends the loop, too

    def pairs(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        options = ReadOptions()
        options.set_iterate_upper_bound(stop)
        cursor: Any = self._store.iter(options)
        cursor.seek(start)
        while cursor.valid():
            yield cursor.key(), cursor.value()
            cursor.next()
        cursor.status()

    def write(self, pairs: Pairs) -> None:
        batch = WriteBatch(raw_mode=True)
        for key, value in pairs:
            batch.put(key, value)
        self._store.write(batch, self._options)

    def flush(self) -> None:
        self._store.flush()

    def compact(self) -> None:
        self._store.compact_range(None, None)

    def settle(self) -> None:
        settle(self._store)

    def close(self) -> None:
        self._store.close()


class LMDBBinding(Binding):
    """``lmdb`` with its defaults and one transaction for each read or batch."""

    names: ClassVar = {
        "get": "begin() and get",
        "get_many": "begin() and get, each",
        "scan": "Cursor.__iter__",
        "pairs": "Cursor.set_range",
        "write": "begin(write=True), put",
    }

    def __init__(self, directory: Path) -> None:
        self._environment = environment = lmdb.open(str(directory), map_size=MAP_SIZE)

        def get(key: bytes) -> Any:
            with environment.begin() as transaction:
                return transaction.get(key)

        self.get = get

    def get_many(self, keys: Sequence[bytes]) -> object:
        with self._environment.begin() as transaction:
            return [transaction.get(key) for key in keys]

    def scan(self) -> None:
        with self._environment.begin() as transaction:
            for _ in transaction.cursor():
                pass

    def pairs(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        with self._environment.begin() as transaction:
            cursor = transaction.cursor()
            if cursor.set_range(start):
                for pair in cursor:
                    if pair[0] >= stop:
                        return
                    yield pair

    def write(self, pairs: Pairs) -> None:
        with self._environment.begin(write=True) as transaction:
            for key, value in pairs:
                transaction.put(key, value)

    def close(self) -> None:
        self._environment.close()


class MemoryBinding(Binding):
    """``SortedDict``, which has no files."""

    names: ClassVar = {
        "get": "SortedDict.get",
        "scan": "SortedDict.items",
        "pairs": "SortedDict.irange",
        "write": "SortedDict.update",
    }

    def __init__(self, directory: Path) -> None:  # noqa: ARG002 - of the others
        self._store = SortedDict()
        self.get = self._store.get

    def get_many(self, keys: Sequence[bytes]) -> object:
        return [self.get(key) for key in keys]

    def scan(self) -> None:
        for _ in self._store.items():
            pass

    def pairs(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        store = self._store
        return ((key, store[key]) for key in store.irange(start, stop, (True, False)))

    def write(self, pairs: Pairs) -> None:
        self._store.update(pairs)

    def close(self) -> None:
        self._store.clear()


BINDINGS: dict[str, type[Binding]] = {
    "rocksdb": RocksDBBinding,
    "lmdb": LMDBBinding,
    "memory": MemoryBinding,
}
