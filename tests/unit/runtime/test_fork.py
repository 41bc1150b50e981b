"""Locks that a thread held when the process forked, and transactions that were open then."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest

from statestore import Key, StoreManager, entity
from statestore.runtime import fork
from statestore.testing.forking import outcomes_in_child


@entity(topic="payments")
@dataclass(frozen=True, slots=True)
class Payment:
    number: Annotated[int, Key]


@pytest.mark.parametrize("make", [fork.lock, fork.rlock])
def test_a_lock_that_another_thread_holds_is_free_in_a_child(
    make: Callable[[], AbstractContextManager[object]],
) -> None:
    lock = make()
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            done.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()

    def take() -> None:
        with lock:
            pass

    try:
        assert outcomes_in_child({"first": take, "again": take}) == {"first": "returned", "again": "returned"}
    finally:
        done.set()
        holder.join()
    take()


@pytest.mark.slow
def test_a_child_neither_commits_nor_begins_a_transaction(tmp_path: Path) -> None:
    """Its producer would have the parent's name, and keep the parent from committing."""
    with StoreManager(tmp_path, kafka="127.0.0.1:1") as manager:
        transaction = manager.transaction()
        transaction.__enter__().add(Payment(1))
        assert outcomes_in_child(
            {
                "commit": lambda: transaction.__exit__(None, None, None),
                "begin": lambda: manager.transaction().__enter__(),
            }
        ) == {"commit": "ForkedProcessError", "begin": "ForkedProcessError"}
        with pytest.raises(KeyError, match="not now"):
            raise_in(transaction, KeyError("not now"))


def raise_in(transaction: AbstractContextManager[object], error: Exception) -> None:
    """End a transaction that was begun with an error, so that nothing is sent."""
    if not transaction.__exit__(type(error), error, None):
        raise error
