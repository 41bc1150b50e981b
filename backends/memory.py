"""The memory engine: a store without files, for tests, caches and mirrors that are cheap to restore.

The content of a store is one immutable :class:`_Content`, a sorted list of small sorted blocks. A write
builds the next content, sharing every block it does not touch, and publishes it by one assignment. That makes
a snapshot a reference, a batch atomic, and lets readers and writers pass each other without a lock.
"""

from __future__ import annotations

import os
import threading
import weakref
from abc import abstractmethod
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from statestore import fork
from statestore.backends.contract import (
    Backend,
    BackendIterator,
    Batch,
    Engine,
    Reader,
    Snapshot,
    check_limit,
    range_bounds,
)
from statestore.backends.lifetime import check_bytes, check_range, closed_error
from statestore.errors import (
    ConfigError,
    StateStoreError,
    StoreFullError,
    StoreUnavailableError,
)

_BLOCK_PAIRS = 512
"""A block is split above this many pairs: a single put copies one block and one reference per block."""


@dataclass(frozen=True)
class MemoryOptions:
    """Options of the memory engine."""

    max_bytes: int | None = None
    """Bytes of keys and values that one store may hold; a write beyond raises ``StoreFullError``.

    ``None``, the default, sets no bound. Set it where a runaway topic must not take the process down. The
    bookkeeping of Python comes on top, about 100 bytes a pair.
    """

    def __post_init__(self) -> None:
        if self.max_bytes is not None and self.max_bytes < 1:
            raise ConfigError(f"MemoryOptions.max_bytes must be None or >= 1, not {self.max_bytes}")


class _Block(NamedTuple):
    keys: tuple[bytes, ...]
    values: tuple[bytes, ...]


class _Content:
    """An immutable sorted map of bytes to bytes."""

    __slots__ = ("_blocks", "_firsts", "count", "size")

    def __init__(self, blocks: list[_Block], firsts: list[bytes], count: int, size: int) -> None:
        self._blocks = blocks
        self._firsts = firsts  # the first key of each block
        self.count = count
        self.size = size  # bytes of all keys and values

    def get(self, key: bytes) -> bytes | None:
        index = bisect_right(self._firsts, key) - 1
        if index < 0:
            return None
        keys, values = self._blocks[index]
        at = bisect_left(keys, key)
        return values[at] if at < len(keys) and keys[at] == key else None

    def pairs(self, start: bytes | None, stop: bytes | None, reverse: bool) -> Iterator[tuple[bytes, bytes]]:
        low = 0 if start is None else max(bisect_right(self._firsts, start) - 1, 0)
        high = len(self._firsts) if stop is None else bisect_left(self._firsts, stop)
        blocks = (self._blocks[index] for index in range(low, high))
        if reverse:
            blocks = (self._blocks[index] for index in range(high - 1, low - 1, -1))
        return chain.from_iterable(_pairs_of(block, start, stop, reverse) for block in blocks)

    def changed(self, changes: Mapping[bytes, bytes | None]) -> _Content:
        """Return this content after ``changes``, in which ``None`` deletes a key."""
        keys = sorted(changes)
        blocks: list[_Block] = []
        firsts: list[bytes] = []
        count, size = self.count, self.size
        done = at = 0  # blocks before `done` and changes before `at` are in the result
        while at < len(keys):
            index = max(bisect_right(self._firsts, keys[at]) - 1, 0)
            if index + 1 < len(self._firsts):
                behind = bisect_left(keys, self._firsts[index + 1], at)
            else:
                behind = len(keys)
            blocks += self._blocks[done:index]
            firsts += self._firsts[done:index]
            old = self._blocks[index] if self._blocks else _Block((), ())
            new, more_count, more_size = _merge(old, keys[at:behind], changes)
            if blocks and new and len(blocks[-1].keys) + len(new[0].keys) <= _BLOCK_PAIRS // 2:
                left = blocks.pop()  # deletes leave small blocks: join them again
                firsts.pop()
                new[0] = _Block(left.keys + new[0].keys, left.values + new[0].values)
            blocks += new
            firsts += [block.keys[0] for block in new]
            count += more_count
            size += more_size
            done, at = index + 1, behind
        blocks += self._blocks[done:]
        firsts += self._firsts[done:]
        return _Content(blocks, firsts, count, size)


_EMPTY = _Content([], [], 0, 0)


def _pairs_of(
    block: _Block, start: bytes | None, stop: bytes | None, reverse: bool
) -> Iterator[tuple[bytes, bytes]]:
    low = 0 if start is None else bisect_left(block.keys, start)
    high = len(block.keys) if stop is None else bisect_left(block.keys, stop)
    keys, values = block.keys[low:high], block.values[low:high]
    if reverse:
        return zip(reversed(keys), reversed(values), strict=True)
    return zip(keys, values, strict=True)


def _merge(
    block: _Block, changed: Sequence[bytes], changes: Mapping[bytes, bytes | None]
) -> tuple[list[_Block], int, int]:
    """Return the blocks that replace ``block``, and how many pairs and bytes more they hold."""
    keys, values = list(block.keys), list(block.values)
    more_size = 0
    for key in changed:
        value = changes[key]
        at = bisect_left(keys, key)
        if at < len(keys) and keys[at] == key:
            more_size -= len(key) + len(values[at])
            if value is None:
                del keys[at], values[at]
                continue
            values[at] = value
        elif value is None:
            continue
        else:
            keys.insert(at, key)
            values.insert(at, value)
        more_size += len(key) + len(value)
    size = len(keys)
    if size > _BLOCK_PAIRS:
        # Half-full ones rather than a full one and a remnant, so that the next put does not split again.
        size = -(-size // (2 * size // _BLOCK_PAIRS))
    blocks = [
        _Block(tuple(keys[at : at + size]), tuple(values[at : at + size]))
        for at in range(0, len(keys), size or 1)
    ]
    return blocks, len(keys) - len(block.keys), more_size


class _MemoryIterator(BackendIterator):
    def __init__(self, pairs: Iterator[tuple[bytes, bytes]]) -> None:
        self._pairs: Iterator[tuple[bytes, bytes]] | None = pairs
        self._finished = False
        self._gone: Callable[[], StateStoreError] = closed_error

    def __next__(self) -> tuple[bytes, bytes]:
        pairs = self._pairs
        if pairs is None:
            if self._finished:
                raise StopIteration
            raise self._gone()
        try:
            return next(pairs)
        except StopIteration:
            self.close()
            raise

    def close(self) -> None:
        self._finished = True
        self._pairs = None

    def _end(self, gone: Callable[[], StateStoreError]) -> None:
        self._gone = gone
        self._pairs = None


class _MemoryReader(Reader):
    """Reads one content; ``None`` in its place means that there is nothing to read any more."""

    def __init__(self, content: _Content) -> None:
        self._content: _Content | None = content
        self._gone: Callable[[], StateStoreError] = closed_error

    def _live(self) -> _Content:
        content = self._content
        if content is None:
            raise self._gone()
        return content

    def _end(self, gone: Callable[[], StateStoreError]) -> None:
        self._gone = gone
        self._content = None

    @abstractmethod
    def _track(self, reader: _MemoryIterator | MemorySnapshot) -> None:
        """Have ``reader`` ended when the backend closes."""

    def get(self, key: bytes) -> bytes | None:
        check_bytes("key", key)
        return self._live().get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        content = self._live()
        for key in keys:
            check_bytes("key", key)
        return [content.get(key) for key in keys]

    def scan(
        self,
        start: bytes | None = None,
        stop: bytes | None = None,
        prefix: bytes | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> BackendIterator:
        check_limit(limit)
        check_range(start, stop, prefix)
        start, stop = range_bounds(start, stop, prefix)
        iterator = _MemoryIterator(islice(self._live().pairs(start, stop, reverse), limit))
        self._track(iterator)
        return iterator


class MemorySnapshot(_MemoryReader, Snapshot):
    def __init__(self, content: _Content, backend: MemoryBackend) -> None:
        super().__init__(content)
        self._backend = backend

    def _track(self, reader: _MemoryIterator | MemorySnapshot) -> None:
        self._backend._track(reader)  # noqa: SLF001 - one module, one bookkeeping

    def close(self) -> None:
        if self._content is not None:
            self._end(closed_error)


class MemoryBackend(_MemoryReader, Backend):
    """A store in memory. Reads take no lock; writes take turns."""

    def __init__(self, directory: Path, max_bytes: int | None) -> None:
        super().__init__(_EMPTY)
        self._directory = directory
        self._max_bytes = max_bytes
        self._write_lock = threading.Lock()
        self._readers_lock = threading.Lock()  # never held while a batch is applied
        self._readers: weakref.WeakSet[_MemoryIterator | MemorySnapshot] = weakref.WeakSet()
        fork.register(self)

    def write(self, batch: Batch) -> None:
        changes: dict[bytes, bytes | None] = {}
        for key in batch.deletes:
            check_bytes("key", key)
            changes[key] = None
        for key, value in batch.puts:
            check_bytes("key", key)
            check_bytes("value", value)
            changes[key] = value
        with self._write_lock:
            content = self._live()
            if not changes:
                return
            new = content.changed(changes)
            if self._max_bytes is not None and new.size > max(self._max_bytes, content.size):
                raise StoreFullError(
                    self._directory,
                    f"the batch takes the store to {new.size} bytes of keys and values, "
                    f"beyond its max_bytes of {self._max_bytes}",
                    "raise MemoryOptions.max_bytes, or delete something",
                )
            self._publish(new)

    def _publish(self, content: _Content) -> None:
        with self._readers_lock:  # close() may have come in between
            self._live()
            self._content = content

    def _track(self, reader: _MemoryIterator | MemorySnapshot) -> None:
        with self._readers_lock:
            self._live()
            self._readers.add(reader)

    def snapshot(self) -> Snapshot:
        snapshot = MemorySnapshot(self._live(), self)
        self._track(snapshot)
        return snapshot

    def flush(self) -> None:
        self._live()

    def size(self) -> int:
        return self._live().size

    def approximate_count(self) -> int:
        return self._live().count

    def checkpoint(self, directory: Path) -> None:
        self._live()
        raise NotImplementedError(f"the memory engine has no files to copy to {directory}")

    def compact(self) -> None:
        self._live()  # every write has given back what it freed

    def destroy(self) -> None:
        self.close()

    def close(self) -> None:
        if self._gone is fork.forked_error:
            raise fork.forked_error()
        with self._readers_lock:
            if self._content is not None:
                self._end_all(closed_error)

    def _forked(self) -> None:
        # A thread that does not exist here may have held the locks.
        self._write_lock = threading.Lock()
        self._readers_lock = threading.Lock()
        self._end_all(fork.forked_error)

    def _end_all(self, gone: Callable[[], StateStoreError]) -> None:
        self._end(gone)
        _open.pop(self._directory, None)
        for reader in list(self._readers):
            reader._end(gone)  # noqa: SLF001 - one module, one bookkeeping


_open: weakref.WeakValueDictionary[Path, MemoryBackend] = weakref.WeakValueDictionary()
"""The open stores of this process. A store nobody can reach any more is not in the way of the next one."""
_open_lock = threading.Lock()


def _renew_open_lock() -> None:
    global _open_lock
    _open_lock = threading.Lock()  # a thread that does not exist in the child may have held the old one


os.register_at_fork(after_in_child=_renew_open_lock)


class MemoryEngine(Engine):
    """Stores that live as long as they are open. ``memory_budget`` bounds caches, and here is none."""

    name: ClassVar[str] = "memory"
    max_key_size: ClassVar[int] = 65536
    persistent: ClassVar[bool] = False
    options_type: ClassVar[type[Any]] = MemoryOptions

    def __init__(self, memory_budget: int, options: MemoryOptions | None = None) -> None:  # noqa: ARG002
        self._options = options if options is not None else MemoryOptions()

    def open(self, directory: Path, *, changelog: bool) -> Backend:  # noqa: ARG002 - nothing to log
        path = directory.resolve()
        with _open_lock:
            if path in _open:
                raise StoreUnavailableError(
                    directory, "is already open in this process", "use the store that is open, or close it"
                )
            backend = _open[path] = MemoryBackend(path, self._options.max_bytes)
        return backend

    def close(self) -> None:
        """Nothing is shared."""
