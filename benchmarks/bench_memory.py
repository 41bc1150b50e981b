"""The memory backend against ``dict``, and against ``SortedDict`` where order matters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import pytest
from children import Child
from conftest import Bench, Fresh, Sizes
from content import Pairs, key, pairs, some_keys
from sortedcontainers import SortedDict
from stores import fill

from statestore import KeyValueStore, StoreManager
from statestore.bench.pairs import beside
from statestore.bench.turns import Work

TIMES = 10
"""This group has so many times the keys of the others: a million by default."""
READS = 50_000
SCANS = 1_000
SCANNED = 100


@dataclass(frozen=True, slots=True)
class Content:
    """The same pairs in each."""

    pairs: Pairs
    store: KeyValueStore
    plain: dict[bytes, bytes]
    ordered: SortedDict


@pytest.fixture(scope="module")
def content(fresh: Fresh, sizes: Sizes) -> Iterator[Content]:
    made = pairs(TIMES * sizes.rows)
    with StoreManager(fresh(), backend="memory") as stores:
        yield Content(made, fill(stores.open("pairs"), made), dict(made), SortedDict(made))


def measure_get(bench: Bench, content: Content) -> None:
    wanted = some_keys(min(READS, len(content.pairs)), len(content.pairs))
    plain = content.plain.get

    def ours() -> None:
        get = content.store.get
        for one in wanted:
            get(one)

    def theirs() -> None:
        for one in wanted:
            plain(one)

    bench.speed(
        f"random get among {len(content.pairs):,} keys",
        "dict.get",
        Work.of(ours),
        Work.of(theirs),
        items=len(wanted),
        of="reads",
        wanted=0.5,
    )


@pytest.mark.parametrize("values", [True, False])
def measure_scan(bench: Bench, content: Content, values: bool) -> None:
    """Our scan gives pairs. Theirs gives keys only, unless ``values`` asks to look up the values."""
    starts = some_keys(min(SCANS, len(content.pairs) // 10), len(content.pairs))
    store, ordered = content.store, content.ordered

    def ours() -> None:
        for start in starts:
            for _ in store.scan(start=start, limit=SCANNED):
                pass

    def keys() -> None:
        for start in starts:
            for _ in islice(ordered.irange(start), SCANNED):
                pass

    def keys_and_values() -> None:
        for start in starts:
            for found in islice(ordered.irange(start), SCANNED):
                ordered[found]

    bench.speed(
        f"ordered scan of {SCANNED}" + ("" if values else ", theirs keys only"),
        "SortedDict.irange" + (" and [key]" if values else ""),
        Work.of(ours),
        Work.of(keys_and_values if values else keys),
        items=len(starts) * SCANNED,
        of="pairs",
        wanted=1.0,
    )


def measure_snapshot(bench: Bench, content: Content) -> None:
    few = key(0), key(1)
    store, plain = content.store, content.plain

    def ours() -> None:
        with store.snapshot() as snapshot:
            store.put(few[0], b"")
            assert snapshot.get(few[0]) != b""
        store.put(few[0], plain[few[0]])

    def theirs() -> None:
        copy = dict(plain)
        assert copy[few[1]] == plain[few[1]]

    bench.speed(
        "snapshot, and two writes beside it",
        "dict(), a copy",
        Work.of(ours),
        Work.of(theirs),
        items=1,
        of="snapshots",
    )


def measure_batch(bench: Bench, fresh: Fresh, content: Content) -> None:
    some = content.pairs[: len(content.pairs) // TIMES]

    def ours(stores: StoreManager) -> None:
        fill(stores.open("written"), some)

    bench.speed(
        "batches of 10,000 into an empty store",
        "dict.update",
        Work(ours, lambda: StoreManager(fresh(), backend="memory"), lambda stores: stores.close()),
        Work(lambda plain: plain.update(some), dict),
        items=len(some),
        of="pairs",
    )


def measure_memory(bench: Bench, fresh: Fresh) -> None:
    keys = TIMES * bench.sizes.rows

    def growth(into: str) -> float:
        grown: int = Child("fill", keys=keys, into=into, directory=str(fresh())).run()["growth"]
        return grown / 2**20

    growths = [(growth("store"), growth("dict")) for _ in range(min(2, bench.sizes.pairs))]
    bench.add(
        beside(f"memory of {keys:,} keys", "dict", growths, unit="MiB", kind="ratio", wanted=1.5),
        sizes=f"{keys:,} keys, {len(growths)} pairs",
    )
