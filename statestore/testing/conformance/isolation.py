"""Conformance: readers and writers do not disturb each other (*Isolation* of the contract)."""

from __future__ import annotations

import gc

import pytest

from statestore.backends.contract import Backend, Batch, KeyRange
from statestore.errors import StoreClosedError
from statestore.testing.threads import run_threads

BEFORE = {b"%03d" % number: b"before" for number in range(100)}
CHANGE = Batch(
    [(b"000", b"after"), (b"050", b"after"), (b"0505", b"new"), (b"zzz", b"new")],
    [b"001", b"051", b"099"],
)


class IsolationTests:
    @pytest.fixture
    def stocked(self, backend: Backend) -> Backend:
        """``backend`` with ``BEFORE`` in it."""
        backend.write(Batch(list(BEFORE.items())))
        return backend

    def test_a_snapshot_does_not_see_later_writes(self, stocked: Backend) -> None:
        with stocked.snapshot() as snapshot:
            stocked.write(CHANGE)
            assert snapshot.get(b"000") == b"before"
            assert snapshot.get(b"001") == b"before"
            assert snapshot.get(b"zzz") is None
            assert snapshot.get_many([b"050", b"051", b"0505"]) == [b"before", b"before", None]
            assert list(snapshot.scan()) == list(BEFORE.items())
            assert list(snapshot.scan(reverse=True)) == list(BEFORE.items())[::-1]
        assert stocked.get_many([b"000", b"001", b"zzz"]) == [b"after", None, b"new"]

    def test_a_snapshot_survives_flush_and_compaction(self, stocked: Backend) -> None:
        with stocked.snapshot() as snapshot:
            stocked.write(Batch([], list(BEFORE)))
            stocked.flush()
            stocked.compact()
            assert list(snapshot.scan()) == list(BEFORE.items())
            assert snapshot.get(b"050") == b"before"
        assert list(stocked.scan()) == []

    def test_each_snapshot_has_its_own_moment(self, backend: Backend) -> None:
        snapshots = []
        for number in range(200):
            backend.write(Batch([(b"k", b"%d" % number)]))
            snapshots.append(backend.snapshot())
        assert [snapshot.get(b"k") for snapshot in snapshots] == [b"%d" % number for number in range(200)]
        for snapshot in snapshots:
            snapshot.close()

    @pytest.mark.parametrize("reverse", [False, True])
    def test_a_scan_sees_the_moment_of_its_call(self, stocked: Backend, reverse: bool) -> None:
        """A scan sees the moment of its call, whatever is written later."""
        scan = stocked.scan(reverse=reverse)
        stocked.write(CHANGE)
        assert list(scan) == sorted(BEFORE.items(), reverse=reverse)

    @pytest.mark.parametrize("reverse", [False, True])
    def test_a_half_read_scan_does_not_see_later_writes(self, stocked: Backend, reverse: bool) -> None:
        scan = stocked.scan(reverse=reverse)
        pairs = [next(scan) for _ in range(50)]
        stocked.write(CHANGE)
        stocked.flush()
        stocked.compact()
        assert pairs + list(scan) == sorted(BEFORE.items(), reverse=reverse)

    @pytest.mark.parametrize("reverse", [False, True])
    def test_a_scan_of_ranges_sees_the_moment_of_its_call(self, stocked: Backend, reverse: bool) -> None:
        bounds = [(b"0", b"003"), (b"050", b"050"), (b"050", b"0505"), (b"07", b"073"), (b"098", b"zzzz")]
        ranges = [KeyRange(*both) for both in bounds]
        scan = stocked.scan_ranges(ranges[::-1] if reverse else ranges, reverse)
        empty = stocked.scan_ranges([])
        stocked.write(CHANGE)
        wanted = [(key, b"before") for key in BEFORE if any(low <= key < high for low, high in bounds)]
        assert list(scan) == sorted(wanted, reverse=reverse)
        assert list(scan) == list(empty) == []
        whole = [KeyRange(stop=b"002"), KeyRange(b"zz")]
        found = list(stocked.scan_ranges(whole[::-1] if reverse else whole, reverse))
        assert found == sorted([(b"000", b"after"), (b"zzz", b"new")], reverse=reverse)
        stocked.scan_ranges(ranges).close()
        half_read = stocked.scan_ranges(ranges)
        next(half_read)
        half_read.close()
        assert list(half_read) == []

    def test_several_scans_side_by_side(self, stocked: Backend) -> None:
        """Several scans run side by side."""
        forwards, backwards, part = (
            stocked.scan(),
            stocked.scan(reverse=True),
            stocked.scan(KeyRange(prefix=b"05")),
        )
        steps = list(zip(forwards, backwards, strict=True))
        assert [pair for pair, _ in steps] == list(BEFORE.items())
        assert [pair for _, pair in steps] == list(BEFORE.items())[::-1]
        assert [key for key, _ in part] == [b"05%d" % number for number in range(10)]

    def test_a_scan_outlives_its_snapshot_or_says_so(self, stocked: Backend) -> None:
        snapshot = stocked.snapshot()
        scan = snapshot.scan()
        pairs = [next(scan)]
        snapshot.close()
        stocked.write(CHANGE)
        try:
            pairs += scan
        except StoreClosedError:
            return
        assert pairs == list(BEFORE.items())

    def test_a_scan_keeps_the_snapshot_it_was_taken_from(self, stocked: Backend) -> None:
        scan = stocked.snapshot().scan()  # nothing else refers to the snapshot
        gc.collect()
        stocked.write(CHANGE)
        assert list(scan) == list(BEFORE.items())

    def test_writes_do_not_wait_for_readers(self, stocked: Backend) -> None:
        with stocked.snapshot() as snapshot:
            scan = stocked.scan()
            next(scan)

            def write() -> None:
                for number in range(50):
                    stocked.write(Batch([(b"k", b"%d" % number)]))
                stocked.flush()

            run_threads([write])
            assert stocked.get(b"k") == b"49"
            assert snapshot.get(b"k") is None
            scan.close()

    def test_a_snapshot_is_read_by_several_threads(self, stocked: Backend) -> None:
        with stocked.snapshot() as snapshot:

            def read() -> None:
                for _ in range(20):
                    assert snapshot.get(b"050") == b"before"
                    assert list(snapshot.scan()) == list(BEFORE.items())

            run_threads([read, read, read], meanwhile=lambda: stocked.write(CHANGE))

    def test_a_scan_moves_between_threads(self, stocked: Backend) -> None:
        scan = stocked.scan()
        pairs = [next(scan)]
        run_threads([lambda: pairs.extend(scan)])
        assert pairs == list(BEFORE.items())
