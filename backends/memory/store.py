"""One memory store: the contract around a sorted map."""

from __future__ import annotations

from collections.abc import Sequence
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
    """A store in memory. Reads and changes are the map's own."""

    def __init__(self, directory: Path, max_bytes: int | None) -> None:
        super().__init__()
        self.directory = directory
        self.is_open = True
        self._max_bytes = max_bytes
        self._in_child = False
        fork.register(self)

    def write(self, batch: Batch) -> None:
        puts, deletes = batch
        self._check_size(self.change(puts, deletes, self._max_bytes))

    def load(self, runs: Sequence[SortedRun]) -> None:
        self._check_size(self.change_sorted(runs, self._max_bytes))

    def _check_size(self, size: int | None) -> None:
        if size is not None:
            raise StoreFullError(
                self.directory,
                f"the batch takes the store to {size} bytes of keys and values, "
                f"beyond its max_bytes of {self._max_bytes}",
                "raise max_bytes under [backends.memory], or delete something",
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

    def shut(self) -> None:
        if self._in_child:
            raise fork.forked_error()
        self.end(closed_error)

    def close(self) -> None:
        if self._in_child:
            raise fork.forked_error()
        self.is_open = False
        self.end(closed_error)

    def _forked(self) -> None:
        self._in_child = True
        self.is_open = False
        self.end(fork.forked_error, leak=True)
