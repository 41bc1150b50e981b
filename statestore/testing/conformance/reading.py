"""Conformance: what point reads and scans answer (*Bytes* and *Ranges* of the contract)."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from statestore.backends.contract import Backend, Batch, Engine, KeyRange
from statestore.testing.conformance.model import Range, select

KEYS = [
    b"\x00", b"\x00\x00", b"\x00\xff", b"\x01", b"a", b"a\x00", b"a\x00\x00", b"a\x7f", b"a\x80", b"a\xff",
    b"a\xff\x00", b"a\xff\xff", b"ab", b"b", b"\x7f", b"\x80", b"\xfe", b"\xfe\xff", b"\xff", b"\xff\x00",
    b"\xff\xfe", b"\xff\xff", b"\xff\xff\xff",
]  # fmt: skip
"""Neighbours on every boundary where signed, padded or text comparison would differ from that of bytes."""

CONTENT = {key: b"value of " + key for key in KEYS} | {b"b": b""}

BOUNDS = [
    None,
    b"",
    b"\x00",
    b"\x00\x01",
    b"a",
    b"a\x81",
    b"a\xff",
    b"b",
    b"c",
    b"\x80",
    b"\xff",
    b"\xff" * 4,
]
PREFIXES = [None, b"", b"\x00", b"a", b"a\xff", b"c", b"\xfe", b"\xff", b"\xff\xff"]


class ReadingTests:
    @pytest.fixture
    def filled(self, backend: Backend) -> Backend:
        """``backend`` with ``CONTENT`` in it."""
        backend.write(Batch(list(CONTENT.items())))
        return backend

    def test_get_returns_what_was_put(self, filled: Backend) -> None:
        assert {key: filled.get(key) for key in KEYS} == CONTENT

    def test_get_of_an_absent_key_is_none(self, filled: Backend) -> None:
        assert filled.get(b"absent") is None

    def test_an_empty_store_has_nothing(self, backend: Backend) -> None:
        assert backend.get(b"a") is None
        assert backend.get_many([b"a", b"b"]) == [None, None]
        assert list(backend.scan()) == []
        assert list(backend.scan(reverse=True)) == []

    def test_an_empty_value_is_not_an_absent_one(self, backend: Backend) -> None:
        backend.write(Batch([(b"empty", b"")]))
        assert backend.get(b"empty") == b""
        assert backend.get_many([b"empty", b"absent"]) == [b"", None]
        assert list(backend.scan()) == [(b"empty", b"")]

    def test_get_many_keeps_the_order_of_its_keys(self, filled: Backend) -> None:
        assert filled.get_many([b"b", b"absent", b"a", b"\xff", b"a"]) == [
            b"",
            None,
            b"value of a",
            b"value of \xff",
            b"value of a",
        ]

    def test_get_many_of_no_keys_is_empty(self, filled: Backend) -> None:
        assert filled.get_many([]) == []

    def test_scan_is_in_unsigned_byte_order(self, filled: Backend) -> None:
        """A scan is in the order of unsigned bytes."""
        assert list(filled.scan()) == sorted(CONTENT.items())

    def test_reverse_scan_is_the_same_backwards(self, filled: Backend) -> None:
        """A reverse scan is the same backwards."""
        assert list(filled.scan(reverse=True)) == sorted(CONTENT.items(), reverse=True)

    @pytest.mark.parametrize("reverse", [False, True])
    def test_start_is_included_and_stop_excluded(self, filled: Backend, reverse: bool) -> None:
        keys = [key for key, _ in filled.scan(KeyRange(start=b"a", stop=b"ab"), reverse=reverse)]
        assert sorted(keys) == [b"a", b"a\x00", b"a\x00\x00"]

    @pytest.mark.parametrize("reverse", [False, True])
    def test_bounds_need_not_be_keys(self, filled: Backend, reverse: bool) -> None:
        keys = [key for key, _ in filled.scan(KeyRange(start=b"a\x01", stop=b"a\x81"), reverse=reverse)]
        assert sorted(keys) == [b"ab", b"a\x7f", b"a\x80"]

    @pytest.mark.parametrize("reverse", [False, True])
    @pytest.mark.parametrize(("start", "stop"), [(b"b", b"a"), (b"a", b"a"), (b"", b""), (b"\xff", b"\x00")])
    def test_start_at_or_after_stop_is_empty(
        self, filled: Backend, start: bytes, stop: bytes, reverse: bool
    ) -> None:
        assert list(filled.scan(KeyRange(start=start, stop=stop), reverse=reverse)) == []

    @pytest.mark.parametrize("reverse", [False, True])
    @pytest.mark.parametrize("prefix", [b"a\xff", b"\xff", b"\xff\xff", b"\xfe\xff"])
    def test_prefix_that_ends_in_0xff(self, filled: Backend, prefix: bytes, reverse: bool) -> None:
        """A prefix that ends in 0xff has the keys that begin with it, and no others."""
        keys = [key for key, _ in filled.scan(KeyRange(prefix=prefix), reverse=reverse)]
        assert keys == sorted((key for key in KEYS if key.startswith(prefix)), reverse=reverse)

    @pytest.mark.parametrize("reverse", [False, True])
    @pytest.mark.parametrize("limit", [0, 1, 2, len(KEYS), len(KEYS) + 1, None])
    def test_limit_bounds_the_number_of_pairs(
        self, filled: Backend, limit: int | None, reverse: bool
    ) -> None:
        """A limit bounds the number of pairs."""
        assert list(filled.scan(reverse=reverse, limit=limit)) == select(
            CONTENT, reverse=reverse, limit=limit
        )

    def test_negative_limit_is_refused_when_scan_is_called(self, filled: Backend) -> None:
        """A negative limit is refused when the scan is asked for."""
        with pytest.raises(ValueError, match="-1"):
            filled.scan(limit=-1)

    @pytest.mark.parametrize("reverse", [False, True])
    def test_every_combination_of_bounds_prefix_and_limit(self, filled: Backend, reverse: bool) -> None:
        """Every combination of bounds, prefix and limit gives what a dict would."""
        wrong = []
        for start, stop, prefix, limit in product(BOUNDS, BOUNDS, PREFIXES, [None, 0, 1, 3]):
            range_ = Range(start, stop, prefix, reverse, limit)
            if list(filled.scan(*range_.arguments())) != select(CONTENT, *range_):
                wrong.append(range_)
        assert wrong == []

    def test_snapshot_reads_as_the_backend_does(self, filled: Backend) -> None:
        """A snapshot reads as the backend does."""
        with filled.snapshot() as snapshot:
            assert {key: snapshot.get(key) for key in KEYS} == CONTENT
            assert snapshot.get_many([b"b", b"absent", b"a"]) == [b"", None, b"value of a"]
            for prefix, reverse, limit in product(PREFIXES, [False, True], [None, 0, 2]):
                range_ = Range(prefix=prefix, reverse=reverse, limit=limit)
                assert list(snapshot.scan(*range_.arguments())) == select(CONTENT, *range_)
            with pytest.raises(ValueError, match="-1"):
                snapshot.scan(limit=-1)

    def test_a_bound_may_be_longer_than_any_key(self, engine: Engine, filled: Backend) -> None:
        bound = b"a" + b"\x00" * (2 * engine.max_key_size)
        below = select(CONTENT, stop=bound)
        for reverse in (False, True):
            assert sorted(filled.scan(KeyRange(stop=bound), reverse=reverse)) == below
            assert sorted(filled.scan(KeyRange(start=bound), reverse=reverse)) == select(CONTENT, start=bound)
            assert list(filled.scan(KeyRange(prefix=bound), reverse=reverse)) == []

    def test_thousands_of_pairs_in_both_directions(self, backend: Backend) -> None:
        """Thousands of pairs are scanned in both directions."""
        content = {number.to_bytes(4, "big"): b"%d" % number for number in range(0, 40_000, 8)}
        pairs = list(content.items())
        for at in range(0, len(pairs), 700):
            backend.write(Batch(pairs[at : at + 700]))
        assert list(backend.scan()) == pairs
        assert list(backend.scan(reverse=True)) == pairs[::-1]
        for reverse in (False, True):
            middle = Range((10_001).to_bytes(4, "big"), (30_000).to_bytes(4, "big"), reverse=reverse)
            assert list(backend.scan(*middle.arguments())) == select(content, *middle)

    def test_arguments_of_another_type_are_refused(self, filled: Backend) -> None:
        text: Any = "a"
        with pytest.raises(TypeError):
            filled.get(text)
        with pytest.raises(TypeError):
            filled.get_many([b"a", text])
