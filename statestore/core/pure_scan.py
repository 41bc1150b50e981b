"""The twin of ``_native/scan.pxi``: the steps of a scan."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from typing import Any, Self

Pair = tuple[bytes, bytes]


class PairQueue:
    """The pairs that a scan has read ahead, in ``_pairs``, the next one last.

    A subclass has ``_fill()``, which is called where there are none: it puts some there or raises.
    """

    _pairs: list[Pair]
    _fill: Callable[[], None]

    def __new__(cls, *_arguments: Any, **_named: Any) -> Self:
        queue = super().__new__(cls)
        queue._pairs = []
        return queue

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Pair:
        while True:
            try:
                return self._pairs.pop()
            except IndexError:
                self._fill()


class CallGuard:
    """What calls into an engine pass, for ``backends/lifetime.py``: ``with guard.call:`` around each.

    A signal handler which raises at any instant leaves the count right.
    """

    inside: list[None]
    barrier: Callable[[], None] | None = None

    def __new__(cls, *_arguments: Any, **_named: Any) -> Self:
        guard = super().__new__(cls)
        guard._lock = threading.RLock()
        guard._open = []
        return guard

    _lock: Any
    _open: list[BytesIO]

    @property
    def call(self) -> BytesIO:
        """What one call runs in: a file, since its ``__exit__`` is C, and it tells whether it was left."""
        entered = BytesIO()
        try:
            while True:
                with self._lock:
                    if (barrier := self.barrier) is None:
                        self._open = [one for one in self._open if not one.closed]
                        self._open.append(entered)
                        break
                barrier()
        except BaseException:
            entered.close()
            raise
        return entered

    def calls(self) -> int:
        """Return how many calls are under way, and how many items ``inside`` had from the beginning."""
        return len(self.inside) + sum(not one.closed for one in list(self._open))


class GuardedPairs:
    """A scan that takes each pair from the engine when it is asked for, in a call announced to ``_guard``.

    A subclass puts an iterator of the engine into ``_source``, how many pairs are still wanted into ``_left``
    (below 0: all), and where the range ends into ``_stop``, which it excludes, or, if reversed, ``_start``.
    It has ``_failed(error)``, which raises what an error of the engine means, and ``release()``, for the end.
    """

    _guard: CallGuard
    _source: Iterator[Pair] = iter(())
    _left: int = -1
    _start: bytes | None = None
    _stop: bytes | None = None
    _finished: bool = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Pair:
        if self._finished:
            raise StopIteration
        inside = self._guard.inside
        try:
            inside.append(None)  # in here: no handler runs between the two
            while (barrier := self._guard.barrier) is not None:
                inside.pop()
                try:
                    barrier()
                finally:
                    inside.append(None)
            pair = self._step()
        finally:
            inside.pop()
        if pair is None:
            raise StopIteration
        return pair

    def _step(self) -> Pair | None:
        pair = None
        if self._left != 0:
            try:
                pair = next(self._source, None)
            except Exception as error:  # noqa: BLE001 - raised again
                self._failed(error)
            if pair is not None and self._is_past_the_end(pair[0]):
                pair = None
            self._left -= self._left > 0
        if pair is None or self._left == 0:
            self._finished = True
            self.release()
        return pair

    def _is_past_the_end(self, key: bytes) -> bool:
        start, stop = self._start, self._stop
        return (stop is not None and key >= stop) or (start is not None and key < start)

    def _failed(self, error: Exception) -> None:
        raise NotImplementedError from error

    def release(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Release the snapshot now. Idempotent."""
        self._finished = True
        self.release()


class ChainedPairs:
    """The pairs of all of ``scans``, one after the other. At the end and by ``close`` it ``release``s."""

    def __init__(self, scans: Iterable[Any], release: Callable[[], object] | None = None) -> None:
        self._scans: Iterator[Any] | None = iter(scans)
        self._release = release
        self._scan: Any = None  # the present one

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Pair:
        while True:
            if self._scan is None:
                self._scan = None if self._scans is None else next(self._scans, None)
                if self._scan is None:
                    self._end()
                    raise StopIteration
            try:
                pair: Pair = next(self._scan)
            except StopIteration:
                self._end_scan()
            else:
                return pair

    def close(self) -> None:
        """Release what is held now. Idempotent."""
        self._end_scan()
        self._end()

    def _end_scan(self) -> None:
        scan, self._scan = self._scan, None
        if scan is not None:
            scan.close()

    def _end(self) -> None:
        release, self._release, self._scans = self._release, None, None
        if release is not None:
            release()


class CursorPairs:
    """The pairs of ``ranges``, one range after the other, which a ``cursor`` of RocksDB reads.

    In ``reverse`` each is read from its end. The cursor's ``status()`` raises where it stopped for an error.
    """

    def __init__(self, cursor: Any, ranges: list[Any], reverse: bool) -> None:
        self._cursor = cursor
        self._step = cursor.prev if reverse else cursor.next
        self._ranges: Iterator[Any] = iter(ranges)
        self._reverse = reverse
        self._range: Any = None  # the present one

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Pair:
        while self._range is not None or self._begin():
            key = self._cursor.key()
            if key is not None and self._is_within(key):
                pair = key, self._cursor.value()
                self._step()
                return pair
            self._range = None
            self._cursor.status()
        raise StopIteration

    def _begin(self) -> bool:
        keys = next(self._ranges, None)
        if keys is None:
            return False
        if not self._reverse:
            self._cursor.seek(keys.start or b"")
        elif keys.stop is None:
            self._cursor.seek_to_last()
        else:
            self._cursor.seek_for_prev(keys.stop)
            if self._cursor.key() == keys.stop:
                self._step()
        self._range = keys
        return True

    def _is_within(self, key: bytes) -> bool:
        start, stop = self._range.start, self._range.stop
        return (start is None or key >= start) if self._reverse else (stop is None or key < stop)


class Pairs:
    """A backend's pairs as users see them, less ``namespace`` bytes of key and ``header`` bytes of value.

    ``owner`` is what must live as long as the pairs are read.
    """

    def __init__(self, source: Any, namespace: int, header: int, owner: object = None) -> None:
        self._source: Any = iter(source)
        self._owner = owner
        self._namespace = namespace
        self._header = header

    def __iter__(self) -> Iterator[Pair]:
        return self

    def __next__(self) -> Pair:
        key, value = next(self._source)
        return key[self._namespace :], value[self._header :]

    def close(self) -> None:
        """Release the snapshot of the scan now. Idempotent."""
        self._source.close()


class UnendedPairs:
    """The pairs of a scan without the rows whose time is before ``first``, at most ``limit`` (``None``: all).

    The key of a row begins with the byte ``row``, and its time is the 8 bytes that begin ``back`` bytes
    before its end. A pair whose key begins with the byte ``entry`` has a row's key at the end of its value,
    and ends with it. All other pairs stay, and so do keys that are too short for a time.
    """

    def __init__(
        self, source: Any, back: int, first: bytes, row: bytes, entry: bytes, limit: int | None
    ) -> None:
        if back < 8 or len(first) != 8 or len(row) != 1 or len(entry) != 1:
            raise ValueError(
                f"a time of 8 bytes cannot be {back} bytes before an end, or {len(first)} bytes long"
            )
        self._source: Any = iter(source)
        self._first, self._row, self._entry = first, row, entry
        self._back, self._from, self._to = back, -back, (8 - back) or None
        self._left = -1 if limit is None else limit

    def __iter__(self) -> Iterator[Pair]:
        return self

    def __next__(self) -> Pair:
        while self._left != 0:
            pair: Pair = next(self._source)
            if not self._has_ended(*pair):
                self._left -= self._left > 0
                return pair
        self._source.close()
        raise StopIteration

    def close(self) -> None:
        """Release the snapshot of the scan now. Idempotent."""
        self._left = 0
        self._source.close()

    def _has_ended(self, key: bytes, value: bytes) -> bool:
        if key[:1] not in (self._row, self._entry):
            return False
        timed = key if key[:1] == self._row else value
        return len(timed) > self._back and timed[self._from : self._to] < self._first


class PlainPairs:
    """The pairs of a scan, up to the first with a zero byte in its key; then those of ``others(that, scan)``.

    The first ``front`` and the last ``back`` bytes of a key do not count.
    """

    def __init__(
        self, scan: Any, front: int, back: int, others: Callable[[Pair, Iterator[Pair]], Iterator[Pair]]
    ) -> None:
        self._scan = scan
        self._rows: Iterator[Pair] = iter(scan)
        self._others: Callable[[Pair, Iterator[Pair]], Iterator[Pair]] | None = others
        self._front, self._back = front, back

    def __iter__(self) -> Iterator[Pair]:
        return self

    def __next__(self) -> Pair:
        pair = next(self._rows)
        if self._others is None or 0 not in pair[0][self._front : len(pair[0]) - self._back]:
            return pair
        others, self._others = self._others, None
        self._rows = others(pair, self._rows)
        return next(self._rows)

    def close(self) -> None:
        """Release the snapshot of the scan now. Idempotent."""
        self._scan.close()


class CountedRows:
    """The rows of any iterator, counted as they are taken.

    A subclass has ``_ended()``, which is called at each step without a row: it raises, or does nothing.
    """

    _ended: Callable[[], None]

    def __init__(self, rows: Any) -> None:
        self._rows: Any = iter(rows)
        self.count = 0
        self.exhausted = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        if self._rows is not None:
            try:
                row = next(self._rows)
            except StopIteration:
                self.exhausted = True
                self._rows = None
            else:
                self.count += 1
                return row
        self._ended()
        raise StopIteration

    def _drop(self) -> None:
        """Let go of the rows that are left."""
        self._rows = None


def count_pairs(source: Iterator[Pair]) -> int:
    """Return how many pairs are left in a backend's scan."""
    return sum(1 for _ in source)


def read_pairs(
    key: Callable[[], bytes | None], value: Callable[[], Any], step: Callable[[], object], count: int
) -> list[Pair]:
    """Return ``count`` times ``(key(), value())``, a ``step()`` after each; fewer where a key is ``None``."""
    pairs: list[Pair] = []
    for _ in range(count):
        at = key()
        if at is None:
            break
        pairs.append((at, value()))
        step()
    return pairs


def mean_size(pairs: list[Pair]) -> int:
    """Return about how many bytes one of ``pairs`` has, by a look at some of them."""
    sample = pairs[:: max(1, len(pairs) // 16)]
    return sum(len(key) + len(value) for key, value in sample) // len(sample)
