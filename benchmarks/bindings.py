"""The references of reads and writes: those of ``statestore bench``, and what rows ask of them beside it."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from content import Pairs
from rocksdict import Rdict, RdictIter, ReadOptions

from statestore.bench.candidates import Candidate, Opening
from statestore.bench.references import LMDBReference, RocksdictReference, SortedDictReference


class Binding(Candidate):
    """A reference in ``directory``, which it creates."""

    durable: ClassVar = False
    names: ClassVar[dict[str, str]]
    """The calls that are measured, by kind of work."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        super().__init__(Opening(directory, self.durable))  # type: ignore[call-arg] # of the reference

    @abstractmethod
    def get_many(self, keys: Sequence[bytes]) -> object:
        """Return the values of ``keys``."""

    @abstractmethod
    def read_all(self) -> None:
        """Look at each pair, and at the status after the last one."""

    def fill(self, pairs: Pairs, batch: int = 10_000) -> Self:
        """Write ``pairs`` and return when they are on disk."""
        for start in range(0, len(pairs), batch):
            self.write(pairs[start : start + batch])
        self.flush()
        return self

    def settle(self) -> None:
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


class RocksDBBinding(Binding, RocksdictReference):
    """``rocksdict`` without a write-ahead log. Its ``items()`` ends at a corrupt block in silence.

    So the loops here ask for the status, as the library's own do.
    """

    names: ClassVar = {
        "get": "Rdict.get",
        "get_many": "Rdict.get(list)",
        "scan": "RdictIter, status()",
        "between": "RdictIter, upper bound",
        "write": "WriteBatch, no WAL",
    }

    def get_many(self, keys: Sequence[bytes]) -> object:
        return self._store.get(list(keys))

    def read_all(self) -> None:
        cursor: RdictIter = self._store.iter(ReadOptions())
        cursor.seek_to_first()
        while cursor.valid():
            cursor.key(), cursor.value()
            cursor.next()
        cursor.status()

    def settle(self) -> None:
        settle(self._store)


class LMDBBinding(Binding, LMDBReference):
    """``lmdb``, whose transactions are synced as a whole: its default, which ``durable`` leaves."""

    durable: ClassVar = True
    names: ClassVar = {
        "get": "begin() and get",
        "get_many": "begin() and get, each",
        "scan": "Cursor.__iter__",
        "between": "Cursor.set_range",
        "write": "begin(write=True), putmulti",
    }

    def get_many(self, keys: Sequence[bytes]) -> object:
        with self._environment.begin() as transaction:
            return [transaction.get(key) for key in keys]

    def read_all(self) -> None:
        with self._environment.begin() as transaction:
            for _ in transaction.cursor():
                pass


class MemoryBinding(Binding, SortedDictReference):
    names: ClassVar = {
        "get": "SortedDict.get",
        "scan": "SortedDict.items",
        "between": "SortedDict.irange",
        "write": "SortedDict.update",
    }

    def get_many(self, keys: Sequence[bytes]) -> object:
        return [self.get(key) for key in keys]

    def read_all(self) -> None:
        for _ in self._content.items():
            pass


BINDINGS: dict[str, type[Binding]] = {
    "rocksdb": RocksDBBinding,
    "lmdb": LMDBBinding,
    "memory": MemoryBinding,
}
