"""Conformance: sorted runs that are loaded as one unit (*Atomicity* of the contract)."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from statestore.backends.contract import Backend, Batch, Engine, SortedRun, StoreOptions
from statestore.errors import StoreClosedError
from statestore.testing.conformance.tally import keeps
from statestore.testing.threads import run_threads

Content = dict[bytes, bytes | None]
Load = Callable[[Sequence[SortedRun]], None]

BEFORE = {b"%04d" % number: b"before" for number in range(2000)}
POSITION: Content = {b"\x00pos": b"7"}


class SampleRun:
    """A run of a dict: ``None`` deletes. ``midway`` is called when half of the changes were fed."""

    def __init__(
        self, changes: dict[bytes, bytes | None], midway: Callable[[], object] = lambda: None
    ) -> None:
        self._changes = changes
        self._midway = midway

    def __len__(self) -> int:
        return len(self._changes)

    def feed(self, put: Callable[[bytes, bytes], object], delete: Callable[[bytes], object]) -> None:
        for number, key in enumerate(sorted(self._changes)):
            if number == len(self._changes) // 2:
                self._midway()
            value = self._changes[key]
            if value is None:
                delete(key)
            else:
                put(key, value)


CHANGE: Content = {
    **{b"%04d" % number: b"after" for number in range(0, 2000, 2)},
    **{b"%04d" % number: None for number in range(0, 3000, 3)},
    b"0001empty": b"",
    b"zzz": b"new",
}
AFTER = {key: value for key, value in (BEFORE | CHANGE | POSITION).items() if value is not None}


class LoadingTests:
    @pytest.fixture
    def load(self, backend: Backend) -> Load:
        """How the store of the fixture ``backend`` takes many changes, with ``BEFORE`` in it."""
        backend.write(Batch(list(BEFORE.items())))
        return backend.load

    def test_a_load_does_what_a_write_does(self, backend: Backend, load: Load) -> None:
        load([SampleRun(CHANGE), SampleRun(POSITION)])
        assert dict(backend.scan()) == AFTER
        assert list(backend.scan(reverse=True)) == sorted(AFTER.items(), reverse=True)
        keys = [*BEFORE, *CHANGE, *POSITION, b"absent"]
        assert backend.get_many(keys) == [AFTER.get(key) for key in keys]
        assert backend.get(b"0001empty") == b""

    def test_loads_and_writes_take_turns(self, backend: Backend, load: Load) -> None:
        model: dict[bytes, bytes] = dict(BEFORE)
        noise = random.Random(1)
        for number in range(12):
            changes = {
                b"%04d" % noise.randrange(3000): noise.choice([None, b"%d" % number, b""]) for _ in range(300)
            }
            positions = {b"\x00%d" % partition: b"%d" % number for partition in (2, 0, 1)}
            if number % 3 == 2:
                backend.write(
                    Batch(
                        [(key, value) for key, value in changes.items() if value is not None],
                        [key for key, value in changes.items() if value is None],
                    )
                )
                positions = {}
            else:
                load([SampleRun({**positions}), SampleRun(changes)])
            model = {key: value for key, value in (model | changes).items() if value is not None}
            model |= positions
            assert dict(backend.scan()) == model
        backend.flush()
        backend.compact()
        assert dict(backend.scan()) == model

    def test_compaction_beside_a_snapshot_of_the_first_load(self, backend: Backend) -> None:
        """A compaction keeps what a snapshot of the first load sees."""
        backend.load([SampleRun({**BEFORE})])
        with backend.snapshot() as snapshot:
            backend.write(Batch([(b"0000", b"after")], [b"0001"]))
            backend.compact()
            assert dict(snapshot.scan()) == BEFORE
            assert snapshot.get(b"0001") == b"before"
        after = {key: value for key, value in BEFORE.items() if key != b"0001"} | {b"0000": b"after"}
        backend.compact()
        assert dict(backend.scan()) == after

    def test_keys_after_all_others(self, backend: Backend, load: Load) -> None:
        """Loads of keys after all others are in order."""
        model: dict[bytes, bytes] = dict(BEFORE)
        for first in (5000, 6000, 5500):
            changes: dict[bytes, bytes | None] = {b"%04d" % (first + number): b"v" for number in range(400)}
            load([SampleRun({**changes, b"%04d" % (first + 400): None}), SampleRun(POSITION)])
            model |= dict.fromkeys(changes, b"v")
        assert dict(backend.scan()) == model | POSITION

    @pytest.mark.parametrize("place", [b"\x00", b"0500x", b"zz"])
    @pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
    def test_runs_come_in_any_order_and_lie_anywhere(
        self, backend: Backend, load: Load, place: bytes, order: tuple[int, ...]
    ) -> None:
        runs = (
            SampleRun({b"0000": b"1", b"1000": None, b"1999": b"2"}),
            SampleRun({b"0001": None, b"1001": b"3", b"2001": b"4"}),  # between those of the first
            SampleRun({place + b"1": b"", place + b"2": b"b"}),
        )
        load([runs[number] for number in order])
        changed = {**BEFORE, b"0000": b"1", b"1999": b"2", b"1001": b"3", b"2001": b"4"}
        changed |= {place + b"1": b"", place + b"2": b"b"}
        del changed[b"0001"], changed[b"1000"]
        assert list(backend.scan()) == sorted(changed.items())

    @pytest.mark.parametrize("changes", [{}, {b"a": b"1"}, {b"0000": None}, {b"absent": None}])
    @pytest.mark.parametrize("others", [[], [{}], [POSITION], [POSITION, {}, {b"\x03": b"2"}]])
    def test_a_load_of_little_or_nothing(
        self, backend: Backend, load: Load, changes: Content, others: list[Content]
    ) -> None:
        """A load may have few changes, or none."""
        load([SampleRun(run) for run in (changes, *others)])
        expected: Content = {**BEFORE, **changes}
        for other in others:
            expected |= other
        assert dict(backend.scan()) == {key: value for key, value in expected.items() if value is not None}

    def test_a_load_of_no_runs(self, backend: Backend, load: Load) -> None:
        """A load may have no runs."""
        load([])
        assert dict(backend.scan()) == BEFORE

    def test_the_longest_key_and_a_large_value(self, engine: Engine, backend: Backend, load: Load) -> None:
        """A load takes the longest key and a value of 4 MiB."""
        longest, large = b"\xff" * (engine.max_key_size + 1), bytes(range(256)) * (16 << 10)
        load([SampleRun({longest: b"long", b"large": large})])
        assert (backend.get(longest), backend.get(b"large")) == (b"long", large)

    @pytest.mark.parametrize("reverse", [False, True])
    @pytest.mark.parametrize("steps", [0, 1, 1000])
    def test_earlier_snapshots_and_scans_do_not_see_it(
        self, backend: Backend, load: Load, reverse: bool, steps: int
    ) -> None:
        """Snapshots and scans that were taken before do not see a load."""
        expected = sorted(BEFORE.items(), reverse=reverse)
        with backend.snapshot() as snapshot:
            scan = backend.scan(reverse=reverse)
            pairs = [next(scan) for _ in range(steps)]
            load([SampleRun(CHANGE), SampleRun(POSITION)])
            assert pairs + list(scan) == expected
            assert list(snapshot.scan(reverse=reverse)) == expected
            assert snapshot.get_many([b"0000", b"0003", b"zzz"]) == [b"before", b"before", None]
        assert dict(backend.scan()) == AFTER

    def test_nothing_is_seen_while_it_loads(self, backend: Backend, load: Load) -> None:
        """Nothing of a load is seen before its end."""
        looks = []

        def look() -> None:
            looks.append(dict(backend.scan()) == BEFORE and backend.get(b"0000") == b"before")

        load([SampleRun(CHANGE, lambda: run_threads([look])), SampleRun(POSITION)])
        assert looks == [True]
        assert dict(backend.scan()) == AFTER

    def test_no_reader_sees_half_a_load(self, backend: Backend, load: Load) -> None:
        keys = [b"%04d" % number for number in range(0, 2000, 40)]
        halves = keys[::2], keys[1::2]
        loaded = threading.Event()

        def load_often() -> None:
            for number in range(20):
                value = b"%d" % number if number % 3 else None
                load([SampleRun(dict.fromkeys(half, value)) for half in halves])
            loaded.set()

        def read() -> None:
            while not loaded.is_set():
                assert len(set(backend.get_many(keys))) == 1
                assert len({value for key, value in backend.scan() if key in keys}) <= 1

        run_threads([load_often, read])

    @pytest.mark.parametrize("others", [[], [POSITION], [POSITION, {b"\x03": b"2"}]])
    @pytest.mark.parametrize("last", [False, True])
    def test_a_load_that_fails_leaves_nothing_and_can_be_given_again(
        self, backend: Backend, load: Load, others: list[Content], last: bool
    ) -> None:
        failing = True

        def fail() -> None:
            if failing:
                raise ZeroDivisionError

        failing_run, rest = SampleRun(CHANGE, fail), [SampleRun(other) for other in others]
        runs = [*rest, failing_run] if last else [failing_run, *rest]
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                load(runs)
            assert dict(backend.scan()) == BEFORE
        backend.write(Batch([(b"0001", b"between")]))
        failing = False
        load(runs)
        expected = BEFORE | {b"0001": b"between"} | CHANGE
        for other in others:
            expected |= other
        assert dict(backend.scan()) == {key: value for key, value in expected.items() if value is not None}

    def test_closing_meanwhile(self, backend: Backend, load: Load) -> None:
        """A store may be closed while it loads."""
        closing = threading.Event()

        def close() -> None:
            closing.wait(10)
            backend.close()

        def load_late() -> None:
            with contextlib.suppress(StoreClosedError):
                load([SampleRun(CHANGE, closing.set), SampleRun(POSITION)])

        run_threads([close, load_late])
        with pytest.raises(StoreClosedError):
            load([SampleRun(CHANGE), SampleRun(POSITION)])

    @pytest.mark.parametrize("changelog", [False, True])
    def test_what_was_loaded_is_there_after_a_reopen(
        self, engine: Engine, directory: Path, changelog: bool
    ) -> None:
        with engine.open(directory, StoreOptions(changelog=changelog)) as backend:
            backend.write(Batch(list(BEFORE.items())))
            backend.load([SampleRun(CHANGE), SampleRun(POSITION)])
            backend.write(Batch([(b"later", b"1")]))
        for _ in range(2):
            with engine.open(directory, StoreOptions(changelog=changelog)) as backend:
                assert dict(backend.scan()) == (AFTER | {b"later": b"1"} if keeps(engine) else {})

    def test_many_changes(self, backend: Backend, load: Load) -> None:
        """A load takes 30,000 changes."""
        changes = {b"%06x" % (number * 7919): b"%d" % number * 10 for number in range(30_000)}
        load([SampleRun({**changes}), SampleRun(POSITION)])
        assert dict(backend.scan()) == {**BEFORE, **changes, **POSITION}
