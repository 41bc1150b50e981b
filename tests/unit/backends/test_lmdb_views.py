"""Read transactions of LMDB: who counts them."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

from statestore.backends import Batch, StoreOptions
from statestore.backends.lmdb import LMDBEngine


def test_nothing_refers_weakly_to_a_transaction(tmp_path: Path) -> None:
    """Telling such references that it goes lets another thread close the environment, and free it again."""
    with LMDBEngine(1 << 20).open(tmp_path / "store", StoreOptions()) as store:
        store.write(Batch([(b"a", b"1")]))
        snapshot: Any = store.snapshot()
        assert weakref.getweakrefcount(snapshot._transaction) == 0


def test_open_views_are_counted_while_they_hold_a_transaction(tmp_path: Path) -> None:
    store: Any
    with LMDBEngine(1 << 20).open(tmp_path / "store", StoreOptions()) as store:
        store.write(Batch([(b"a", b"1"), (b"b", b"2")]))
        assert store._lifetime.holding() == 0
        snapshot, scan, part = store.snapshot(), store.scan(), store.snapshot()
        next(scan)
        assert store._lifetime.holding() == 3
        below = part.scan()
        part.close()
        assert store._lifetime.holding() == 3
        snapshot.close()
        scan.close()
        assert store._lifetime.holding() == 1
        assert len(list(below)) == 2
        assert store._lifetime.holding() == 0
