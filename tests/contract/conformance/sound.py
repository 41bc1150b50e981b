"""The backend of which those in ``broken.py`` differ by one defect each."""

from __future__ import annotations

import pickle
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from statestore.backends import (
    ALL_KEYS,
    Backend,
    BackendIterator,
    Batch,
    Engine,
    EngineOptions,
    KeyRange,
    SortedRun,
    StoreOptions,
    WrapperBackend,
)
from statestore.backends.memory import MemoryEngine, MemoryOptions
from statestore.errors import (
    StoreCorruptError,
    StoreUnavailableError,
)

Pair = tuple[bytes, bytes]


class Sound(WrapperBackend):
    """A persistent backend around the memory engine."""

    def __init__(self, inner: Backend, directory: Path) -> None:
        super().__init__(inner)
        self.directory = directory
        self._lock = threading.Lock()
        self.read()

    @property
    def file(self) -> Path:
        return self.directory / "pairs"

    def read(self) -> None:
        try:
            self.directory.mkdir(exist_ok=True)
            if self.file.exists():
                self.inner.write(Batch(pickle.loads(self.file.read_bytes())))
        except OSError as error:
            raise StoreUnavailableError(self.directory, str(error), "look at the path") from error
        except Exception as error:
            raise StoreCorruptError(self.directory, str(error), "restore it") from error

    def save(self, file: Path) -> None:
        new = file.with_suffix(".new")
        new.write_bytes(pickle.dumps(list(self.inner.scan())))
        new.replace(file)

    def scan(
        self, keys: KeyRange = ALL_KEYS, reverse: bool = False, limit: int | None = None
    ) -> BackendIterator:
        return self.scan_of(keys.start, keys.stop, reverse, limit)

    def scan_of(
        self, start: bytes | None, stop: bytes | None, reverse: bool, limit: int | None
    ) -> BackendIterator:
        return self.inner.scan(KeyRange(start, stop), reverse, limit)

    def write(self, batch: Batch) -> None:
        self.inner.flush()  # refuses a closed store and a forked child before the lock does
        with self._lock:
            self.inner.write(batch)
            self.save(self.file)

    def load(self, runs: Sequence[SortedRun]) -> None:
        Backend.load(self, runs)

    def delete_range(self, keys: KeyRange) -> bool:
        return Backend.delete_range(self, keys)

    def checkpoint(self, directory: Path) -> None:
        self.inner.flush()
        directory.mkdir()
        self.save(directory / "pairs")

    def destroy(self) -> None:
        self.close()
        shutil.rmtree(self.directory)


class SavingEngine(Engine):
    """Opens backends of one class."""

    name: ClassVar[str] = "saving"
    max_key_size: ClassVar[int] = 1000
    persistent: ClassVar[bool] = True
    options_type: ClassVar[type[EngineOptions]] = MemoryOptions

    def __init__(
        self, memory_budget: int, options: Any = None, *, backend: Callable[[Backend, Path], Backend]
    ) -> None:
        self._engine = MemoryEngine(memory_budget, options)
        self._backend = backend

    def open(self, directory: Path, options: StoreOptions) -> Backend:
        return self._backend(self._engine.open(directory, options), directory)

    def close(self) -> None:
        self._engine.close()


class PythonIterator(BackendIterator):
    """Pairs of any Python iterator, under the lifetime of a scan of the memory engine."""

    def __init__(self, pairs: Iterator[Pair], guard: BackendIterator) -> None:
        self.pairs = pairs
        self.guard = guard

    def __next__(self) -> Pair:
        next(self.guard)
        return next(self.pairs)

    def close(self) -> None:
        self.guard.close()
