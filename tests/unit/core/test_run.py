"""The last write of each key: by example, and the native run against its twin."""

from __future__ import annotations

import gc
import os
import random
import subprocess
import sys
import threading
import time
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

UNHURRIED = settings(deadline=None)

MEASURABLE = pytest.mark.skipif(
    sys.platform != "linux" or "asan" in os.environ.get("LD_PRELOAD", ""),
    reason="reads /proc; the address sanitizer has memory of its own",
)

Write = tuple[bytes, bytes | None, int]


def filled(core: ModuleType, writes: list[Write]) -> Any:
    run = core.WriteRun(b"\x01")
    for key, value, timestamp in writes:
        run.write(key, value, timestamp)
    return run


def fed(run: Any) -> list[tuple[bytes, bytes | None]]:
    """Return what ``feed`` calls, in its order."""
    calls: list[tuple[bytes, bytes | None]] = []
    run.feed(lambda key, value: calls.append((key, value)), lambda key: calls.append((key, None)))
    return calls


def stored(timestamp: int, payload: bytes) -> bytes:
    return timestamp.to_bytes(8, "big", signed=True) + payload


def test_the_last_write_of_a_key_counts(core: ModuleType) -> None:
    run = filled(core, [(b"a", b"1", 1), (b"b", b"2", 2), (b"a", b"3", -1), (b"", b"", 4)])
    assert run.puts() == [
        (b"\x01a", stored(-1, b"3")),
        (b"\x01b", stored(2, b"2")),
        (b"\x01", stored(4, b"")),
    ]
    assert run.deletes() == []
    assert (len(run), run.upserts, run.tombstones, run.longest_key) == (3, 4, 0, 1)


def test_the_times_in_keys(core: ModuleType) -> None:
    def time(number: int) -> bytes:
        return number.to_bytes(8, "big", signed=True)

    writes: list[Write] = [
        (b"a" + time(7) + b"tail", b"", 1),
        (time(5) + b"tail", b"x", 1),
        (b"a" + time(61) + b"tail", None, -1),
        (b"a" + time(4) + b"tail", None, -1),
        (b"a" + time(100) + b"tail", b"x", 1),
        (b"a" + time(-1) + b"tail", b"x", 1),
        (b"\0\0\0\0\0\0\0\1tai", b"x", 1),
        (b"b" + time(60) + b"tail", b"x", -1),
    ]
    run = filled(core, writes)
    assert run.times(12, 6, 61, 90) == (60, 1, 0)
    assert run.times(12, 6, 100, 90) == (61, 1, 0)
    assert run.times(12, 8, 101, 99) == (100, 2, 0)
    assert run.times(12, 8, 101, 98) == (61, 2, 1)
    assert run.times(12, 8, 101, 4) == (61, 1, 2)
    run.take(b"\1" + writes[0][0])
    fed(run)
    assert run.times(12, 8, 60, 90) == (5, 1, 0)
    assert filled(core, []).times(8, 0, 5, 0) == (-1, 0, 0)
    with pytest.raises(ValueError, match="cannot be 7 bytes"):
        run.times(7, 0, 5, 0)


def test_a_tombstone_replaces_and_is_replaced(core: ModuleType) -> None:
    run = filled(core, [(b"gone", b"x" * 50, 1), (b"back", None, 1), (b"gone", None, 1), (b"back", b"y", 2)])
    assert run.puts() == [(b"\x01back", stored(2, b"y"))]
    assert run.deletes() == [b"\x01gone"]
    assert (run.upserts, run.tombstones, run.size) == (2, 2, 5 + 5 + 9)


def test_an_empty_run_feeds_nothing(core: ModuleType) -> None:
    run = core.WriteRun(b"\x01")
    assert (len(run), run.size, fed(run)) == (0, 0, [])


def test_longer_and_shorter_values_replace_one_another(core: ModuleType) -> None:
    run = core.WriteRun(b"\x01")
    for size in (3, 0, 100, 7, 100, 101, 5_000_000, 1):
        run.write(b"k", b"v" * size, size)
        run.write(b"other", b"w" * 9, 0)
        assert run.size == (2 + 8 + size) + (6 + 8 + 9)
        assert dict(run.puts()) == {b"\x01k": stored(size, b"v" * size), b"\x01other": stored(0, b"w" * 9)}


def test_it_is_fed_in_the_order_of_unsigned_bytes(core: ModuleType) -> None:
    keys = [b"", b"\x00", b"\x00\x00", b"a", b"a\x00b", b"ab", b"\x7f", b"\x80", b"\xff", b"\xff\x00"]
    run = filled(core, [(key, key, 0) for key in random.Random(1).sample(keys, len(keys))])
    run.write(b"\x80", None, 0)
    assert fed(run) == [(b"\x01" + key, None if key == b"\x80" else stored(0, key)) for key in keys]


def test_it_can_be_fed_again_and_read_afterwards(core: ModuleType) -> None:
    run = filled(core, [(b"b", b"1", 0), (b"a", None, 0), (b"c", b"2", 0)])
    before = run.puts(), run.deletes(), run.size
    assert fed(run) == fed(run)
    assert (run.puts(), run.deletes(), run.size) == before


def test_a_run_that_was_fed_takes_no_more_writes(core: ModuleType) -> None:
    for run in (core.WriteRun(b"\x01"), filled(core, [(b"a", b"1", 0)])):
        before = fed(run)
        with pytest.raises(RuntimeError, match="takes no more writes"):
            run.write(b"b", b"2", 0)
        assert fed(run) == before


@pytest.mark.parametrize("failing", [1, 300, 1000])
def test_what_a_call_raises_ends_the_feeding(core: ModuleType, failing: int) -> None:
    run = filled(core, [(b"%04d" % number, None if number % 3 else b"v", 0) for number in range(1000)])
    calls = 0

    def refuse(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == failing:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run.feed(refuse, refuse)
    assert calls == failing
    assert len(fed(run)) == 1000


@pytest.mark.parametrize(
    ("key", "value", "timestamp", "error"),
    [
        ("text", b"", 0, TypeError),
        (None, b"", 0, TypeError),
        (bytearray(b"k"), b"", 0, TypeError),
        (b"k", "text", 0, TypeError),
        (b"k", b"", None, TypeError),
        (b"k", b"", 1 << 63, OverflowError),
    ],
)
def test_a_wrong_write_is_refused(
    core: ModuleType, key: Any, value: Any, timestamp: Any, error: type[Exception]
) -> None:
    run = filled(core, [(b"a", b"1", 0)])
    with pytest.raises(error):
        run.write(key, value, timestamp)
    assert fed(run) == [(b"\x01a", stored(0, b"1"))]


def test_other_threads_get_their_turn_while_it_feeds(native: ModuleType) -> None:
    run = filled(native, [(b"%06d" % number, b"v", 0) for number in range(300_000)])
    given: dict[bytes, bytes] = {}
    seen = set()
    ended = threading.Event()

    def look() -> None:
        while not ended.is_set():
            seen.add(len(given))
            time.sleep(0.001)

    thread = threading.Thread(target=look)
    thread.start()
    run.feed(given.__setitem__, given.pop)  # two functions in C, in which no thread gives way
    ended.set()
    thread.join()
    assert seen - {0, len(given)}


def test_memory_covers_what_it_holds(core: ModuleType) -> None:
    run = filled(core, [(b"%06d" % number, b"v" * 100, 0) for number in range(10_000)])
    assert run.size < run.memory < 3 * run.size


def resident() -> int:
    with open("/proc/self/statm") as file:  # noqa: PTH123 - not a file on disk
        return int(file.read().split()[1]) * 4096


@MEASURABLE
def test_memory_is_given_back(native: ModuleType) -> None:
    gc.collect()
    before = resident()
    run = filled(native, [(b"%06d" % number, b"v" * 1000, 0) for number in range(30_000)])
    held = resident() - before
    assert held > run.size
    assert held < run.memory + (4 << 20)
    run.feed(lambda key, value: None, lambda key: None)
    del run
    assert resident() - before < held / 4


OUT_OF_MEMORY = """
import resource
from statestore._native import WriteRun
run, written = WriteRun(b"n"), 0
reserves = [bytearray(1 << 20), bytearray(1 << 20)]  # for what Python itself takes to go on
size = int(open("/proc/self/statm").read().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (size + (24 << 20), resource.RLIM_INFINITY))
try:
    while True:
        run.write(b"%08d" % (written * 7919 % 10**8), b"v" * SIZE, written)
        written += 1
except MemoryError:
    del reserves[1]
assert len(run) == run.upserts == written > 20, (len(run), written)
while True:
    try:
        fed = []
        run.feed(lambda key, value: fed.append(key), fed.append)
        break
    except MemoryError:
        del reserves[:]
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert len(fed) == written and fed == sorted(fed)
print("fine")
"""


@MEASURABLE
@pytest.mark.parametrize("size", [1, 1000, 500_000])
def test_out_of_memory_changes_nothing(native: ModuleType, size: int) -> None:
    code = OUT_OF_MEMORY.replace("SIZE", str(size))
    run = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=600, check=False
    )
    assert (run.stdout, run.stderr) == ("fine\n", "")


PARTS = st.sampled_from([b"", b"\x00", b"\x00" * 8, b"a", b"key-0000000", b"\xff", b"\xff" * 9])
KEYS = st.builds(
    lambda parts, tail: b"".join(parts) + tail, st.lists(PARTS, max_size=4), st.binary(max_size=3)
)
VALUES = st.none() | st.binary(max_size=12) | st.builds(bytes, st.integers(0, 200))
WRITES = st.lists(st.tuples(KEYS, VALUES, st.integers(-(1 << 63), (1 << 63) - 1)), max_size=120)


def assert_alike(native: ModuleType, pure: ModuleType, writes: list[Write]) -> None:
    ours, twin = filled(native, writes), filled(pure, writes)
    assert ours.puts() == twin.puts()
    assert ours.deletes() == twin.deletes()
    assert len(ours) == len(twin)
    for name in ("size", "upserts", "tombstones", "longest_key"):
        assert getattr(ours, name) == getattr(twin, name)
    calls = fed(ours)
    assert calls == fed(twin)
    model = {b"\x01" + key: None if value is None else stored(ms, value) for key, value, ms in writes}
    assert calls == sorted(model.items())


@UNHURRIED
@given(writes=WRITES)
def test_both_hold_and_feed_the_same(native: ModuleType, pure: ModuleType, writes: list[Write]) -> None:
    assert_alike(native, pure, writes)


@pytest.mark.parametrize(
    "shape",
    [
        lambda noise, number: noise.randbytes(16),
        lambda noise, number: b"key-%012d" % (number * 7919 % 20_000),
        lambda noise, number: b"%x" % noise.getrandbits(noise.randrange(1, 64)),
        lambda noise, number: b"\x00" * (number % 3000),
        lambda noise, number: b"same" * (number % 700) + noise.randbytes(1),
        lambda noise, number: noise.choice([b"a", b"b"]) * 40 + noise.randbytes(2),
        lambda noise, number: bytes(noise.choices(b"\x00\x01", k=noise.randrange(30))),
    ],
)
def test_many_keys_of_each_shape(native: ModuleType, pure: ModuleType, shape: Any) -> None:
    noise = random.Random(1)
    values = [None, b"", b"value", b"v" * 300]
    writes = [(shape(noise, number), noise.choice(values), number) for number in range(20_000)]
    assert_alike(native, pure, writes)


@pytest.mark.parametrize("namespace", [b"", b"\x01", b"\x02\x00\x00\x00\x07"])
def test_the_namespace_is_in_front_of_each_key(core: ModuleType, namespace: bytes) -> None:
    run = core.WriteRun(namespace)
    for number in range(500):
        run.write(b"%d" % (number % 300), b"%d" % number, number)
    run.write(b"7", None, 1)
    expected = {namespace + b"%d" % (number % 300): b"%d" % number for number in range(500)}
    del expected[namespace + b"7"]
    assert {key: value[8:] for key, value in run.puts()} == expected
    assert run.deletes() == [namespace + b"7"]
    assert (run.longest_key, len(run)) == (3, 300)
    fed: list[bytes] = []
    run.feed(lambda key, value: fed.append(key), fed.append)
    assert fed == sorted([*expected, namespace + b"7"])


@pytest.mark.parametrize("sorted_first", [False, True])
def test_writes_are_taken_out(core: ModuleType, sorted_first: bool) -> None:
    writes: list[Write] = [
        (b"%03d" % number, None if number % 3 == 0 else b"v", number) for number in range(100)
    ]
    run = filled(core, [*writes, (b"", b"empty", -1), (b"001", None, 7)])
    assert run.keys(98, 200) == [b"\x01098", b"\x01099", b"\x01"]
    assert run.keys(2, 1) == run.keys(500, 600) == []
    if sorted_first:
        run.feed(lambda key, value: None, lambda key: None)
    size = run.size
    assert run.take(b"\x01050") == (50, b"v")
    assert run.take(b"\x01050") is None
    assert run.take(b"\x01003") == (3, None)
    assert run.take(b"\x01") == (-1, b"empty")
    assert run.take(b"\x01001") == (7, None)
    assert [run.take(key) for key in (b"050", b"\x01none", b"\x01zzz", b"", b"\x02")] == [None] * 5
    assert len(run) == 97
    assert size - run.size == (4 + 9) + 4 + (1 + 8 + 5) + 4
    gone = {b"\x01050", b"\x01003", b"\x01", b"\x01001"}
    assert gone.isdisjoint(key for key, _ in fed(run))
    assert len(fed(run)) == len(run.puts()) + len(run.deletes()) == len(run.records()) == 97
    assert gone.isdisjoint(run.keys(0, 1000))
    with pytest.raises(RuntimeError):
        run.write(b"a", b"b", 1)


def test_records_tell_the_time_of_tombstones(core: ModuleType) -> None:
    run = filled(
        core, [(b"a", b"1", 1), (b"b", None, 2), (b"a", None, -1), (b"c", b"x" * 99, 3), (b"b", b"", 4)]
    )
    assert run.records() == [(b"\x01a", -1, None), (b"\x01b", 4, b""), (b"\x01c", 3, b"x" * 99)]


def test_tombstones_are_marked_in_the_order_of_the_keys(core: ModuleType) -> None:
    run = filled(core, [(b"z", None, 1), (b"b", None, 2), (b"a", b"1", 3), (b"", None, -1), (b"x", None, 9)])
    run.take(b"\x01x")
    marks = run.marks(b"\xf1", b"noted at")
    assert len(marks) == 3
    assert fed(marks) == [
        (b"\xf1", stored(-1, b"noted at")),
        (b"\xf1b", stored(2, b"noted at")),
        (b"\xf1z", stored(1, b"noted at")),
    ]
    assert fed(filled(core, [(b"a", b"1", 3)]).marks(b"\xf1", b"")) == []
    assert len(fed(run)) == 4
