"""Conformance: ranges that are deleted (``delete_range`` of the contract)."""

from __future__ import annotations

from pathlib import Path

import pytest

from statestore.backends.contract import Backend, Batch, Engine, KeyRange, StoreOptions
from statestore.testing.conformance.model import Range, select
from statestore.testing.conformance.tally import keeps

MANY = {b"\x01%05d" % number: b"v%d" % number for number in range(9_000)}
"""More pairs than an engine that deletes them one by one deletes in one step."""
AROUND = {b"\x00": b"before", b"\x01": b"", b"\x02": b"after", b"\x02\x01": b"after", b"\xff\xff": b"last"}


def delete(backend: Backend, keys: KeyRange) -> int:
    """Delete a whole range; return in how many steps."""
    steps = 1
    while not backend.delete_range(keys):
        steps += 1
    return steps


class RangeTests:
    @pytest.mark.parametrize(
        "range_",
        [
            Range(),
            Range(b"\x01"),
            Range(stop=b"\x02"),
            Range(b"\x01", b"\x02"),
            Range(b"\x01\x00", b"\x02\x01"),
            Range(prefix=b"\x02"),
            Range(prefix=b"\xff"),
            Range(b"\x02", b"\x01"),
            Range(b"\x03", b"\x04"),
            Range(b"\x02", b"\x02"),
            Range(b"", b"\x00"),
        ],
    )
    def test_a_range_goes_as_a_whole_and_nothing_else_does(self, backend: Backend, range_: Range) -> None:
        content = AROUND | dict(list(MANY.items())[::900])
        backend.write(Batch(list(content.items())))
        delete(backend, range_.arguments()[0])
        gone = dict(select(content, *range_))
        left = {key: value for key, value in content.items() if key not in gone}
        assert list(backend.scan()) == select(left)
        assert list(backend.scan(reverse=True)) == select(left, reverse=True)
        assert backend.get_many(list(content)) == [left.get(key) for key in content]

    def test_a_large_range_goes_from_its_start(self, backend: Backend) -> None:
        backend.write(Batch([*AROUND.items(), *MANY.items()]))
        keys = KeyRange(b"\x01\x00", b"\x02")
        is_all = False
        while not is_all:
            is_all = backend.delete_range(keys)
            left = list(backend.scan(keys))
            assert left == select(MANY)[len(MANY) - len(left) :]
            assert not (is_all and left)
        assert dict(backend.scan()) == AROUND

    def test_what_was_taken_before_sees_it_still(self, backend: Backend) -> None:
        """Snapshots and scans that were taken before see a deleted range still."""
        backend.write(Batch([*AROUND.items(), *MANY.items()]))
        with backend.snapshot() as snapshot:
            scan = backend.scan()
            first = next(scan)
            delete(backend, KeyRange(b"\x01\x00", b"\x02"))
            assert [first, *scan] == select(AROUND | MANY)
            assert list(snapshot.scan(reverse=True)) == select(AROUND | MANY, reverse=True)
            assert snapshot.get(b"\x0100000") == b"v0"
        assert dict(backend.scan()) == AROUND

    def test_a_deleted_range_takes_rows_again(self, backend: Backend) -> None:
        backend.write(Batch(list(MANY.items())))
        delete(backend, KeyRange(prefix=b"\x01"))
        backend.write(Batch([(b"\x0100007", b"again")]))
        assert list(backend.scan()) == [(b"\x0100007", b"again")]
        delete(backend, KeyRange(b"\x01", b"\x0100007"))
        backend.flush()
        backend.compact()
        assert list(backend.scan()) == [(b"\x0100007", b"again")]

    @pytest.mark.parametrize("changelog", [False, True])
    def test_a_range_stays_deleted(self, engine: Engine, directory: Path, changelog: bool) -> None:
        with engine.open(directory, StoreOptions(changelog=changelog)) as backend:
            backend.write(Batch([*AROUND.items(), *MANY.items()]))
            delete(backend, KeyRange(b"\x01\x00", b"\x02"))
            if changelog:
                backend.flush()
        for _ in range(2):
            with engine.open(directory, StoreOptions(changelog=changelog)) as backend:
                assert dict(backend.scan()) == (AROUND if keeps(engine) else {})
