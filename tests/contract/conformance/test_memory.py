"""What the memory engine promises beyond the contract."""

from __future__ import annotations

import gc
import random
from pathlib import Path

import pytest

from statestore.backends import Batch, StoreOptions
from statestore.backends.memory import MemoryEngine, MemoryOptions
from statestore.errors import StoreFullError


def test_max_bytes_refuses_the_whole_batch_and_lets_the_store_shrink(tmp_path: Path) -> None:
    engine = MemoryEngine(0, MemoryOptions(max_bytes=100))
    with engine.open(tmp_path / "store", StoreOptions()) as backend:
        backend.write(Batch([(b"a", b"x" * 49), (b"b", b"x" * 49)]))
        assert backend.size() == 100
        with pytest.raises(StoreFullError, match=r"101 bytes.*max_bytes") as caught:
            backend.write(Batch([(b"a", b"x" * 50)]))
        assert caught.value.path == tmp_path / "store"
        assert backend.get(b"a") == b"x" * 49
        backend.write(Batch([(b"c", b"x" * 49)], [b"a"]))
        backend.write(Batch([], [b"b", b"c"]))
        assert (backend.size(), backend.approximate_count()) == (0, 0)


def test_a_store_nobody_closed_is_not_in_the_way(tmp_path: Path) -> None:
    engine = MemoryEngine(0)
    engine.open(tmp_path / "store", StoreOptions()).write(Batch([(b"a", b"1")]))
    gc.collect()
    with engine.open(tmp_path / "store", StoreOptions()) as backend:
        assert backend.get(b"a") is None


def test_growing_and_shrinking_through_many_blocks(tmp_path: Path) -> None:
    chance = random.Random(11)
    keys = [number.to_bytes(3, "big") for number in range(6000)]
    model: dict[bytes, bytes] = {}
    with MemoryEngine(0).open(tmp_path / "store", StoreOptions(changelog=True)) as backend:
        for share in (0.05, 0.3, 0.5, 0.7, 0.95, 1.0):  # of deletes: the store fills up, then empties
            for size in (1, 40, 3000):
                chosen = chance.sample(keys, size)
                deletes = chosen[: round(share * size)]
                puts = [(key, chance.randbytes(3)) for key in chosen[len(deletes) :]]
                backend.write(Batch(puts, deletes))
                model = {key: value for key, value in model.items() if key not in set(deletes)} | dict(puts)
                assert list(backend.scan()) == sorted(model.items())
                assert backend.get_many(keys) == [model.get(key) for key in keys]
                assert backend.approximate_count() == len(model)
                assert backend.size() == 6 * len(model)
        backend.write(Batch([], keys))
        assert list(backend.scan(reverse=True)) == []
        assert backend.size() == 0
