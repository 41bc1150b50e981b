"""What is told of transactions while one of them ends, and what their producer waits for."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError as Code
from confluent_kafka import KafkaException

from statestore import StoreManager, TransactionHealth
from statestore.testing.interrupts import interrupted


def test_no_count_is_negative_at_any_instant(tmp_path: Path) -> None:
    seen: list[TransactionHealth] = []
    with StoreManager(tmp_path, kafka="127.0.0.1:1") as manager:

        def one() -> None:
            with manager.transaction():
                pass

        for instant in itertools.count():
            if not interrupted(one, lambda: seen.append(manager.health().transactions), instant):
                break
        assert {health.aborted for health in seen} == {0}
        assert manager.health().transactions.committed == instant + 1


class StartingClient:
    """Stands in for a producer whose coordinator takes three tries to start, as after a broker's start."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.tries = 0

    def init_transactions(self, _: float) -> None:
        self.tries += 1
        if self.tries < 3:
            raise KafkaException(Code(Code.COORDINATOR_LOAD_IN_PROGRESS))

    def poll(self, _: float) -> None: ...


def test_a_coordinator_that_is_starting_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with StoreManager(tmp_path, kafka="127.0.0.1:1") as manager:
        monkeypatch.setattr(manager._writer, "make_client", StartingClient)
        handle: Any = manager._transactions._make_handle()
        assert handle.tries == 3
