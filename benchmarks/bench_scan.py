"""Full scans of bytes, against iteration by the backends' bindings that reports errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from conftest import Bench
from stores import Filled

from statestore.bench.turns import Work

WANTED = {"rocksdb": 0.9, "lmdb": 0.8}


def measure_table(bench: Bench, stores: Filled) -> None:
    _row(bench, stores, "table", stores.table.scan)


def measure_store_without_kafka(bench: Bench, stores: Filled) -> None:
    _row(bench, stores, "store without Kafka", stores.store.scan)


def _row(bench: Bench, stores: Filled, work: str, scan: Callable[[], Iterable[object]]) -> None:
    def drain() -> None:
        for _ in scan():
            pass

    bench.speed(
        f"{stores.backend}, {work}",
        stores.theirs.names["scan"],
        Work.of(drain),
        Work.of(stores.theirs.read_all),
        items=len(stores.pairs),
        of="pairs",
        wanted=WANTED[stores.backend],
    )
