"""A process that changes a store with indexes until it is killed: ``index_process.py DIRECTORY BACKEND``.

Prints the number of each batch that it has written. The rows after batch ``n`` are ``content(n)``.
"""

from __future__ import annotations

import random
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from statestore import F, Key, entity
from statestore.backends import StoreOptions, find_engine
from statestore.core import WriteRun
from statestore.entity import model_of
from statestore.serde.entities import EntityCodec
from statestore.serde.indexes import EntityIndexes
from statestore.storage import changelog_store, indexes
from statestore.storage.changelog_store import ChangelogStore
from statestore.storage.layout import DATA, Position

ROWS = 300
AT_ONCE = 40


@dataclass(frozen=True)
class Row:
    key: Annotated[int, Key]
    city: str | None
    amount: float


entity(Row, topic="rows", indexes=[F.city, (F.amount, F.city)])
CODEC: EntityCodec[Any] = EntityCodec(model_of(Row))


def batch(number: int) -> dict[bytes, bytes | None]:
    """Return what the batch ``number`` puts and deletes."""
    noise = random.Random(number)
    changes: dict[bytes, bytes | None] = {}
    for _ in range(AT_ONCE):
        row = Row(noise.randrange(ROWS), noise.choice([None, "a", "b", "c" * 600]), noise.random())
        key, value = CODEC.encode(row)
        changes[key] = value if noise.random() < 0.8 else None
    return changes


def content(number: int) -> dict[bytes, bytes]:
    rows: dict[bytes, bytes] = {}
    for one in range(1, number + 1):
        for key, value in batch(one).items():
            rows.pop(key, None)
            if value is not None:
                rows[key] = value
    return rows


def main(directory: str, backend: str) -> None:
    changelog_store.SMALL_COUNT = AT_ONCE - 5
    indexes.SMALL_COUNT, indexes.LOOKED_AT, indexes.WORTH_READING = 10, 7, 8
    kind = find_engine(backend)
    engine = kind(16 << 20, kind.options_type())
    opened = engine.open(Path(directory), StoreOptions(changelog=True))
    store = ChangelogStore("Row_Store", opened, 510, indexes=EntityIndexes(model_of(Row)))
    number = store.positions().get(0, Position(0)).offset
    noise = random.Random()
    while True:
        number += 1
        run = WriteRun(DATA)
        for key, value in batch(number).items():
            run.write(key, value, 1)
        store.apply(run, {0: Position(number)})
        print(number, flush=True)
        for _ in range(noise.randrange(20)):
            store.tend_indexes(noise.choice([0.0, 0.0, 60.0]))
        if noise.random() < 0.2:
            store.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
