"""Any sequence of calls against a dict: a Hypothesis state machine for one engine."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from statestore.backends.contract import BackendIterator, Batch, Engine, Snapshot, StoreOptions
from statestore.errors import StoreClosedError
from statestore.testing.conformance.model import Pairs, Range, applied, select
from statestore.testing.conformance.tally import DONE


class LiveScan(NamedTuple):
    iterator: BackendIterator
    rest: Pairs
    """What the iterator has still to yield."""


class LiveSnapshot(NamedTuple):
    snapshot: Snapshot
    content: dict[bytes, bytes]


# Few keys and on the edges, so that batches meet, bounds fall on keys and prefixes have some.
_KEYS = [
    b"\x00",
    b"\x00\xff",
    b"a",
    b"a\x00",
    b"a\xff",
    b"a\xff\xff",
    b"b",
    b"\x80",
    b"\xff",
    b"\xff\x00",
    b"\xff\xff",
]
_keys = st.sampled_from(_KEYS)
_bounds = st.none() | st.sampled_from([b"", b"a\x01", b"\xfe", b"\xff\xff\xff", *_KEYS])
_values = st.binary(max_size=4)
_batches = st.builds(
    Batch, st.lists(st.tuples(_keys, _values), min_size=2, max_size=12), st.lists(_keys, max_size=4)
)
_ranges = st.builds(Range, _bounds, _bounds, _bounds, st.booleans(), st.none() | st.integers(0, 3))
_any = st.integers(0, 1 << 16)
"""Picks one of the live scans or snapshots, modulo their number."""

_have_scans = precondition(lambda self: self.scans)
_have_snapshots = precondition(lambda self: self.snapshots)


class BackendMachine(RuleBasedStateMachine):
    """One store, what it should contain, and the readers that are open on it.

    With a changelog a reopened store may have lost the writes since its last flush, as a whole suffix. So
    ``states`` keeps the content after each of them: the reopened one must be among these.
    """

    def __init__(self, engine: Engine, parent: Path) -> None:
        super().__init__()
        self.engine = engine
        self.home = tempfile.TemporaryDirectory(dir=parent)
        self.path = Path(self.home.name) / "store"
        self.copies = 0
        self.content: dict[bytes, bytes] = {}
        self.states: list[dict[bytes, bytes]] = [{}]
        self.scans: list[LiveScan] = []
        self.snapshots: list[LiveSnapshot] = []

    @initialize(changelog=st.booleans(), batch=_batches)
    def start(self, changelog: bool, batch: Batch) -> None:
        self.open(changelog)
        self.write(batch)

    def open(self, changelog: bool) -> None:
        self.changelog = changelog
        self.backend = self.engine.open(self.path, StoreOptions(changelog=changelog))

    def teardown(self) -> None:
        if hasattr(self, "backend"):
            self.backend.close()
        self.engine.close()
        self.home.cleanup()

    # --- writes

    @rule(key=_keys, value=_values)
    def put(self, key: bytes, value: bytes) -> None:
        self.write(Batch([(key, value)]))

    @rule(key=_keys)
    def delete(self, key: bytes) -> None:
        self.write(Batch([], [key]))

    @rule(batch=_batches)
    def write(self, batch: Batch) -> None:
        self.backend.write(batch)
        self.content = applied(self.content, batch)
        self.states.append(self.content)

    @rule(range_=_ranges)
    def delete_range(self, range_: Range) -> None:
        keys = range_.arguments()[0]
        is_all = False
        while not is_all:
            is_all = self.backend.delete_range(keys)
            there = select(self.content, *range_[:3])
            gone = dict(there[: len(there) - len(list(self.backend.scan(keys)))])
            self.content = {key: value for key, value in self.content.items() if key not in gone}
            self.states.append(self.content)
        assert list(self.backend.scan()) == select(self.content)

    # --- reads

    @rule(keys=st.lists(_keys, max_size=8))
    def get(self, keys: list[bytes]) -> None:
        expected = [self.content.get(key) for key in keys]
        assert [self.backend.get(key) for key in keys] == expected
        assert self.backend.get_many(keys) == expected

    @rule(ranges=st.lists(_ranges, min_size=1, max_size=4))
    def scan(self, ranges: list[Range]) -> None:
        for range_ in ranges:
            assert list(self.backend.scan(*range_.arguments())) == select(self.content, *range_)

    # --- readers held open across writes

    @rule()
    def take_snapshot(self) -> None:
        self.snapshots.append(LiveSnapshot(self.backend.snapshot(), self.content))

    @_have_snapshots
    @rule(which=_any, range_=_ranges, keys=st.lists(_keys, max_size=4))
    def read_snapshot(self, which: int, range_: Range, keys: list[bytes]) -> None:
        snapshot, content = self.snapshots[which % len(self.snapshots)]
        assert [snapshot.get(key) for key in keys] == [content.get(key) for key in keys]
        assert snapshot.get_many(keys) == [content.get(key) for key in keys]
        assert list(snapshot.scan(*range_.arguments())) == select(content, *range_)

    @_have_snapshots
    @rule(which=_any)
    def close_snapshot(self, which: int) -> None:
        snapshot, _ = self.snapshots.pop(which % len(self.snapshots))
        snapshot.close()
        with pytest.raises(StoreClosedError):
            snapshot.get(b"a")

    @rule(range_=_ranges)
    def start_scan(self, range_: Range) -> None:
        self.scans.append(LiveScan(self.backend.scan(*range_.arguments()), select(self.content, *range_)))

    @_have_snapshots
    @rule(which=_any, range_=_ranges)
    def start_scan_of_snapshot(self, which: int, range_: Range) -> None:
        """The snapshot leaves the pool: what its scan does once it is closed is the engine's choice."""
        snapshot, content = self.snapshots.pop(which % len(self.snapshots))
        self.scans.append(LiveScan(snapshot.scan(*range_.arguments()), select(content, *range_)))

    @rule(range_=_ranges, batch=_batches)
    def scan_across_a_write(self, range_: Range, batch: Batch) -> None:
        iterator, expected = self.backend.scan(*range_.arguments()), select(self.content, *range_)
        self.write(batch)
        assert list(iterator) == expected

    @_have_scans
    @rule(which=_any, steps=st.integers(1, 4))
    def step_scan(self, which: int, steps: int) -> None:
        iterator, rest = self.scans[which % len(self.scans)]
        for _ in range(steps):
            expected = rest.pop(0) if rest else "the end"
            assert next(iterator, "the end") == expected

    @_have_scans
    @rule(which=_any)
    def finish_scan(self, which: int) -> None:
        iterator, rest = self.scans.pop(which % len(self.scans))
        assert list(iterator) == rest

    @_have_scans
    @rule(which=_any)
    def close_scan(self, which: int) -> None:
        iterator, _ = self.scans.pop(which % len(self.scans))
        iterator.close()
        assert list(iterator) == []

    @_have_scans
    @rule(which=_any)
    def abandon_scan(self, which: int) -> None:
        self.scans.pop(which % len(self.scans))
        gc.collect(0)

    # --- maintenance

    @rule()
    def flush(self) -> None:
        self.backend.flush()
        self.states = [self.content]

    @rule()
    def compact(self) -> None:
        self.backend.compact()

    @precondition(lambda self: self.engine.persistent)
    @rule(batch=_batches)
    def checkpoint(self, batch: Batch) -> None:
        self.copies += 1
        directory = self.path.with_name(f"copy{self.copies}")
        self.backend.checkpoint(directory)
        with self.engine.open(directory, StoreOptions(changelog=self.changelog)) as copy:
            assert list(copy.scan()) == select(self.content)
            copy.write(batch)
            copy.destroy()

    @rule(changelog=st.booleans(), batch=_batches)
    def reopen(self, changelog: bool, batch: Batch) -> None:
        self.scans.append(LiveScan(self.backend.scan(), select(self.content)))
        self.backend.close()
        for iterator, rest in self.scans:
            with pytest.raises(StoreClosedError if rest else (StoreClosedError, StopIteration)):
                next(iterator)
        for snapshot, _ in self.snapshots:
            with pytest.raises(StoreClosedError):
                snapshot.get(b"a")
        self.scans, self.snapshots = [], []
        kept = self.states if self.changelog else [self.content]
        self.open(changelog)
        self.content = dict(self.backend.scan())
        assert self.content in (kept if self.engine.persistent else [{}])
        self.states = [self.content]
        self.write(batch)

    @invariant()
    def counts_are_plausible(self) -> None:
        if hasattr(self, "backend"):
            assert self.backend.size() >= 0
            assert self.backend.approximate_count() >= 0


def backend_machine(engine_factory: Callable[[], Engine], directory: Path) -> type[RuleBasedStateMachine]:
    """Return a state machine that runs each of its examples in a store below ``directory``."""

    class Machine(BackendMachine):
        def __init__(self) -> None:
            super().__init__(engine_factory(), directory)
            DONE["sequences"] += 1

    return Machine
