"""The store of a mirror: rows with their timestamps, and the positions in the topic that they are as of."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from statestore.backends import Backend, Batch
from statestore.core import CountedWrites, PairRun, Partitioning, RecordCache, SortedRun, uses
from statestore.runtime.times import Clock
from statestore.serde.indexes import EntityIndexes
from statestore.storage.expiry import ExpiringBackend, Sweep
from statestore.storage.indexes import SecondaryIndexes
from statestore.storage.layout import (
    DELETED,
    HEADER,
    PARTITIONING,
    Position,
    StoredPartitioning,
    pack_timestamp,
    partitioning_of,
    position_pairs,
)
from statestore.storage.partitions import Merged, OldTombstones, merge
from statestore.storage.placement import Placement
from statestore.storage.spellings import KeySpellings, SpellingIndex
from statestore.storage.view import StoreReader, StoreView
from statestore.storage.window_expiry import WindowExpiry

SMALL_COUNT = 10_000
"""Changes of up to so many keys ..."""
SMALL_SIZE = 4 << 20
"""... and so many bytes are written as a batch, where more are loaded in bulk."""


class ChangelogView(StoreView):
    """What is read of a mirror: rows with their timestamps."""

    def __init__(self, backend: Backend, cache: RecordCache | None = None) -> None:
        super().__init__(backend, HEADER, cache)
        below = backend.inner if isinstance(backend, ExpiringBackend) else backend
        self.windows = below if isinstance(below, WindowExpiry) else None
        """What hides windows whose retention has ended; ``None``: the rows are of no window."""
        self.besides: Callable[[], int] = lambda: 0
        """Tells about how many keys of the store are no row's."""

    def approximate_count(self) -> int:
        # An index has as many entries as there are rows.
        return max(0, super().approximate_count() - self.besides()) // (1 + len(self.indexes))

    def pinned(self) -> ChangelogSnapshot:
        """Return the rows and positions of this moment, until they are closed or the store is."""
        indexes = self.indexes
        pinned = ChangelogSnapshot(self._backend.snapshot(), HEADER)
        pinned.counted = self.approximate_count()
        self._describe(pinned, indexes)
        return pinned


class ChangelogSnapshot(StoreReader):
    """Rows and positions of a mirror at one instant, for reads that would take a snapshot of a store.

    The clock stands still, too: a row that had not ended by then stays.
    """

    counted = 0
    """About how many rows there are."""

    def approximate_count(self) -> int:
        """Return about how many rows there are, as of the same instant."""
        return self.counted

    def snapshot(self) -> StoreReader:
        """Return a view of the same instant. Closing it releases nothing of this."""
        view = _SharedReader(self._reader, HEADER)
        self._describe(view, self.indexes)
        return view


class _SharedReader(StoreReader):
    """A view of a snapshot that others close."""

    def close(self) -> None:
        """Release nothing."""


Rows = ChangelogView | ChangelogSnapshot
"""What rows are read from: a store as it is now, or as it was at one instant."""


class ChangelogStore(ChangelogView):
    """The mirror of a topic: data and positions, changed together. One binder writes; everyone may read.

    Those who read rows read the ``view``.
    """

    def __init__(
        self,
        name: str,
        backend: Backend,
        max_key_size: int,
        cache: RecordCache | None = None,
        spellings: KeySpellings | None = None,
        indexes: EntityIndexes | None = None,
        clock: Clock = time.time,
    ) -> None:
        super().__init__(backend, cache)
        self._clock = clock
        self._view: ChangelogView | None = None
        self._ending = backend if isinstance(backend, ExpiringBackend) else None
        self.name = name
        self.max_key_size = max_key_size
        self._loads = uses("bulk")
        below = backend.inner if isinstance(backend, ExpiringBackend) else backend
        self._unfiltered = below if self.windows is None else self.windows.inner
        self._spellings = None if spellings is None else SpellingIndex(spellings, self._unfiltered)
        self.has_spellings = self._spellings is not None and self._spellings.has_entries
        self._secondary = SecondaryIndexes(indexes, self._unfiltered, loads=self._loads)
        self.indexes = self._secondary.ready
        self.respelled = 0
        """Rows written under a key in another text than ours."""
        self.newly_shared = 0
        """How many keys were found in several partitions, since the store was opened."""
        self.shared_example: bytes | None = None
        """The last of them."""
        self._sweep: Sweep | None = None
        self._window_sweep: Sweep | None = None
        if self.windows is not None:
            self.windows.beside = self._secondary.entries_of
            self._window_sweep = Sweep(self.windows, self.windows.retention)
        self._tombstones = tombstones = OldTombstones(self._unfiltered, clock)
        self.besides = lambda: tombstones.count  # refers not to the store, which would not be freed at once
        if isinstance(backend, ExpiringBackend):
            self._tombstones.oldest = backend.oldest
            self.end_rows_after(backend.ttl)
        self._tombstone_sweep: Sweep | None = None
        value = backend.get(PARTITIONING)
        self._written_partitioning = None if value is None else partitioning_of(value)
        self._partitioning = self._written_partitioning
        self._placement = Placement(self._unfiltered)

    @property
    def view(self) -> ChangelogView:
        """The rows that have not ended."""
        return self if self._view is None else self._view

    @property
    def partitioning(self) -> Partitioning | None:
        """What is known of where the topic's records lie; ``None`` where that does not matter."""
        known = self._partitioning
        return None if known is None else Partitioning(known.partitions, known.candidates)

    def partitioner(self) -> int | None:
        """Return the number of the partitioner that put the records where they lie; ``None``: unknown."""
        return self._placement.partitioner(self._partitioning)

    def contradicts(self, partitioner: int) -> int | None:
        """Return the topic's partitioner, if it is known not to be the one with this number."""
        return self._placement.contradicts(self._partitioning, partitioner)

    @property
    def tracked(self) -> bool:
        """Whether strays can be applied: of each row, the partition of its record is known."""
        return self._partitioning is None or self._partitioning.tracked

    def track(self, partitions: int, *, is_new: bool) -> None:
        """Take note of how many partitions the topic has. ``is_new``: no record was applied yet."""
        if partitions > 1 and self._partitioning is None:
            self._partitioning = StoredPartitioning(partitions, tracked=is_new)

    def apply(
        self,
        writes: CountedWrites,
        positions: Mapping[int, Position],
        strays: CountedWrites | None = None,
        candidates: int = 0,
    ) -> bool:
        """Write changes and the positions after them as one atomic unit. Keys carry their namespace.

        ``strays`` and ``candidates`` are those of ``Folded``; what concerns shared keys is taken out of
        ``writes``. Returns whether the changes, and everything before, survive power loss already; if not, a
        flush must follow.
        """
        pairs = position_pairs(positions)
        known, merged = self._partitioning, Merged()
        marks: SortedRun = PairRun([])
        if known is not None:
            now = int(self._clock() * 1000)
            known = known._replace(
                candidates=candidates or known.candidates, shares=known.shares or bool(strays)
            )
            if known.shares:
                merged = merge(self._unfiltered, known, writes, strays, now)
            pairs += merged.shared
            if known != self._written_partitioning:
                pairs.append(known.pair())
            marks = writes.marks(DELETED, pack_timestamp(now))
        spelled = self._spelled(writes, merged, pairs)
        is_bulk = self._loads and (len(writes) + len(merged.shared) > SMALL_COUNT or writes.size > SMALL_SIZE)
        indexed = self._indexed(writes, merged, positions, pairs, is_bulk=is_bulk)
        times = None if self.windows is None else self.windows.times_after(writes, merged.rows)
        pairs += [] if times is None else [times.pair()]
        durable = self._write(writes, pairs, merged, (marks, spelled, indexed), is_bulk=is_bulk)
        if self.windows is not None and times is not None:
            self.windows.written(times)
            if self.windows.lags and self._window_sweep is not None:
                self._window_sweep.hurry()
        self._partitioning = self._written_partitioning = known
        if known is not None:
            added = min(writes.tombstones, len(writes)) + merged.added
            if self._tombstones.add(added) and self._tombstone_sweep is not None:
                self._tombstone_sweep.hurry()
        self.newly_shared += merged.newly_shared
        self.shared_example = merged.example or self.shared_example
        if self._spellings is not None:
            self._spellings.marked()
        self._secondary.written()
        self._show_indexes()
        return durable

    def _spelled(self, writes: CountedWrites, merged: Merged, pairs: list[tuple[bytes, bytes]]) -> PairRun:
        """Return the changes of the index of keys in other texts; append to ``pairs`` what goes with it."""
        if self._spellings is None:
            return PairRun([])
        puts, deletes = self._spellings.changes(writes, merged.rows, merged.removed)
        pairs += self._spellings.mark()
        self.has_spellings = self._spellings.has_entries  # before any of these rows can be read
        self.view.has_spellings = self.has_spellings
        self.respelled += len(puts)
        return PairRun(puts, deletes)

    def _indexed(
        self,
        writes: CountedWrites,
        merged: Merged,
        positions: Mapping[int, Position],
        pairs: list[tuple[bytes, bytes]],
        *,
        is_bulk: bool,
    ) -> PairRun:
        """Return the changes of secondary indexes; append to ``pairs`` what is told of them."""
        changes = self._secondary.changes(writes, merged.rows, merged.removed, positions, is_bulk=is_bulk)
        self._show_indexes()
        pairs += changes.marks
        return PairRun(changes.puts, changes.deletes)

    def _show_indexes(self) -> None:
        self.indexes = self.view.indexes = self._secondary.ready

    def _write(
        self,
        writes: CountedWrites,
        pairs: list[tuple[bytes, bytes]],
        merged: Merged,
        others: Sequence[SortedRun],
        *,
        is_bulk: bool,
    ) -> bool:
        if is_bulk:
            with self._change(None, None):
                rows = PairRun(merged.rows, merged.removed)
                self._backend.load([PairRun(pairs), writes, rows, *others])
            return True
        puts, deletes = [*writes.puts(), *merged.rows], [*writes.deletes(), *merged.removed]
        gone: list[bytes] = []
        for beside in others:
            beside.feed(lambda key, value: pairs.append((key, value)), gone.append)
        with self._change(puts, deletes):
            self._backend.write(Batch([*puts, *pairs], [*deletes, *gone]))
        return False

    @property
    def prepared(self) -> bool:
        """Whether the secondary indexes have all rows."""
        return self._secondary.prepared

    @property
    def index_states(self) -> dict[str, str]:
        """What is to be told of each secondary index, by the names of its fields."""
        return self._secondary.states

    def tend_indexes(self, seconds: float) -> bool:
        """Build secondary indexes for about so long, or remove old ones; tell whether that wrote anything."""
        wrote = self._secondary.step(seconds)
        self._show_indexes()
        return wrote

    def end_rows_after(self, ttl: float | None) -> None:
        """Have rows end ``ttl`` seconds after their timestamps (``None``: never); take ``view`` anew."""
        if self._ending is not None:
            self._ending.ttl = ttl
        elif ttl is not None:
            self._forget()  # what is cached would not end
            self._ending = ExpiringBackend(self._backend, ttl, self._clock)
            self._view = ChangelogView(self._ending)
            self._view.has_spellings, self._view.indexes = self.has_spellings, self.indexes
            self._view.besides = self.besides
            self._tombstones.oldest = self._ending.oldest
        if self._ending is not None:
            self._ending.beside = self._secondary.entries_of
        self._sweep = None if ttl is None or self._ending is None else Sweep(self._ending, ttl)

    def sweep(self, delete_retention: int) -> tuple[int, int]:
        """Remove some of the rows that have ended by their age, if it is time to; return how many.

        And, second, some of what is remembered of tombstones that are older than ``delete_retention``, in ms.
        """
        rows = 0 if self._sweep is None else self._sweep.step()
        rows += 0 if self._window_sweep is None else self._window_sweep.step()
        if self._partitioning is None:
            return rows, 0
        if delete_retention != self._tombstones.retention or self._tombstone_sweep is None:
            self._tombstones.retention = delete_retention
            self._tombstone_sweep = Sweep(self._tombstones, delete_retention / 1000)
        return rows, self._tombstone_sweep.step()
