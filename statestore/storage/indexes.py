"""Secondary indexes beside the rows, in the same atomic units; ``layout.py`` has their bytes.

Each row has one entry in each index. A batch that changes rows reads them first, to remove the entries that
they had. A run that is loaded in bulk and is large beside the table does not: the indexes are then begun
anew, under other numbers, and built of all rows at the end, before the table is ready. The same is done for
an index that was declared later, or in another way. A build goes through the rows in the order of their keys
and tells with each step, in the same unit, how far it is: rows before that are kept up to date meanwhile.

The positions that the indexes are of are kept beside those of the rows. Where they differ when the store is
opened, a version of the library that knows no indexes has changed rows, and all are begun anew.

A row that does not decode is in no order. As long as there is one no index is read: queries scan, and raise
as a scan does.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice

from statestore.backends import Backend, BackendReader, Batch, KeyRange
from statestore.core import CountedWrites, PairRun
from statestore.serde.indexes import EntityIndexes, IndexCodec, Suffix
from statestore.storage.layout import (
    BUILDING,
    COMPLETE,
    COVERED,
    DATA,
    DROPPED,
    HEADER,
    INDEX_MARKS,
    KEPT,
    POSITIONS,
    IndexMark,
    Position,
    covered_pairs,
    index_entries,
    index_entry,
    index_marks_of,
    index_suffix,
    positions_of,
    timestamp_of,
    undecoded_entries,
    undecoded_entry,
)

log = logging.getLogger("statestore.store")

AT_ONCE = 1000
"""Rows that are looked up in one call of the engine, which may hold up other threads."""
SMALL_COUNT = 10_000
"""Entries of a build that are written as a batch, where more are loaded; and those removed at once."""
MOST_BYTES = 16 << 20
"""Bytes of the entries that one step of a build holds."""
LOOKED_AT = 256
"""Rows between two looks at the clock."""
WORTH_READING = 4
"""A run that changes more than one in so many rows is not worth reading them for."""

Pairs = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class ReadyIndex:
    """An index that has all rows of a store, or of a snapshot."""

    codec: IndexCodec
    prefix: bytes
    """What the keys of its entries begin with."""


@dataclass(slots=True)
class IndexChanges:
    """What to write of indexes together with changes of rows."""

    puts: Pairs = field(default_factory=list)
    deletes: list[bytes] = field(default_factory=list)
    """Keys of entries that go."""
    marks: Pairs = field(default_factory=list)
    """What is told of the indexes."""


class SecondaryIndexes:
    """The indexes of one store. One thread writes, that which writes the store.

    ``rows`` knows the suffixes of rows; ``None`` for a class without indexes, or a table of bytes.
    """

    def __init__(self, rows: EntityIndexes | None, backend: Backend, *, loads: bool) -> None:
        self._rows = rows
        self._backend = backend
        self._loads = loads
        self._codecs: Sequence[IndexCodec] = () if rows is None else rows.indexes
        marks = index_marks_of(backend.scan(INDEX_MARKS))
        self._last_number = max((one.number for one in marks), default=0)
        self._dropped = [one for one in marks if one.state == DROPPED]
        self._drop_from: bytes | None = None
        self._marks = self._declared([one for one in marks if one.state != DROPPED])
        self._next: list[IndexMark] | None = None
        """The marks after the write that is under way, where it changes them."""
        self._undecoded = self._has_undecoded()
        self._recheck = False
        self.ready: tuple[ReadyIndex, ...] = ()
        """The indexes that may be read: another object after each change."""
        self._show()

    def _declared(self, known: list[IndexMark]) -> list[IndexMark]:
        """Return the mark of each declared index; note which are new, and which are given up."""
        state = BUILDING if self._codecs and _has_any(self._backend, DATA) else COMPLETE
        covered = covered_pairs(positions_of(self._backend.scan(POSITIONS)))
        is_stale = bool(known and self._codecs) and list(self._backend.scan(COVERED)) != covered
        if is_stale:
            log.warning("rows were changed by a version that knows no indexes: they are built anew")
        usable = {} if is_stale else {one.fingerprint: one for one in known}
        marks = [
            usable.get(codec.fingerprint) or self._new(codec.fingerprint, state) for codec in self._codecs
        ]
        gone = [one._replace(state=DROPPED, cursor=b"") for one in known if one not in marks]
        self._dropped += gone
        changed = [one for one in (*marks, *gone) if one not in known]
        if changed:
            self._backend.write(Batch([*(one.pair() for one in changed), *(covered if self._codecs else ())]))
        return marks

    def _new(self, fingerprint: bytes, state: int) -> IndexMark:
        self._last_number += 1
        return IndexMark(self._last_number, state, fingerprint)

    @property
    def prepared(self) -> bool:
        """Whether all indexes have all rows, but for those that do not decode."""
        return all(one.state == COMPLETE for one in self._marks)

    @property
    def states(self) -> dict[str, str]:
        """What may be told of each index, by the names of its fields."""
        told = {
            BUILDING: "building",
            COMPLETE: "not used: a row does not decode" if self._undecoded else "ready",
        }
        return {codec.name: told[mark.state] for codec, mark in zip(self._codecs, self._marks, strict=True)}

    # Changes of rows

    def changes(
        self,
        writes: CountedWrites,
        rows: Pairs,
        removed: Sequence[bytes],
        positions: Mapping[int, Position],
        *,
        is_bulk: bool,
    ) -> IndexChanges:
        """Return what to write together with changes of rows; ``written`` must follow.

        ``rows`` and ``removed`` are changes of rows that are not in ``writes``; all have their namespace.
        ``positions`` are those after the changes. ``is_bulk``: the changes are loaded in bulk.
        """
        self._next = None
        if not self._marks:
            return IndexChanges()
        covered = covered_pairs(positions)
        if all(one.state == BUILDING and not one.cursor for one in self._marks):
            return IndexChanges(marks=covered)
        about = self._backend.approximate_count() // (1 + len(self._marks))
        if is_bulk and len(writes) * WORTH_READING > about:
            return IndexChanges(marks=self._begin_anew() + covered)
        found = IndexChanges(marks=covered)
        changed = _changed_rows(writes, rows, removed)
        while some := list(islice(changed, AT_ONCE)):
            held = self._backend.get_many([name for name, _ in some])
            for (name, new), old in zip(some, held, strict=True):
                if old != new:
                    self._change(name, old, new, found)
        return found

    def written(self) -> None:
        """Note that what ``changes`` told was written."""
        if self._next is not None:
            kept = {one.number for one in self._next}
            self._dropped += [
                one._replace(state=DROPPED, cursor=b"") for one in self._marks if one.number not in kept
            ]
            self._marks, self._next = self._next, None
            self._undecoded = False
        if self._recheck:
            self._recheck, self._undecoded = False, self._has_undecoded()
        self._show()

    def entries_of(self, rows: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
        """Return the keys of the entries of rows as stored."""
        if not self._marks:
            return []
        return [
            self._entry(at, mark, name, suffixes)[0]
            for name, value in rows
            for suffixes in [self._suffixes(name, value)]
            for at, mark in enumerate(self._marks)
            if _has(mark, name)
        ]

    def _begin_anew(self) -> Pairs:
        """Give up what there is, for indexes that are built of all rows later; return the marks to put."""
        self._next, pairs = [], []
        for mark in self._marks:
            if mark.state == BUILDING and not mark.cursor:
                self._next.append(mark)
                continue
            new = self._new(mark.fingerprint, BUILDING)
            self._next.append(new)
            pairs += [new.pair(), mark._replace(state=DROPPED, cursor=b"").pair()]
        self.ready = ()  # before any of the rows can be read
        return pairs

    def _change(self, name: bytes, old: bytes | None, new: bytes | None, found: IndexChanges) -> None:
        assert self._rows is not None
        if (
            old is not None
            and new is not None
            and old[HEADER:] == new[HEADER:]
            and not self._rows.depend_on_time
        ):
            return
        before = None if old is None else self._suffixes(name, old)
        after = None if new is None else self._suffixes(name, new)
        if old is not None and before is None:
            self._recheck = True
        if new is not None and after is None:
            self._undecoded, self._recheck, self.ready = True, True, ()  # before it can be read
        for at, mark in enumerate(self._marks):
            if not _has(mark, name):
                continue
            gone = None if old is None else self._entry(at, mark, name, before)
            come = None if new is None else self._entry(at, mark, name, after)
            if gone == come:
                continue
            if gone is not None and (come is None or come[0] != gone[0]):
                found.deletes.append(gone[0])
            if come is not None:
                found.puts.append(come)

    def _suffixes(self, name: bytes, value: bytes) -> list[Suffix] | None:
        assert self._rows is not None
        return self._rows.suffixes(name[len(DATA) :], value[HEADER:], lambda: timestamp_of(value))

    @staticmethod
    def _entry(at: int, mark: IndexMark, name: bytes, suffixes: list[Suffix] | None) -> tuple[bytes, bytes]:
        """Return the stored pair of a row in the index number ``at``."""
        if suffixes is None:
            return undecoded_entry(mark.prefix, name[len(DATA) :])
        return index_entry(mark.prefix, *suffixes[at])

    # What is done a little at a time

    def step(self, seconds: float) -> bool:
        """Build, or remove what is not used any more, for about so long; tell whether that wrote anything."""
        until = time.monotonic() + seconds
        if any(one.state == BUILDING for one in self._marks):
            self._build(until)
        elif self._dropped:
            self._drop()
        else:
            return False
        self._show()
        return True

    def _build(self, until: float) -> None:
        building = [(at, one) for at, one in enumerate(self._marks) if one.state == BUILDING]
        start = min(one.cursor for _, one in building) or DATA
        puts: Pairs = []
        size, cursor = 0, b""
        with closing(self._backend.scan(KeyRange(start, KeyRange(prefix=DATA).stop))) as rows:
            for number, (name, value) in enumerate(rows, 1):
                suffixes = self._suffixes(name, value)
                self._undecoded = self._undecoded or suffixes is None
                for at, mark in building:
                    if name >= mark.cursor:
                        puts.append(self._entry(at, mark, name, suffixes))
                        size += len(puts[-1][0]) + len(puts[-1][1])
                if size > MOST_BYTES or (number % LOOKED_AT == 0 and time.monotonic() > until):
                    cursor = name + b"\0"
                    break
        marks = [
            one
            if one.state == COMPLETE
            else one._replace(cursor=max(one.cursor, cursor))
            if cursor
            else one._replace(state=COMPLETE, cursor=b"")
            for one in self._marks
        ]
        self._put(sorted(puts), [marks[at].pair() for at, _ in building])
        self._marks = marks
        if not cursor:
            names = ", ".join(f"({self._codecs[at].name})" for at, _ in building)
            log.info("built the indexes %s", names)

    def _put(self, puts: Pairs, marks: Pairs) -> None:
        """Write sorted entries and marks as one unit."""
        if not self._loads or len(puts) <= SMALL_COUNT:
            self._backend.write(Batch([*puts, *marks]))
            return
        self._backend.load([PairRun(marks), PairRun(puts)])

    def _listed(self, keys: KeyRange, most: int) -> Pairs:
        """Return the first pairs of a range. What is written next must not have to wait for a scan."""
        with closing(self._backend.scan(keys, limit=most)) as found:
            return list(found)

    def _drop(self) -> None:
        mark = self._dropped[0]
        gone = [key for key, _ in self._listed(KeyRange(self._drop_from, None, mark.prefix), SMALL_COUNT)]
        self._backend.write(Batch((), gone or [mark.pair()[0]]))
        self._drop_from = gone[-1] if gone else None
        if not gone:
            self._dropped = self._dropped[1:]

    def _has_undecoded(self) -> bool:
        return any(
            any(True for _ in self._backend.scan(undecoded_entries(one.prefix), limit=1))
            for one in self._marks
        )

    def _show(self) -> None:
        """Tell readers which indexes they may read."""
        usable = [] if self._undecoded else list(zip(self._codecs, self._marks, strict=True))
        ready = [ReadyIndex(codec, mark.prefix) for codec, mark in usable if mark.state == COMPLETE]
        if [one.prefix for one in ready] != [one.prefix for one in self.ready]:
            self.ready = tuple(ready)


def _has(mark: IndexMark, name: bytes) -> bool:
    """Whether an index has the row of the key ``name``, if there is one."""
    return mark.state == COMPLETE or name < mark.cursor


def _changed_rows(
    writes: CountedWrites, rows: Pairs, removed: Iterable[bytes]
) -> Iterator[tuple[bytes, bytes | None]]:
    """Give each key that changes, and its new stored value; ``None``: it loses its row."""
    for name, timestamp, payload in writes.records():
        yield name, None if payload is None else timestamp.to_bytes(HEADER, signed=True) + payload
    yield from rows
    for name in removed:
        yield name, None


def _has_any(backend: Backend, namespace: bytes) -> bool:
    return any(True for _ in backend.scan(KeyRange(prefix=namespace), limit=1))


# Reading


def readable_indexes(rows: EntityIndexes, reader: BackendReader) -> tuple[ReadyIndex, ...]:
    """Return the indexes that have all rows of ``reader``, in whichever process they are made."""
    marks = {one.fingerprint: one for one in index_marks_of(reader.scan(INDEX_MARKS)) if one.state != DROPPED}
    known = [marks.get(codec.fingerprint) for codec in rows.indexes]
    for mark in known:
        if mark is not None and any(True for _ in reader.scan(undecoded_entries(mark.prefix), limit=1)):
            return ()
    return tuple(
        ReadyIndex(codec, mark.prefix)
        for codec, mark in zip(rows.indexes, known, strict=True)
        if mark is not None and mark.state == COMPLETE
    )


def index_keys(
    reader: BackendReader, index: ReadyIndex, start: bytes | None, stop: bytes | None, reverse: bool
) -> Iterator[bytes]:
    """Give the keys of rows, with their namespace, in the order of an index.

    From ``start`` to before ``stop`` of its suffixes. Of suffixes that are as long as a long entry keeps, and
    the same so far, only all of their bytes tell the order.
    """
    alike: list[tuple[bytes, int]] = []

    def put_in_order() -> Iterator[bytes]:
        alike.sort(reverse=reverse)
        for suffix, size in alike:
            if (start is None or start <= suffix) and (stop is None or suffix < stop):
                yield DATA + suffix[size:]
        alike.clear()

    with closing(reader.scan(index_entries(index.prefix, start, stop), reverse)) as entries:
        for key, value in entries:
            suffix, size = index_suffix(key, value)
            if alike and suffix[:KEPT] != alike[0][0][:KEPT]:
                yield from put_in_order()
            if len(suffix) < KEPT:
                yield DATA + suffix[size:]
            else:
                alike.append((suffix, size))
        yield from put_in_order()


def rows_of(
    reader: BackendReader, keys: Iterable[bytes], few: int | None = None
) -> Iterator[tuple[bytes, bytes]]:
    """Give the stored pairs of ``keys``, as far as there are; ``few``: how many of them are wanted."""
    left = iter(keys)
    count = min(16, AT_ONCE if few is None else few)
    while names := list(islice(left, count)):
        for name, value in zip(names, reader.get_many(names), strict=True):
            if value is not None:  # otherwise it has ended by its age
                yield name, value
        count = min(2 * count, AT_ONCE)
