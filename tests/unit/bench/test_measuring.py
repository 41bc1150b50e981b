"""How operations are timed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from statestore.bench.content import Content
from statestore.bench.histogram import Latencies, check_extra
from statestore.bench.measuring import closed_loop, fixed_rate, is_paced, measure, overhead, spread
from statestore.bench.operations import RecordGround
from statestore.bench.references import REFERENCES
from statestore.bench.workload import Operation, Site, Workload
from statestore.bench.workloads import WORKLOADS
from statestore.errors import ConfigError


@pytest.fixture
def ground(tmp_path: Path) -> RecordGround:
    return RecordGround(Site(REFERENCES["dict"], tmp_path, False, Content(16, "10", 1), 200))


def repeating(call: Callable[[], Any]) -> Callable[[RecordGround, Random], Iterator[Operation]]:
    def operations(_: RecordGround, __: Random) -> Iterator[Operation]:
        while True:
            yield call, ()

    return operations


class Stalling:
    """Takes 60 ms at one call, and nothing at all others."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self) -> None:
        self.left -= 1
        if self.left == 0:
            time.sleep(0.06)


def test_at_a_fixed_rate_a_stall_delays_all_that_was_due_meanwhile(ground: RecordGround) -> None:
    """The 60 operations of the stall are late by 60 to 0 ms: those of 200 that are late by 30 ms are 15 %."""
    measured = fixed_rate(ground, Workload("stall", "", repeating(Stalling(50))), 1, 0.2, 1, rate=1_000)
    assert measured.operations == 200
    assert measured.paced
    assert measured.latencies.percentiles(100)[0] >= 59_000
    assert measured.latencies.percentiles(88)[0] >= 25_000


def test_in_a_closed_loop_a_stall_is_one_operation(ground: RecordGround) -> None:
    measured = closed_loop(ground, Workload("stall", "", repeating(Stalling(50))), 1, 0.2, 1)
    assert measured.latencies.percentiles(100)[0] >= 59_000
    assert measured.operations == measured.latencies.count > 200
    assert measured.latencies.percentiles(99)[0] < 59_000


def test_a_rate_that_is_too_high_is_given_up_and_told(ground: RecordGround) -> None:
    slow = Workload("slow", "", repeating(lambda: time.sleep(0.01)))
    measured = fixed_rate(ground, slow, 1, 0.05, 1, rate=1_000)
    assert measured.late
    assert measured.operations < 50


def test_what_is_done_once_is_done_whole_and_its_operations_are_in_the_series(ground: RecordGround) -> None:
    ground.loaded = ground.records = 40_500
    measured = measure(ground, WORKLOADS["load-random"], 1, 0.01, 1, rate=None)
    assert measured.operations == sum(measured.series) == measured.latencies.count == 41
    assert ground.candidate.scan(None, None) == 40_500
    assert measured.seconds > 0
    assert measured.cpu_seconds > 0


def test_slow_operations_count_in_all_the_intervals_that_they_took() -> None:
    series: list[int] = []
    spread(series, 0.0, 0.25, 10, 0.1)
    assert series == [4, 4, 2]
    spread(series, 0.25, 0.26, 3, 0.1)
    assert series == [4, 4, 5]
    spread(series, 0.26, 0.86, 6, 0.1)  # one of them stalled
    assert series == [4, 4, 5, 1, 1, 1, 1, 1, 1]
    assert sum(series) == 19


def test_threads_work_at_once(ground: RecordGround) -> None:
    """Each call waits for that of the other thread: alone it would wait for ever."""
    together = threading.Barrier(2)
    meet = Workload("meet", "", repeating(lambda: together.wait(60)), chunk=4)
    measured = closed_loop(ground, meet, 2, 0.05, 1)
    assert measured.operations >= 2
    assert measured.operations % 2 == 0
    assert fixed_rate(ground, meet, 2, 0.05, 1, rate=200).operations == 10


def test_what_a_thread_raises_ends_all_and_comes_out(ground: RecordGround) -> None:
    names: set[str] = set()

    def fail() -> None:
        names.add(threading.current_thread().name)
        if len(names) == 2:
            raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        closed_loop(ground, Workload("fail", "", repeating(fail)), 2, 600, 1)


def test_a_rate_holds_for_point_operations_only(ground: RecordGround) -> None:
    for pair in ((ground.content.key(number), b"value") for number in range(ground.records)):
        ground.candidate.put(*pair)
    assert measure(ground, WORKLOADS["ycsb-a"], 1, 0.05, 1, rate=200).operations == 10
    assert [one.name for one in WORKLOADS.values() if one.name.startswith("ycsb") and not is_paced(one)] == []
    assert not any(is_paced(WORKLOADS[name]) for name in ("scan-full", "batch-100", "reopen", "load-random"))


def test_measuring_takes_less_than_what_is_measured() -> None:
    assert 0 < overhead() < 100_000


# Latencies


def test_latencies_keep_three_digits_and_come_back() -> None:
    latencies = Latencies()
    latencies.record([1_000] * 900 + [2_000_000] * 99 + [7_200_000_000_000])
    back = Latencies(latencies.encoded())
    assert back.count == 1_000
    assert back.percentiles(50)[0] == pytest.approx(1, rel=2e-3)
    assert back.percentiles(99)[0] == pytest.approx(2_000, rel=2e-3)
    assert back.percentiles(100)[0] == pytest.approx(
        3_600_000_000, rel=2e-3
    )  # an hour is the longest there is
    assert back.percentiles(50, 99, 100) == [back.percentiles(percent)[0] for percent in (50, 99, 100)]
    assert Latencies(latencies.encoded(), latencies.encoded()).count == 2_000
    assert latencies.mean() == pytest.approx((900 + 99 * 2_000 + 7_200_000_000) / 1_000)


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "hdrh", None)
    with pytest.raises(ConfigError, match=r"install the extra, pip install 'statestore\[bench\]'"):
        check_extra()
