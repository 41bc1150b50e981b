"""The pure-Python twin of ``_native/ordered.pxi``: a sorted map with snapshots, and scans over it.

A map holds one immutable :class:`~statestore.backends.memory.content.Content`. A change makes the next one
and publishes it by one assignment, so a snapshot is a reference, and readers and writers pass each other
without a lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice

from statestore.backends.contract import ALL_KEYS, BackendIterator, KeyRange, Snapshot, SortedRun, check_limit
from statestore.backends.lifetime import check_bytes
from statestore.backends.memory.content import EMPTY, Content
from statestore.core.common import closed_error
from statestore.errors import StateStoreError
from statestore.runtime import fork
from statestore.runtime.weak import Living

_RANGE_AT_ONCE = 4096
"""Pairs of a range that are deleted in one step."""


class OrderedIterator(BackendIterator):
    """A scan of a map or of a snapshot, on the content at the moment when it was made."""

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

    def read(self, count: int) -> list[tuple[bytes, bytes]]:
        """Return the next ``count`` pairs, fewer only at the end."""
        return list(islice(self, count))

    def close(self) -> None:
        """Release the content now. Idempotent."""
        if self._pairs is not None:
            self._finished = True
            self._pairs = None

    def end(self, gone: Callable[[], StateStoreError]) -> None:
        self._gone = gone
        self._pairs = None


class _Readers:
    """The live snapshots and scans of a map."""

    def __init__(self) -> None:
        self.gone: Callable[[], StateStoreError] | None = None
        self.lock = fork.rlock()  # never held while a change is made
        self.live: Living[OrderedIterator | OrderedSnapshot] = Living()

    def check(self) -> None:
        if self.gone is not None:
            raise self.gone()

    def add(self, reader: OrderedIterator | OrderedSnapshot) -> None:
        with self.lock:
            self.check()
            self.live.add(reader)


class _ContentReader:
    """Reads one content; ``None`` in its place means that there is nothing to read any more."""

    _readers: _Readers
    _content: Content | None
    _gone: Callable[[], StateStoreError]

    def _live(self) -> Content:
        content = self._content
        if content is None:
            raise self._gone()
        return content

    def get(self, key: bytes) -> bytes | None:
        """Return the value of ``key``, ``None`` when there is none."""
        check_bytes("key", key)
        return self._live().get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the values of ``keys`` in their order, all as of one instant."""
        content = self._live()
        for key in keys:
            check_bytes("key", key)
        return [content.get(key) for key in keys]

    def scan(
        self, keys: KeyRange = ALL_KEYS, reverse: bool = False, limit: int | None = None
    ) -> OrderedIterator:
        """Iterate over a range in key order, on the content at this moment."""
        check_limit(limit)
        iterator = OrderedIterator(islice(self._live().pairs(keys.start, keys.stop, reverse), limit))
        self._readers.add(iterator)
        return iterator


class OrderedSnapshot(_ContentReader, Snapshot):
    """The content of a map at the moment when ``snapshot`` was called. Thread-safe."""

    def __init__(self, content: Content, readers: _Readers) -> None:
        self._content = content
        self._gone = closed_error
        self._readers = readers
        readers.add(self)

    def close(self) -> None:
        """Release the content. Idempotent."""
        if self._content is not None:
            self.end(closed_error)

    def end(self, gone: Callable[[], StateStoreError]) -> None:
        self._gone = gone
        self._content = None


class OrderedMap(_ContentReader):
    """A sorted map of bytes to bytes with snapshots.

    Thread-safe: reads never wait, and changes take turns. All calls raise what ``end`` was given once it was
    called.
    """

    def __init__(self) -> None:
        self._turn = fork.rlock()
        self._content = EMPTY
        self._gone = closed_error
        self._readers = _Readers()

    def check(self) -> None:
        """Raise what every call raises once the map has ended."""
        self._live()

    def snapshot(self) -> Snapshot:
        """Return the content at this moment. It is shared, not copied."""
        return OrderedSnapshot(self._live(), self._readers)

    def size(self) -> int:
        """Bytes of all keys and values."""
        return self._live().size

    def approximate_count(self) -> int:
        """Number of keys, exact."""
        return self._live().count

    def change(
        self, puts: Sequence[tuple[bytes, bytes]], deletes: Sequence[bytes], most: int | None = None
    ) -> int | None:
        """Apply ``deletes``, then ``puts``, as a whole.

        Returns ``None``; or, where the map would grow beyond ``most`` bytes, the size it would have had, and
        nothing has changed then. Long lists are applied while other threads run: they see the content before.
        """
        changes: dict[bytes, bytes | None] = {}
        for key in deletes:
            check_bytes("key", key)
            changes[key] = None
        for key, value in puts:
            check_bytes("key", key)
            check_bytes("value", value)
            changes[key] = value
        return self._apply(changes, most)

    def change_sorted(self, runs: Iterable[SortedRun], most: int | None = None) -> int | None:
        """Apply what each of ``runs`` feeds, as ``change`` does. No two of them have a key in common."""
        changes: dict[bytes, bytes | None] = {}

        def delete(key: bytes) -> None:
            changes[key] = None

        for run in runs:
            run.feed(changes.__setitem__, delete)
        return self._apply(changes, most)

    def delete_range(self, keys: KeyRange) -> bool:
        """Delete pairs of a range, those with the lowest keys first; say whether that was all of them."""
        pairs = self._live().pairs(keys.start, keys.stop, False)
        found: dict[bytes, bytes | None] = {key: None for key, _ in islice(pairs, _RANGE_AT_ONCE)}
        self._apply(found, None)
        return len(found) < _RANGE_AT_ONCE

    def _apply(self, changes: Mapping[bytes, bytes | None], most: int | None) -> int | None:
        with self._turn:
            content = self._live()
            if not changes:
                return None
            new = content.changed(changes)
            if most is not None and new.size > max(most, content.size):
                return new.size
            with self._readers.lock:  # end() may have come in between
                self._live()
                self._content = new
        return None

    def end(self, gone: Callable[[], StateStoreError], leak: bool = False) -> None:
        """Let every call from now on, and every live snapshot and scan, raise ``gone()``. Idempotent.

        ``leak`` frees nothing, for a forked child.
        """
        with self._readers.lock:
            if self._content is not None or leak:
                self._readers.gone = self._gone = gone
                self._content = None
                for reader in list(self._readers.live):
                    reader.end(gone)
