"""Point reads of present and of absent keys, in memory, against the backends' own bindings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from conftest import Bench
from content import some_keys
from stores import Filled

from statestore.bench.turns import Work

READS = 20_000
MANY = 100
"""Keys of one ``get_many``."""
WANTED = {"rocksdb": 5.0, "lmdb": 4.0}


def reads(get: Callable[[bytes], Any], wanted: list[bytes]) -> Work:
    def read() -> None:
        for key in wanted:
            get(key)

    return Work.of(read)


def measure_hot_get(bench: Bench, stores: Filled) -> None:
    _row(bench, stores, "get, table", stores.table.get, _present(bench), WANTED[stores.backend])


def measure_hot_get_without_kafka(bench: Bench, stores: Filled) -> None:
    _row(bench, stores, "get, store without Kafka", stores.store.get, _present(bench), None)


def measure_absent_get(bench: Bench, stores: Filled) -> None:
    absent = [
        key + b"-" for key in _present(bench)
    ]  # between present keys, so that no range of keys excludes them
    assert stores.table.get(absent[0]) is None
    _row(bench, stores, "get of absent keys, table", stores.table.get, absent, None)


def measure_get_many(bench: Bench, stores: Filled) -> None:
    wanted = _present(bench)
    lists = [wanted[start : start + MANY] for start in range(0, len(wanted), MANY)]
    bench.speed(
        f"{stores.backend}, get_many of {MANY}",
        stores.theirs.names["get_many"],
        Work.of(lambda: [stores.store.get_many(keys) for keys in lists]),
        Work.of(lambda: [stores.theirs.get_many(keys) for keys in lists]),
        items=len(wanted),
        of="reads",
    )


def _present(bench: Bench) -> list[bytes]:
    return some_keys(min(READS, bench.sizes.rows), bench.sizes.rows)


def _row(bench: Bench, stores: Filled, work: str, get: Any, wanted: list[bytes], ratio: float | None) -> None:
    bench.speed(
        f"{stores.backend}, {work}",
        stores.theirs.names["get"],
        reads(get, wanted),
        reads(stores.theirs.get, wanted),
        items=len(wanted),
        of="reads",
        wanted=ratio,
    )
