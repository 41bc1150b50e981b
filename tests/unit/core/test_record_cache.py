"""The record cache: never an old value, never two ways, never more than its bound."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

try:
    from statestore import _native
except ImportError:
    pytest.skip("there is no extension", allow_module_level=True)

Changes = Mapping[bytes, bytes | None]

KEYS = st.sampled_from([b"", b"a", b"b", b"c", b"dd", b"e" * 40])
VALUES = st.binary(max_size=60)


class FaultError(Exception):
    pass


class Engine:
    """A dict with keys that have a namespace. Something may happen in the middle of a read or a write."""

    def __init__(self) -> None:
        self.content: dict[bytes, bytes] = {}
        self.atomic = threading.Lock()
        self.give_way = False
        """Whether other threads get their turn when the values are read."""
        self.after_reading: Callable[[], None] = lambda: None
        self.before_writing: Callable[[], None] = lambda: None
        self.after_writing: Callable[[], None] = lambda: None

    def get(self, key: bytes) -> bytes | None:
        return self.get_many([key])[0]

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        with self.atomic:
            values = [self.content.get(key) for key in keys]
        if self.give_way:
            time.sleep(0)
        happens, self.after_reading = self.after_reading, lambda: None
        happens()
        return values

    def write(self, changes: Changes) -> None:
        self.before_writing()
        with self.atomic:
            for key, value in changes.items():
                if value is None:
                    self.content.pop(b"\x01" + key, None)
                else:
                    self.content[b"\x01" + key] = value
        self.after_writing()


class Store(_native.PointReads):
    """What ``KeyValueStore`` and ``ChangelogStore`` do around their writes."""

    def __init__(self, cache: _native.RecordCache) -> None:
        self.engine = Engine()
        super().__init__(self.engine.get, self.engine.get_many, b"\x01", 0, cache)

    def changing(self, changes: Changes | None) -> AbstractContextManager[None]:
        if changes is None:
            return self._change(None, None)
        puts = [(b"\x01" + key, value) for key, value in changes.items() if value is not None]
        return self._change(puts, [b"\x01" + key for key, value in changes.items() if value is None])

    def write(self, changes: Changes) -> None:
        with self.changing(changes):
            self.engine.write(changes)


class ForgettingBefore(Store):
    """Broken: takes the keys away before it writes, and lets readers add them again meanwhile."""

    def write(self, changes: Changes) -> None:
        with self.changing(changes):
            pass
        self.engine.write(changes)


class ForgettingAfter(Store):
    """Broken: takes the keys away after it has written."""

    def write(self, changes: Changes) -> None:
        self.engine.write(changes)
        with self.changing(changes):
            pass


class ForgettingNothing(Store):
    """Broken: writes."""

    def changing(self, changes: Changes | None) -> AbstractContextManager[None]:
        return nullcontext()


BROKEN = [ForgettingBefore, ForgettingAfter, ForgettingNothing]


# One step after the other, and some in the middle of others


class Coherence(RuleBasedStateMachine):
    """Two stores of one small cache; reads and writes in the middle of others, and failures."""

    kind: type[Store] = Store

    @initialize(limit=st.sampled_from([0, 700, 1500, 100_000]))
    def begin(self, limit: int) -> None:
        self.cache = _native.RecordCache(limit)
        self.stores = [self.kind(self.cache), self.kind(self.cache)]
        self.under_way: list[AbstractContextManager[None]] = []

    def expected(self, store: Store, key: bytes) -> bytes | None:
        return store.engine.content.get(b"\x01" + key)

    @rule(which=st.sampled_from([0, 1]), key=KEYS)
    def get(self, which: int, key: bytes) -> None:
        store = self.stores[which]
        assert store.get(key) == self.expected(store, key)
        assert store.get(key) == self.expected(store, key)
        assert (key in store) is (self.expected(store, key) is not None)

    @rule(which=st.sampled_from([0, 1]), keys=st.lists(KEYS))
    def get_many(self, which: int, keys: list[bytes]) -> None:
        store = self.stores[which]
        assert store.get_many(keys) == [self.expected(store, key) for key in keys]

    @rule(which=st.sampled_from([0, 1]), changes=st.dictionaries(KEYS, st.none() | VALUES))
    def write(self, which: int, changes: Changes) -> None:
        store = self.stores[which]

        def read() -> None:  # the engine has it already, so some other reader may have seen it
            for key in changes:
                assert store.get(key) == self.expected(store, key)
            assert store.get_many(changes) == [self.expected(store, key) for key in changes]

        store.engine.before_writing = store.engine.after_writing = read
        store.write(changes)
        store.engine.before_writing = store.engine.after_writing = lambda: None
        read()

    @rule(which=st.sampled_from([0, 1]), key=KEYS, changes=st.dictionaries(KEYS, st.none() | VALUES))
    def get_around_a_write(self, which: int, key: bytes, changes: Changes) -> None:
        store = self.stores[which]
        before = self.expected(store, key)
        store.engine.after_reading = lambda: store.write(changes)
        assert store.get(key) in (before, self.expected(store, key))
        store.engine.after_reading = lambda: None
        assert store.get(key) == self.expected(store, key)

    @rule(which=st.sampled_from([0, 1]), keys=st.lists(KEYS), changes=st.dictionaries(KEYS, VALUES))
    def get_many_around_a_write(self, which: int, keys: list[bytes], changes: Changes) -> None:
        store = self.stores[which]
        before = [self.expected(store, key) for key in keys]
        store.engine.after_reading = lambda: store.write(changes)
        assert store.get_many(keys) in (before, [self.expected(store, key) for key in keys])
        store.engine.after_reading = lambda: None
        assert store.get_many(keys) == [self.expected(store, key) for key in keys]

    @rule(which=st.sampled_from([0, 1]), changes=st.none() | st.dictionaries(KEYS, VALUES))
    def begin_a_write(self, which: int, changes: Changes | None) -> None:
        """Several may be under way; what they change is there at once, as far as a reader can tell."""
        store = self.stores[which]
        change = store.changing(changes)
        change.__enter__()
        self.under_way.append(change)
        store.engine.write({b"a": b"bulk", b"b": None} if changes is None else changes)

    @rule(failed=st.booleans())
    def end_a_write(self, failed: bool) -> None:
        if self.under_way:
            error = FaultError() if failed else None
            self.under_way.pop(0).__exit__(type(error) if error else None, error, None)

    @rule(which=st.sampled_from([0, 1]), key=KEYS)
    def fail_to_write(self, which: int, key: bytes) -> None:
        store = self.stores[which]

        def fail() -> None:
            raise FaultError

        before = dict(store.engine.content)
        store.engine.after_writing = fail
        with pytest.raises(FaultError):
            store.write({key: b"never"})
        store.engine.after_writing = lambda: None
        store.engine.content = before

    @rule(which=st.sampled_from([0, 1]))
    def close_and_open_another(self, which: int) -> None:
        old = self.stores[which]
        old._forget()
        self.stores[which] = self.kind(self.cache)
        old.get(b"a")
        old.get_many([b"a", b"b"])

    @invariant()
    def within_bounds(self) -> None:
        if hasattr(self, "cache"):
            assert 0 <= self.cache.used <= self.cache.limit
            assert self.cache.count <= 12


MACHINE = settings(deadline=None, max_examples=150, stateful_step_count=40)
Coherence.TestCase.settings = settings(
    MACHINE, max_examples=150 if os.environ.get("STATESTORE_SOAK") == "1" else 50
)
TestCoherence = pytest.mark.slow(Coherence.TestCase)


@pytest.mark.parametrize("kind", BROKEN)
def test_the_machine_finds_what_is_broken(kind: type[Store]) -> None:
    class Broken(Coherence):
        pass

    Broken.kind = kind
    case = Broken.TestCase
    case.settings = settings(
        MACHINE,
        database=None,
        print_blob=False,
        phases=[Phase.generate],  # found is enough: no smaller example
        report_multiple_bugs=False,
    )
    with pytest.raises(AssertionError):
        case().runTest()


# The same with threads


@pytest.fixture
def hurried() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


class Hammer:
    """Threads that read while others write growing numbers; ``faults`` tells what must not be."""

    def __init__(self, kind: type[Store], writes: int, patience: float) -> None:
        self.keys = [b"k%d" % number for number in range(8)]
        self.faults: list[str] = []
        self.writes = writes
        self.over = threading.Event()
        self.deadline = time.monotonic() + patience
        self.store = kind(_native.RecordCache(2_000))
        self.store.write(dict.fromkeys(self.keys, b"0"))
        self.store.engine.before_writing = lambda: time.sleep(0)  # another thread's turn
        self.store.engine.after_writing = lambda: time.sleep(0)
        self.store.engine.give_way = True

    def run(self) -> str | None:
        keys = self.keys
        readers = [threading.Thread(target=self.read) for _ in range(3)]
        writers = [
            threading.Thread(target=self.write, args=(mine,)) for mine in (keys[:2], keys[2:4], keys[4:])
        ]
        for thread in readers + writers:
            thread.start()
        for thread in writers:
            thread.join()
        self.over.set()
        for thread in readers:
            thread.join()
        content = self.store.engine.content
        self.faults += [
            f"{key!r} is old for ever" for key in keys if self.store.get(key) != content[b"\x01" + key]
        ]
        return self.faults[0] if self.faults else None

    def write(self, mine: list[bytes]) -> None:
        for number in range(1, self.writes + 1):
            value = b"%d" % number
            self.store.write(dict.fromkeys(mine, value))
            for key in mine:
                if self.store.get(key) != value:
                    self.faults.append(f"{key!r}: the thread that wrote {number} did not read it")
            if self.over.is_set() or time.monotonic() > self.deadline:
                break

    def read(self) -> None:
        last = dict.fromkeys(self.keys, 0)
        while not self.over.is_set():
            for key in self.keys:
                number = int(self.store.get(key) or -1)
                if number < last[key]:
                    self.faults.append(f"{key!r}: {number} was read after {last[key]}")
                last[key] = number
            together = self.store.get_many(self.keys[4:])
            if len(set(together)) != 1:
                self.faults.append(f"of two instants: {together}")
            if self.faults:
                self.over.set()


@pytest.mark.slow
@pytest.mark.usefixtures("hurried")
def test_threads_never_see_an_older_value_again() -> None:
    assert Hammer(Store, writes=1000, patience=10).run() is None


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("kind", BROKEN)
def test_threads_find_what_is_broken(kind: type[Store]) -> None:
    assert Hammer(kind, writes=1_000_000, patience=60).run() is not None


# The bound


@pytest.mark.parametrize("limit", [0, 100, 1000, 5000, 50_000, 1_000_000])
def test_the_bound_holds_for_every_size(limit: int) -> None:
    cache = _native.RecordCache(limit)
    store = Store(cache)
    store.engine.content = {b"\x01%d" % number: bytes(number * 7 % 900) for number in range(3000)}
    for number in range(3000):
        store.get(b"%d" % number)
        assert cache.used <= limit
    assert (cache.count > 0) is (limit >= 1000)
    if limit >= 50_000:
        assert cache.used > limit * 2 // 3, "most of what is allowed is used"
    assert store.get_many([b"%d" % number for number in range(3000)]) == list(store.engine.content.values())


def test_what_is_read_again_stays() -> None:
    cache = _native.RecordCache(20_000)
    store = Store(cache)
    store.engine.content = {b"\x01%d" % number: b"x" * 50 for number in range(2000)}
    hot = [b"%d" % number for number in range(10)]
    for number in range(10, 2000):
        store.get(b"%d" % number)
        if number % 10 == 0:
            store.get_many(hot)
    store.engine.content.clear()
    assert [store.get(key) for key in hot] == [b"x" * 50] * 10


def test_a_record_that_would_push_all_others_out_is_not_kept() -> None:
    cache = _native.RecordCache(80_000)
    store = Store(cache)
    store.engine.content = {b"\x01large": bytes(20_000), b"\x01small": b""}
    assert (store.get(b"small"), len(store.get(b"large") or b"")) == (b"", 20_000)
    assert cache.count == 1


def test_a_closed_store_gives_back_what_it_has_and_keeps_nothing_any_more() -> None:
    cache = _native.RecordCache(100_000)
    one, other = Store(cache), Store(cache)
    for store in (one, other):
        store.engine.content = {b"\x01a": b"1", b"\x01b": b"2"}
        store.get_many([b"a", b"b", b"c"])
    assert cache.count == 6
    one._forget()
    one._forget()
    assert one.get_many([b"a", b"b", b"c"]) == [b"1", b"2", None]
    assert cache.count == 3
    del other, store
    gc.collect()
    assert (cache.count, cache.used) == (0, 0)


def test_in_a_forked_child_the_cache_is_silent() -> None:
    cache = _native.RecordCache(100_000)
    store = Store(cache)
    store.engine.content = {b"\x01a": b"1"}
    assert store.get(b"a") == b"1"
    cache._forked()
    store.engine.content = {}  # the engine would raise
    assert store.get(b"a") is None
    assert store.get_many([b"a"]) == [None]


# Keys of a batch that is larger than the cache, and odd ones


def test_a_batch_larger_than_the_cache_forgets_all_of_its_store() -> None:
    cache = _native.RecordCache(100_000)
    one, other = Store(cache), Store(cache)
    for store in (one, other):
        store.write({b"a": b"1", b"b": b"1"})
        assert store.get_many([b"a", b"b"]) == [b"1", b"1"]
    one.write({b"%d" % number: b"2" for number in range(10)} | {b"a": b"2"})
    assert cache.count == 2
    assert one.get_many([b"a", b"b"]) == [b"2", b"1"]


def test_keys_that_are_no_data_are_nobody_s() -> None:
    cache = _native.RecordCache(100_000)
    store = Store(cache)
    store.engine.content = {b"\x01pos": b"1"}
    assert store.get(b"pos") == b"1"
    for _ in range(5):
        store.get(b"other")
    with store._change([(b"\x00pos", b""), (b"", b"")], []):
        pass
    assert cache.count == 2
    with pytest.raises((TypeError, ValueError)), store._change([(b"\x01pos",)], []):  # type: ignore[list-item]
        pass
    assert store.get(b"pos") == b"1"
    assert cache.count == 1, "after a failure nothing of the store is left, and reads are kept again"


def test_a_change_counts_once() -> None:
    cache = _native.RecordCache(100_000)
    store = Store(cache)
    change = store._change(None, None)
    change.__exit__(None, None, None)
    change.__enter__()
    change.__enter__()
    store.get(b"a")
    assert cache.count == 0
    change.__exit__(None, None, None)
    change.__exit__(None, None, None)
    store.get(b"a")
    assert cache.count == 1
