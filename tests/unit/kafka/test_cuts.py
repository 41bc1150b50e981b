"""Where a batch may end: for certain, behind a marker, and where what is held back becomes too much."""

from __future__ import annotations

from typing import Any

import pytest

from statestore.kafka.cuts import BRIEF, LONGEST, TRANSACTIONAL, UNCERTAIN, Cuts, HeldRecords, HoldLimits

LIMITS = HoldLimits(memory=1_000_000, records=100, brief_memory=100_000)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cuts(clock: Clock) -> Cuts:
    return Cuts(LIMITS, clock)


def ask(cuts: Cuts, first: int, following: int, high: int, **more: Any) -> int:
    """Ask what is released of the records from ``first`` up to ``following``."""
    applied = more.pop("applied", first)
    told = {"position": following, "stable": -1, "gap": first, "records": 3, "memory": 3_000, **more}
    told.setdefault("all_memory", told["memory"])
    return cuts.released("t", 0, applied, first, following, high=high, **told)


def marker(cuts: Cuts) -> None:
    """Have a marker passed in the partition."""
    assert ask(cuts, 0, 3, 4, position=4) == 3


def test_the_high_watermark_is_a_place_to_cut(cuts: Cuts) -> None:
    assert ask(cuts, 0, 3, 3) == 3
    assert ask(cuts, 3, 6, 7, position=7) == 6, "a marker follows the last record"
    assert ask(cuts, 7, 9, 12, stable=12) == 9, "an end-of-partition event came after it"


def test_without_transactions_a_record_waits_for_what_the_broker_had(cuts: Cuts, clock: Clock) -> None:
    assert ask(cuts, 0, 3, 10) == 0
    assert ask(cuts, 0, 8, 30) == 0
    assert ask(cuts, 0, 14, 30) == 10, "the high watermark when the first was held back"
    clock.now += BRIEF / 2
    assert ask(cuts, 10, 14, 40) == 10
    clock.now += BRIEF
    assert ask(cuts, 10, 14, 40) == 14, "no longer than a moment"


@pytest.mark.parametrize("much", [{"records": 100}, {"memory": 100_000}, {"all_memory": 1_000_000}])
def test_without_transactions_batches_stay_small(cuts: Cuts, much: dict[str, int]) -> None:
    assert ask(cuts, 0, 100, 5000, **much) == 100


def test_a_transaction_is_held_back_until_its_marker(cuts: Cuts, clock: Clock) -> None:
    marker(cuts)
    for _ in range(20):
        clock.now += 0.1
        assert ask(cuts, 4, 9, 40) == 4
    assert ask(cuts, 4, 9, 40, position=10) == 9


def test_a_marker_before_the_first_record_tells_of_transactions(cuts: Cuts, clock: Clock) -> None:
    assert ask(cuts, 4, 20, 40, applied=3) == 4
    clock.now += 2 * BRIEF
    assert ask(cuts, 4, 20, 40) == 4


def test_behind_a_marker_is_a_place_to_cut_after_a_while(cuts: Cuts, clock: Clock) -> None:
    marker(cuts)
    assert ask(cuts, 4, 20, 40, gap=15) == 4, "another producer's transaction may overlap"
    clock.now += UNCERTAIN
    assert ask(cuts, 4, 20, 40, gap=15) == 15
    assert ask(cuts, 15, 20, 40) == 15


def test_the_stable_offset_is_a_place_to_cut_after_a_while(cuts: Cuts, clock: Clock) -> None:
    marker(cuts)
    assert ask(cuts, 4, 20, 40, stable=20) == 4
    clock.now += UNCERTAIN
    assert ask(cuts, 4, 20, 40, stable=20) == 20
    assert cuts.divided == []


def test_too_much_is_cut_behind_the_last_marker(cuts: Cuts) -> None:
    marker(cuts)
    assert ask(cuts, 4, 20, 40, gap=15, all_memory=1_000_000) == 15
    assert cuts.divided == []


@pytest.mark.parametrize("late", [False, True])
def test_a_transaction_that_is_too_large_or_slow_is_cut_and_told(
    cuts: Cuts, clock: Clock, late: bool
) -> None:
    marker(cuts)
    assert ask(cuts, 4, 20, 40) == 4
    clock.now += LONGEST if late else 0
    assert ask(cuts, 4, 20, 40, all_memory=3_000 if late else 1_000_000) == 20
    assert cuts.divided == [("t", 0, 20)]


def test_transactions_are_expected_for_a_while_only(cuts: Cuts, clock: Clock) -> None:
    marker(cuts)
    clock.now += TRANSACTIONAL
    assert ask(cuts, 4, 20, 40) == 4
    clock.now += 2 * BRIEF
    assert ask(cuts, 4, 20, 40) == 20
    assert cuts.divided == []


def test_what_is_forgotten_counts_no_more(cuts: Cuts, clock: Clock) -> None:
    marker(cuts)
    cuts.forget("t")
    ask(cuts, 4, 20, 40)
    clock.now += 2 * BRIEF
    assert ask(cuts, 4, 20, 40) == 20


class Record:
    """What is asked of a message: older releases of confluent_kafka make none for tests."""

    def __init__(self, offset: int) -> None:
        self._offset = offset

    def topic(self) -> str:
        return "t"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def error(self) -> None:
        return None

    def __len__(self) -> int:
        return 0


class Consumer:
    """Stands behind the messages that it has given, while the log has more."""

    def __init__(self) -> None:
        self.at = 0

    def position(self, places: Any) -> Any:
        for place in places:
            place.offset = self.at
        return places

    def get_watermark_offsets(self, place: Any, cached: bool) -> tuple[int, int]:
        return 0, 1000

    def give(self, *offsets: int) -> list[Any]:
        self.at = offsets[-1] + 1
        return [Record(one) for one in offsets]


def test_a_batch_up_to_the_records_to_hold_back_is_no_sign_of_transactions(cuts: Cuts, clock: Clock) -> None:
    consumer: Any = Consumer()
    held = HeldRecords(consumer, cuts)
    held.assign("t", {0: (0, -1)}, {0: 3})
    assert len(held.pass_on(consumer.give(0, 1, 2))) == 3
    assert held.pass_on(consumer.give(3, 4)) == []
    clock.now += BRIEF
    assert len(held.pass_on([])) == 2
