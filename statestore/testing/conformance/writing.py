"""Conformance: what a batch does (*Bytes*, *Atomicity* and *Threads* of the contract)."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

import pytest

from statestore.backends.contract import Backend, Batch, Engine, KeyRange
from statestore.testing.threads import run_threads


class WritingTests:
    def test_put_replaces_and_delete_removes(self, backend: Backend) -> None:
        """A put replaces, and a delete removes."""
        backend.write(Batch([(b"a", b"1"), (b"b", b"1"), (b"c", b"1")]))
        backend.write(Batch([(b"b", b"2")]))
        backend.write(Batch([], [b"c"]))
        assert backend.get_many([b"a", b"b", b"c"]) == [b"1", b"2", None]
        assert list(backend.scan()) == [(b"a", b"1"), (b"b", b"2")]

    def test_a_deleted_key_can_come_back(self, backend: Backend) -> None:
        backend.write(Batch([(b"a", b"1")]))
        backend.write(Batch([], [b"a"]))
        backend.write(Batch([(b"a", b"2")]))
        assert list(backend.scan()) == [(b"a", b"2")]

    def test_deleting_an_absent_key_is_fine(self, backend: Backend) -> None:
        backend.write(Batch([(b"b", b"1")], [b"a", b"a"]))
        assert list(backend.scan()) == [(b"b", b"1")]

    def test_an_empty_batch_is_fine(self, backend: Backend) -> None:
        backend.write(Batch([(b"a", b"1")]))
        backend.write(Batch([], []))
        assert list(backend.scan()) == [(b"a", b"1")]

    def test_deletes_are_applied_before_puts(self, backend: Backend) -> None:
        backend.write(Batch([(b"old", b"1"), (b"gone", b"1")]))
        backend.write(Batch([(b"old", b"2"), (b"new", b"2")], [b"new", b"old", b"gone"]))
        assert list(backend.scan()) == [(b"new", b"2"), (b"old", b"2")]

    def test_of_two_puts_of_one_key_the_later_wins(self, backend: Backend) -> None:
        backend.write(Batch([(b"a", b"1"), (b"b", b"1"), (b"a", b"2"), (b"b", b"")]))
        assert list(backend.scan()) == [(b"a", b"2"), (b"b", b"")]

    @pytest.mark.parametrize("byte", [b"\x00", b"a", b"\xff"])
    def test_shortest_and_longest_key(self, engine: Engine, backend: Backend, byte: bytes) -> None:
        """The shortest and the longest key are kept, found and deleted."""
        longest = byte * (engine.max_key_size + 1)  # the store's namespace byte comes on top
        backend.write(Batch([(longest, b"long"), (longest[:-1], b"shorter"), (byte, b"short")]))
        assert backend.get_many([byte, longest[:-1], longest]) == [b"short", b"shorter", b"long"]
        assert list(backend.scan(KeyRange(prefix=byte))) == [
            (byte, b"short"),
            (longest[:-1], b"shorter"),
            (longest, b"long"),
        ]
        assert list(backend.scan(KeyRange(start=longest), reverse=True)) == [(longest, b"long")]
        backend.write(Batch([], [longest]))
        assert backend.get(longest) is None

    def test_a_large_value(self, backend: Backend) -> None:
        """A value of 4 MiB is kept."""
        value = bytes(range(256)) * (16 << 10)  # 4 MiB
        backend.write(Batch([(b"large", value)]))
        assert backend.get(b"large") == value
        assert list(backend.scan()) == [(b"large", value)]

    def test_the_lists_of_a_batch_stay_the_callers(self, backend: Backend) -> None:
        """The lists of a batch stay the caller's."""
        puts, deletes = [(b"b", b"1"), (b"a", b"1"), (b"a", b"2")], [b"d", b"c"]
        backend.write(Batch(puts, deletes))
        assert puts == [(b"b", b"1"), (b"a", b"1"), (b"a", b"2")]
        assert deletes == [b"d", b"c"]
        puts.clear()
        deletes.append(b"a")
        backend.write(Batch([(b"z", b"1")]))
        assert list(backend.scan()) == [(b"a", b"2"), (b"b", b"1"), (b"z", b"1")]

    @pytest.mark.parametrize(
        ("key", "value"), [(b"b", "text"), ("b", b"2"), (b"b", None), (b"b", 2), (None, b"2")]
    )
    def test_a_refused_batch_leaves_nothing_and_can_be_given_again(
        self, backend: Backend, key: Any, value: Any
    ) -> None:
        backend.write(Batch([(b"a", b"1"), (b"gone", b"1")]))
        puts = [(b"a", b"2"), (key, value), (b"c", b"2")]
        batch = Batch(puts, [b"gone"])
        with pytest.raises(TypeError):
            backend.write(batch)
        assert list(backend.scan()) == [(b"a", b"1"), (b"gone", b"1")]
        puts[1] = (b"b", b"2")
        backend.write(batch)
        assert list(backend.scan()) == [(b"a", b"2"), (b"b", b"2"), (b"c", b"2")]

    def test_a_delete_of_another_type_is_refused_with_its_batch(self, backend: Backend) -> None:
        key: Any = "a"
        with pytest.raises(TypeError):
            backend.write(Batch([(b"a", b"1")], [b"b", key]))
        assert list(backend.scan()) == []

    def test_no_reader_sees_half_a_batch(self, backend: Backend) -> None:
        keys = [b"%03d" % number for number in range(50)]
        backend.write(Batch([(key, b"0") for key in keys]))
        written = threading.Event()

        def write() -> None:
            for number in range(60):
                if number % 3 == 2:
                    backend.write(Batch([], keys))
                else:
                    backend.write(Batch([(key, b"%d" % number) for key in keys]))
            written.set()

        def read() -> None:
            while not written.is_set():
                assert len(set(backend.get_many(keys))) == 1
                pairs = list(backend.scan())
                assert len(pairs) in (0, len(keys))
                assert len({value for _, value in pairs}) <= 1

        run_threads([write, read, read])

    def test_batches_of_several_threads_all_arrive(self, backend: Backend) -> None:
        def write(thread: int) -> None:
            for number in range(100):
                key = b"%d-%03d" % (thread, number)
                backend.write(Batch([(key, key), (b"last", key)], [b"absent"]))

        run_threads([partial(write, thread) for thread in range(4)])
        keys = [b"%d-%03d" % (thread, number) for thread in range(4) for number in range(100)]
        assert backend.get_many(keys) == keys
        assert backend.get(b"last") in {b"%d-099" % thread for thread in range(4)}
