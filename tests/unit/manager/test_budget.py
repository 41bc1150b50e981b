"""The memory budget: its shares add up, and each part of a manager is given its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer
from hypothesis import given
from hypothesis import strategies as st

from statestore import StoreManager
from statestore.backends.contract import Engine
from statestore.backends.memory import MemoryEngine
from statestore.changelog import binder, lane
from statestore.kafka import source
from statestore.kafka.admin import AdminConnection
from statestore.kafka.reader import BatchLimits
from statestore.runtime.budget import LANES, MemoryShares
from statestore.settings import Defaults

BUDGETS = st.integers(16 << 20, 1 << 40)


@given(BUDGETS)
def test_the_shares_stay_within_the_budget(budget: int) -> None:
    shares = MemoryShares.of(budget)
    assert shares.total <= budget
    assert shares.total == shares.engine + shares.records + LANES * shares.queue + shares.run


@given(BUDGETS)
def test_no_share_is_forgotten_and_hardly_anything_is_left_unused(budget: int) -> None:
    assert MemoryShares.of(budget).total >= budget * 3 // 4


@given(BUDGETS, BUDGETS)
def test_a_larger_budget_makes_no_share_smaller(one: int, other: int) -> None:
    small, large = MemoryShares.of(min(one, other)), MemoryShares.of(max(one, other))
    for share in ("engine", "records", "queue", "run"):
        assert 0 < getattr(small, share) <= getattr(large, share)


def test_the_smallest_budget_has_room_for_every_queue() -> None:
    assert MemoryShares.of(16 << 20).queue >= 1 << 20, "librdkafka counts in KiB, and a batch is a mebibyte"


def test_an_engine_gets_its_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []

    def recording(self: Engine, memory_budget: int, options: Any = None) -> None:
        told.append(memory_budget)

    monkeypatch.setattr(MemoryEngine, "__init__", recording)
    with StoreManager(tmp_path, backend="memory", settings={"defaults": {"memory_budget": 64 << 20}}):
        assert told == [MemoryShares.of(64 << 20).engine]


def test_the_record_cache_gets_its_share(tmp_path: Path) -> None:
    with StoreManager(tmp_path, settings={"defaults": {"memory_budget": 64 << 20}}) as manager:
        assert manager._opener.cache.limit == MemoryShares.of(64 << 20).records


def test_a_queue_of_any_records_takes_its_share() -> None:
    share = 16 << 20
    limits = source.queue_limits(share, {})
    records = limits["queued.min.messages"] * source.RECORD_OVERHEAD
    assert records + (limits["queued.max.messages.kbytes"] << 10) <= share
    assert limits["fetch.max.bytes"] <= share // 8
    assert source.queue_limits(1 << 20, {"message.max.bytes": "5000000"})["fetch.max.bytes"] == 5_000_000


def test_librdkafka_takes_the_limits_of_every_budget() -> None:
    for budget in (16 << 20, 64 << 30, 1 << 40):
        limits = source.queue_limits(MemoryShares.of(budget).queue, {})
        Consumer({"bootstrap.servers": "127.0.0.1:1", "group.id": "a test", "log_level": 0, **limits}).close()


def test_every_lane_s_queue_gets_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    making = source.KafkaSource.reader

    def recording(self: source.KafkaSource, limits: BatchLimits, queue_bytes: int) -> Any:
        told.append(queue_bytes)
        return making(self, limits, queue_bytes)

    monkeypatch.setattr(source.KafkaSource, "reader", recording)
    defaults = Defaults(memory_budget=64 << 20)
    kafka = {"bootstrap.servers": "127.0.0.1:1"}
    shared = binder.Binder(AdminConnection(kafka), kafka, "test", defaults)
    try:
        assert isinstance(shared.restoring, lane.Lane)
        assert told == [MemoryShares.of(64 << 20).queue] * LANES
    finally:
        shared.close()
