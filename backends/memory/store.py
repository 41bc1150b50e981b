"""One memory store: the contract around a sorted map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from statestore import core
from statestore.backends.contract import Backend, BackendIterator, Batch, Snapshot, SortedRun
from statestore.core.common import closed_error
from statestore.errors import StoreFullError
from statestore.runtime import fork

if TYPE_CHECKING or core.IMPLEMENTATION == "pure":
    from statestore.backends.memory.ordered import OrderedMap
else:
    from statestore._native import OrderedIterator, OrderedMap, OrderedSnapshot

    BackendIterator.register(OrderedIterator)
    Snapshot.register(OrderedSnapshot)


class MemoryBackend(OrderedMap, Backend):
    """A store in memory. Reads are the map's own and take no lock; writes take turns.

    ``on_end`` is called with ``directory`` when the store is closed.
    """

    def __init__(self, directory: Path, max_bytes: int | None, on_end: Callable[[Path], None]) -> None:
        super().__init__()
        self._directory = directory
        self._max_bytes = max_bytes
        self._on_end = on_end
        self._in_child = False
        self._write_lock = fork.lock()
        fork.register(self)

    def write(self, batch: Batch) -> None:
        with self._write_lock:
            size = self.change(batch.puts, batch.deletes, self._max_bytes)
        self._check_size(size)

    def load(self, runs: Sequence[SortedRun]) -> None:
        with self._write_lock:
            size = self.change_sorted(runs, self._max_bytes)
        self._check_size(size)

    def _check_size(self, size: int | None) -> None:
        if size is not None:
            raise StoreFullError(
                self._directory,
                f"the batch takes the store to {size} bytes of keys and values, "
                f"beyond its max_bytes of {self._max_bytes}",
                "raise MemoryOptions.max_bytes, or delete something",
            )

    def flush(self) -> None:
        self.check()

    def checkpoint(self, directory: Path) -> None:
        self.check()
        raise NotImplementedError(f"the memory engine has no files to copy to {directory}")

    def compact(self) -> None:
        self.check()  # every write has given back what it freed

    def destroy(self) -> None:
        self.close()

    def close(self) -> None:
        if self._in_child:
            raise fork.forked_error()
        self._on_end(self._directory)
        self.end(closed_error)

    def _forked(self) -> None:
        self._in_child = True
        self._on_end(self._directory)
        self.end(fork.forked_error, leak=True)
