"""What the record cache takes of memory, and that it gives back all of it."""

from __future__ import annotations

import contextlib
import gc
import subprocess
import sys
import tracemalloc
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("resident_memory")


def store_of(native: ModuleType, limit: int, content: dict[bytes, bytes]) -> Any:
    def get_many(keys: list[bytes]) -> list[bytes | None]:
        return [content.get(key) for key in keys]

    return native.PointReads(content.get, get_many, b"\x01", 0, native.RecordCache(limit))


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="reads /proc")
def test_the_memory_is_what_the_cache_says(native: ModuleType) -> None:
    code = """
import gc, os
from statestore import _native

def own() -> int:
    with open("/proc/self/smaps_rollup") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("Anonymous:"))

def get(key):
    return bytes(20 + int(key[1:]) % 150)

limit = 24 << 20
store = _native.PointReads(get, None, b"\x01", 0, cache := _native.RecordCache(limit))
for number in range(1000):
    store.get(b"%d" % number)
before = own()
for number in range(400_000):
    store.get(b"%d" % (number * 7919 % 1_000_003))
assert cache.used > limit * 3 // 4, cache.used
print(own() - before)
store._forget()
assert cache.used == 0
"""
    run = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert (24 << 20) // 2 < int(run.stdout) < (24 << 20) * 5 // 4


def test_a_million_calls_leak_nothing(native: ModuleType) -> None:
    keys = [b"%d" % number for number in range(100)]
    store = store_of(native, 3_000, {b"\x01" + key: b"x" * 40 for key in keys[:50]})
    table = type("Table", (native.BytesReads,), {})()
    table._binding = native.Readable()
    table._binding.readable = store

    def round_of(count: int) -> None:
        for number in range(count):
            for key in keys:
                table.get(key, default=None)
            store.get_many(keys)
            for hot in keys[:3]:
                store.get(hot)
                store.get(hot, 1)
            with store._change([(b"\x01" + keys[number % 100], b"")], [b"\x011"]):
                pass
            with contextlib.suppress(TypeError):
                store.get(None)

    round_of(50)
    gc.collect()
    counts = [sys.getrefcount(keys[0]), sys.getrefcount(None), sys.getrefcount(store)]
    tracemalloc.start()
    round_of(10)
    before = tracemalloc.get_traced_memory()[0]
    round_of(50)
    traced = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    round_of(4700)
    assert abs(traced) < 5000
    after = [sys.getrefcount(keys[0]), sys.getrefcount(None), sys.getrefcount(store)]
    assert all(abs(one - other) < 200 for one, other in zip(counts, after, strict=True))


def test_references_are_given_back_whatever_happens(native: ModuleType) -> None:
    value = bytes(30)
    content: dict[bytes, bytes] = {}
    store = store_of(native, 100_000, content)
    base = sys.getrefcount(value)

    def kept() -> int:
        return sys.getrefcount(value) - base

    content[b"\x01a"] = value
    assert store.get(b"a") is value
    assert store.get(b"a") is value, "a hit is a reference, not a copy"
    content.clear()
    assert kept() == 1
    with store._change([], [b"\x01a"]):
        assert kept() == 0
    content[b"\x01a"] = value
    assert store.get_many([b"a", b"b"]) == [value, None]
    content.clear()
    assert kept() == 1
    with contextlib.suppress(ZeroDivisionError), store._change([], []):
        raise ZeroDivisionError
    assert kept() == 0
    content[b"\x01a"] = value
    store.get(b"a")
    content.clear()
    del store
    gc.collect()
    assert kept() == 0
