"""Large batches of a mirror are loaded in bulk, where the backend can; what is in the store is the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from statestore import core
from statestore.backends import StoreOptions, find_engine
from statestore.changelog.mirror import Mirror
from statestore.core import Folded, WriteRun
from statestore.errors import EncodeError
from statestore.kafka.answers import Bounds
from statestore.storage.changelog_store import SMALL_COUNT, SMALL_SIZE, ChangelogStore
from statestore.storage.layout import DATA, Position
from statestore.storage.opening import MirrorStorage

BUDGET = 16 << 20


@pytest.fixture(params=["rocksdb", "lmdb", "memory"])
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def calls() -> list[str]:
    return []


@pytest.fixture
def mirror(name: str, tmp_path: Path, calls: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """A mirror whose backend notes in ``calls`` how it is written."""
    kind = find_engine(name)
    backend = kind(BUDGET).open(tmp_path / "store", StoreOptions(changelog=True))

    def note(method: str) -> None:
        def noting(*arguments: Any) -> Any:
            calls.append(method)
            return inner(*arguments)

        inner = getattr(backend, method)
        monkeypatch.setattr(backend, method, noting)

    for method in ("write", "load", "flush"):
        note(method)
    store = ChangelogStore("T_Store", backend, kind.max_key_size)
    mirror = Mirror("T_Store", "t", MirrorStorage(lambda: None, lambda _: store, lambda: None))
    mirror.open()
    mirror.capture({0: Bounds(0, 1 << 40), 1: Bounds(7, 1 << 40)}, now=1000.0)
    yield mirror
    mirror.close()


def batch(run: WriteRun, offset: int) -> Folded:
    return Folded(run, {0: (offset, 3)}, len(run), run.upserts, 0, 0, 0, run.size, run.longest_key, -1)


def run_of(count: int, size: int = 1) -> WriteRun:
    run = WriteRun(DATA)
    for number in range(count):
        run.write(b"%08d" % number, b"v" * size, number)
    return run


@pytest.mark.parametrize(
    ("count", "size", "large"),
    [
        (SMALL_COUNT, 1, False),
        (SMALL_COUNT + 1, 1, True),
        (4, SMALL_SIZE // 4 - 17, False),
        (4, SMALL_SIZE // 4, True),
    ],
)
def test_large_batches_are_loaded(
    mirror: Mirror, calls: list[str], count: int, size: int, large: bool
) -> None:
    store = mirror.store
    assert store is not None
    loads = large and core.uses("bulk")
    run = run_of(count, size)
    mirror.write(batch(run, count))
    assert calls == ["load" if loads else "write"]
    assert mirror.unflushed == (0 if loads else run.size)
    assert sum(1 for _ in store.scan()) == count
    assert store.get_with_timestamp(b"%08d" % 3) == (3, b"v" * size)
    assert store.positions() == {0: Position(count, 3, 1_000_000), 1: Position(7, -1, 1_000_000)}


def test_loads_and_batches_follow_one_another(mirror: Mirror) -> None:
    store = mirror.store
    assert store is not None
    expected: dict[bytes, bytes] = {}
    for number, count in enumerate([20_000, 100, 15_000, 20, 12_000], 1):
        run = WriteRun(DATA)
        for key in range(count):
            value = None if (key + number) % 5 == 0 else b"%d" % number
            run.write(b"%06d" % (key * number), value, number)
            expected.pop(b"%06d" % (key * number), None)
            if value is not None:
                expected[b"%06d" % (key * number)] = value
        mirror.write(batch(run, number))
        mirror.advance(batch(run, number))
        assert store.positions()[0].offset == number
    mirror.make_durable()
    assert dict(store.scan()) == expected


def test_a_key_too_long_is_refused_before_anything_is_written(mirror: Mirror, calls: list[str]) -> None:
    assert mirror.store is not None
    run = run_of(SMALL_COUNT + 1)
    run.write(b"k" * (mirror.store.max_key_size + 1), b"", 0)
    with pytest.raises(EncodeError, match="longer than"):
        mirror.write(batch(run, 1))
    assert calls == []
