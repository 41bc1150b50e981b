"""Any sequence of calls of a store of windows, or of sessions, against a dict."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from statestore import SessionStore, WindowStore
from statestore.backends import StoreOptions, find_engine
from statestore.storage.layout import LEAST_SEGMENT
from statestore.storage.stored_window import StoredWindow

RETENTION = 3 * LEAST_SEGMENT
IS_SOAK = os.environ.get("STATESTORE_SOAK") == "1"

Row = tuple[bytes, tuple[int, ...]]
"""A key, and the times that name the row: its start, of a session also its end."""

_keys = st.sampled_from([b"", b"\x00", b"\x00\xff", b"a", b"a\x00", b"a\x00\x00", b"ab", b"\xff"])
# Around the limits of segments and of the retention, before 1970 too.
_times = st.builds(
    lambda segment, beside: segment * LEAST_SEGMENT + beside,
    st.integers(-3, 8),
    st.sampled_from([-1, 0, 1, 7]),
)
_bounds = st.none() | _times
_values = st.binary(max_size=3)
_rows = st.tuples(_keys, st.tuples(_times, _times).map(lambda both: tuple(sorted(both))))
_changes = st.lists(st.tuples(_rows, st.none() | _values), max_size=6)


class Model(NamedTuple):
    """What a store holds; never changed."""

    rows: dict[Row, bytes]
    newest: int | None
    first: int | None

    def put(self, row: Row, value: bytes, retention: int) -> Model:
        time = row[1][-1]
        if self.first is not None and time < self.first:
            return self
        newest = time if self.newest is None else max(self.newest, time)
        limit = newest - retention + 1
        first = limit if self.first is None else max(self.first, limit)
        rows = {one: kept for one, kept in self.rows.items() if one[1][-1] >= first}
        return Model({**rows, row: value} if time >= first else rows, newest, first)

    def delete(self, row: Row) -> Model:
        return self._replace(rows={one: value for one, value in self.rows.items() if one != row})

    def kept(self, retention: int) -> Model:
        if self.newest is None or self.first is None:
            return self
        first = max(self.newest - retention + 1, self.first)
        return self._replace(rows={r: v for r, v in self.rows.items() if r[1][-1] >= first}, first=first)

    def fetched(self, start: int | None, stop: int | None, reverse: bool) -> list[tuple[Any, ...]]:
        """Return ``(key, *times, value)``, by key and time."""
        found = [
            (key, *times, value)
            for (key, times), value in sorted(self.rows.items(), key=lambda one: (one[0][0], one[0][1][::-1]))
            if (start is None or times[0] >= start) and (stop is None or times[0] < stop)
        ]
        return found[::-1] if reverse else found


class WindowMachine(RuleBasedStateMachine):
    """One store, what it should hold, and a snapshot of it."""

    engine_name: str
    of_sessions: bool
    parent: Path

    def __init__(self) -> None:
        super().__init__()
        self.engine = find_engine(self.engine_name)(4 << 20)
        self.home = tempfile.TemporaryDirectory(dir=self.parent)
        self.model = Model({}, None, None)
        self.retention = RETENTION
        self.snapshot: Any = None
        self.late = 0

    @initialize()
    def open(self) -> None:
        self.backend = self.engine.open(Path(self.home.name) / "store", StoreOptions())
        made: Any = SessionStore if self.of_sessions else WindowStore
        window: StoredWindow = {
            "size_ms": None if self.of_sessions else 1000,
            "retention_ms": self.retention,
            "segment_ms": LEAST_SEGMENT,
        }
        self.store = made("store", self.backend, 100, window)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
        self.engine.close()
        self.home.cleanup()

    def named(self, row: Row) -> Row:
        return row if self.of_sessions else (row[0], row[1][:1])

    def changed(self, row: Row, value: bytes | None) -> bool:
        """Have the model change; return whether the row was accepted."""
        if value is None:
            self.model = self.model.delete(row)
            return True
        before = self.model
        self.model = before.put(row, value, self.retention)
        is_late = before.first is not None and row[1][-1] < before.first
        self.late += is_late
        return not is_late

    @rule(row=_rows, value=_values)
    def put(self, row: Row, value: bytes) -> None:
        key, times = row = self.named(row)
        assert self.store.put(key, *times, value) == self.changed(row, value)

    @rule(row=_rows)
    def delete(self, row: Row) -> None:
        key, times = row = self.named(row)
        self.store.delete(key, *times)
        self.changed(row, None)

    @rule(changes=_changes)
    def batch(self, changes: list[tuple[Row, bytes | None]]) -> None:
        with self.store.batch() as batch:
            for row, value in changes:
                key, times = self.named(row)
                if value is None:
                    batch.delete(key, *times)
                else:
                    batch.put(key, *times, value)
        for row, value in changes:
            self.changed(self.named(row), value)

    @rule(key=_keys, row=_rows, start=_bounds, stop=_bounds, reverse=st.booleans(), pinned=st.booleans())
    def read(
        self, key: bytes, row: Row, start: int | None, stop: int | None, reverse: bool, pinned: bool
    ) -> None:
        reader, model = self.store, self.model
        if pinned and self.snapshot is not None:
            reader, model = self.snapshot
        everything = model.fetched(start, stop, reverse)
        assert list(reader.fetch_all(start, stop, reverse)) == everything
        of_key = [one[1:] for one in everything if one[0] == key]
        assert list(reader.fetch(key, start, stop, reverse)) == of_key
        last = [one[1:] for one in model.fetched(None, None, False) if one[0] == key]
        assert reader.latest(key) == (last[-1] if last else None)
        row = self.named(row)
        assert reader.get(row[0], *row[1]) == model.rows.get(row)
        assert reader.count() == len(model.rows)

    @rule(row=_rows, value=_values, reverse=st.booleans())
    def fetch_across_a_write(self, row: Row, value: bytes, reverse: bool) -> None:
        fetched, expected = self.store.fetch_all(reverse=reverse), self.model.fetched(None, None, reverse)
        self.put(row, value)
        assert list(fetched) == expected

    @rule()
    def take_snapshot(self) -> None:
        if self.snapshot is not None:
            self.snapshot[0].close()
        self.snapshot = self.store.snapshot(), self.model

    @rule()
    def flush(self) -> None:
        self.store.flush()

    @precondition(lambda self: self.engine.persistent)
    @rule(segments=st.integers(1, 5))
    def reopen(self, segments: int) -> None:
        self.store.close()
        self.snapshot = None
        self.retention = segments * LEAST_SEGMENT
        self.late = 0
        self.model = self.model.kept(self.retention)
        self.open()

    @invariant()
    def stats_say_so(self) -> None:
        if hasattr(self, "store"):
            stats = self.store.stats()
            assert (stats.newest, stats.first, stats.late) == (self.model.newest, self.model.first, self.late)


@pytest.mark.slow
@pytest.mark.parametrize("sessions", [False, True], ids=["windows", "sessions"])
@pytest.mark.parametrize("name", ["memory", "lmdb", "rocksdb"])
def test_any_sequence_of_calls(name: str, sessions: bool, tmp_path: Path) -> None:
    class Machine(WindowMachine):
        engine_name = name
        of_sessions = sessions
        parent = tmp_path

    few = 5 if name == "rocksdb" else 15
    run_state_machine_as_test(
        Machine,
        settings=settings(
            derandomize=not IS_SOAK,
            database=None,
            deadline=None,
            max_examples=300 if IS_SOAK else few,
            stateful_step_count=50 if IS_SOAK else 25,
            suppress_health_check=list(HealthCheck),
        ),
    )
