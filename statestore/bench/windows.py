"""Stores of windows: those of ``open_window``, and what a program would make of a plain binding.

Rows come by time: each key has a row in each window, and there are as many rows as records. A plain binding
has them under the key and the start, as eight bytes in the order of the numbers, and keeps what has ended.
"""

from __future__ import annotations

import itertools
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from random import Random

from statestore.backends import find_engine
from statestore.bench.candidates import Candidate, Opened, Opening
from statestore.bench.workload import LOAD_BATCH, Ground, Operation, Site
from statestore.storage.stored_window import stored_window
from statestore.storage.window_store import WindowStore

SIZE = 300_000
"""Milliseconds of a window: five minutes."""
WINDOWS = 96
"""Windows of each key that are visible: eight hours of them."""
FETCHED = 24
"""Windows of a fetch."""
LEAST_KEYS = 10
"""Keys of a small store, so that threads that write ahead of each other stay within what is visible."""
CHUNK = 64

_BEGIN = 1_700_000_000_000 // SIZE * SIZE
_START = struct.Struct(">q")

Row = tuple[bytes, int, bytes]


class Windows(ABC):
    """An open store of windows. ``put`` is an attribute: the call itself."""

    put: Callable[[bytes, int, bytes], object]

    @abstractmethod
    def write(self, rows: Sequence[Row]) -> None:
        """Write ``rows`` as one batch."""

    @abstractmethod
    def fetch(self, key: bytes, start: int, stop: int) -> list[tuple[int, bytes]]:
        """Return the windows of a key that begin from ``start`` to before ``stop``, with their values."""

    @abstractmethod
    def flush(self) -> None:
        """Return when everything is on disk."""

    @abstractmethod
    def close(self) -> None:
        """Close the store. Raises ``RuntimeError`` where it has refused rows."""


class OwnWindows(Windows):
    """What ``StoreManager.open_window`` gives, on a backend."""

    def __init__(self, backend: str, opening: Opening) -> None:
        engine = find_engine(backend)
        self._opened = opened = Opened(engine, opening)
        millisecond = timedelta(milliseconds=1)
        window = stored_window(SIZE * millisecond, WINDOWS * SIZE * millisecond)
        self.store = store = WindowStore("bench", opened.backend, engine.max_key_size, window)
        self.backend = opened.backend
        self.put = store.put

    def write(self, rows: Sequence[Row]) -> None:
        with self.store.batch() as batch:
            put = batch.put
            for key, start, value in rows:
                put(key, start, value)

    def fetch(self, key: bytes, start: int, stop: int) -> list[tuple[int, bytes]]:
        return list(self.store.fetch(key, start, stop))

    def flush(self) -> None:
        self.store.flush()

    def close(self) -> None:
        late = self.store.stats().late
        self.store.close()
        self._opened.close()
        if late:
            raise RuntimeError(
                f"{late} rows came when their windows had ended: give fewer --threads, or more --keys"
            )


class ComposedWindows(Windows):
    """An ordered plain binding, with keys of key and start."""

    def __init__(self, candidate: Candidate) -> None:
        self._candidate = candidate
        put, pack = candidate.put, _START.pack
        self.put = lambda key, start, value: put(key + pack(start), value)

    def write(self, rows: Sequence[Row]) -> None:
        pack = _START.pack
        self._candidate.write([(key + pack(start), value) for key, start, value in rows])

    def fetch(self, key: bytes, start: int, stop: int) -> list[tuple[int, bytes]]:
        pairs = self._candidate.between(key + _START.pack(start), key + _START.pack(stop))
        return [(_START.unpack_from(stored, len(stored) - 8)[0], value) for stored, value in pairs]

    def flush(self) -> None:
        self._candidate.flush()

    def close(self) -> None:
        self._candidate.close()


class WindowGround(Ground):
    """A store of windows, filled with as many rows as there are records."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self._content = site.content
        self.keys = max(LEAST_KEYS, site.records // WINDOWS)
        self._numbers = itertools.count()
        self._rows = 0
        if site.kind.kind == "backend":
            self.store: Windows = OwnWindows(site.kind.name, site.opening("windows"))
        else:
            self.store = ComposedWindows(site.open("windows"))
        try:
            self._fill(site.records)
        except BaseException:
            self.store.close()
            raise

    def _fill(self, records: int) -> None:
        for first in range(0, records, LOAD_BATCH):
            self.store.write([self.row() for _ in range(min(LOAD_BATCH, records - first))])
        self.store.flush()
        first, last = self.visible
        found = self.store.fetch(self._content.key(0), self.start(first), self.start(last))
        if [start for start, _ in found] != [self.start(number) for number in range(first, last)]:
            raise RuntimeError(f"{last - first} windows of a key were written, and {len(found)} are there")

    def row(self) -> Row:
        """Return the next row to be written."""
        number = next(self._numbers)
        self._rows = number + 1
        window, key = divmod(number, self.keys)
        value = self._content.value()
        row = self._content.key(key), self.start(window), value
        self.writes(len(row[0]) + _START.size + len(value))
        return row

    def start(self, window: int) -> int:
        """Return the start of a window by its number, from 0."""
        return _BEGIN + window * SIZE

    @property
    def visible(self) -> tuple[int, int]:
        """The numbers of the first window that all keys have, and of the first after them that some lack."""
        last = self._rows // self.keys
        return max(0, last - WINDOWS + 1), last

    def some_fetch(self, random: Random) -> tuple[bytes, int, int]:
        """Return a key, and the start and the end of windows that are there."""
        first, last = self.visible
        begin = first + int(random.random() * max(1, last - first - FETCHED + 1))
        key = self._content.key(int(random.random() * self.keys))
        return key, self.start(begin), self.start(min(last, begin + FETCHED))

    def flush(self) -> None:
        self.store.flush()

    def close(self) -> None:
        self.store.close()


def puts(ground: WindowGround, _: Random) -> Iterator[Operation]:
    put = ground.store.put
    while True:
        yield put, ground.row()


def fetches(ground: WindowGround, random: Random) -> Iterator[Operation]:
    fetch = ground.store.fetch
    while True:
        yield fetch, ground.some_fetch(random)
