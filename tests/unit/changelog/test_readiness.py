"""The arithmetic of readiness: each case made an earlier system of this kind wait for ever, or lie."""

import pytest

from statestore.changelog.readiness import PartitionProgress, Progress


def progress(*positions: int) -> Progress:
    return Progress({number: PartitionProgress(position) for number, position in enumerate(positions)})


def test_nothing_is_ready_or_known_before_the_ends_were_captured() -> None:
    one = progress(0, 0)
    assert not one.complete
    assert one.lag is None
    assert one.lag_by_partition == {0: None, 1: None}


def test_no_partitions_is_not_ready() -> None:
    assert not Progress().complete
    assert Progress().lag is None


def test_an_empty_topic_is_ready_at_once() -> None:
    one = progress(0, 0)
    one.capture({0: 0, 1: 0}, now=5.0)
    assert one.complete
    assert one.lag == 0
    assert one.staleness(7.0) == 2.0


def test_a_log_whose_start_reached_its_end_is_ready_at_once() -> None:
    one = progress(995)
    one.capture({0: 995}, now=5.0)
    assert one.complete


def test_one_partition_behind_keeps_the_table_from_being_ready() -> None:
    one = progress(10, 0)
    one.capture({0: 10, 1: 3}, now=1.0)
    assert not one.complete
    assert one.lag == 3
    one.partitions[1].position = 3
    assert one.complete


def test_transaction_markers_at_the_tail_are_passed_by_the_end_of_partition_event() -> None:
    one = progress(0)
    one.capture({0: 4}, now=1.0)
    one.partitions[0].position = 3  # the last record; offset 3 is the marker
    assert not one.complete
    one.partitions[0].reached_end(4, now=2.0)
    assert one.complete


def test_records_that_arrive_meanwhile_do_not_move_the_target() -> None:
    one = progress(0)
    one.capture({0: 4}, now=1.0)
    one.confirm({0: 100}, asked_at=2.0)
    one.partitions[0].position = 4
    assert one.complete
    assert one.lag == 96


def test_an_older_answer_never_makes_the_lag_negative() -> None:
    one = progress(10)
    one.capture({0: 8}, now=1.0)
    assert one.lag == 0


def test_valid_since_is_when_the_pass_began_not_when_it_ended() -> None:
    one = progress(0)
    one.capture({0: 4}, now=100.0)
    one.partitions[0].reached_end(4, now=160.0)
    assert one.partitions[0].valid_since == 100.0
    one.partitions[0].reached_end(9, now=170.0)
    assert one.partitions[0].valid_since == 160.0


def test_a_quiet_topic_stays_confirmed_by_the_brokers_answer() -> None:
    one = progress(4)
    one.capture({0: 4}, now=100.0)
    one.confirm({0: 4}, asked_at=200.0)
    assert one.confirmed_at == 200.0
    assert one.partitions[0].valid_since == 200.0


def test_being_behind_confirms_nothing() -> None:
    one = progress(4)
    one.capture({0: 4}, now=100.0)
    one.confirm({0: 5}, asked_at=200.0)
    assert one.confirmed_at == 100.0
    assert one.staleness(201.0) == 101.0


def test_records_that_never_stop_are_confirmed_one_question_later() -> None:
    one = progress(4)
    one.capture({0: 4}, now=100.0)
    for asked_at, end, position in ((200.0, 9, 4), (205.0, 20, 10), (210.0, 33, 21)):
        one.partitions[0].position = position
        one.confirm({0: end}, asked_at)
    assert one.confirmed_at == 205.0
    assert one.partitions[0].valid_since == 205.0


def test_ends_that_are_never_reached_confirm_nothing() -> None:
    one = progress(4)
    one.capture({0: 4}, now=100.0)
    for asked_at in (200.0, 300.0, 400.0):
        one.confirm({0: 9}, asked_at)
    assert one.confirmed_at == 100.0


def test_a_gap_is_the_time_a_new_record_may_have_waited() -> None:
    one = progress(4)
    one.capture({0: 4}, now=100.0)
    partition = one.partitions[0]
    partition.reached_end(4, now=500.0)
    assert partition.gap == 0.0, "nothing came in between, so nothing waited"
    partition.reached_end(5, now=501.0)
    assert partition.gap == pytest.approx(401.0)  # since the pass before began
    partition.reached_end(5, now=999.0)
    assert partition.gap == pytest.approx(401.0), "nothing came since"
    one.capture({0: 5}, now=600.0)
    assert partition.gap == 0.0


def test_the_first_contact_counts_no_gap_of_its_own() -> None:
    one = progress(0)
    one.capture({0: 4}, now=100.0)
    one.partitions[0].reached_end(4, now=900.0)
    assert one.partitions[0].gap == 0.0


def test_the_timeline_drawn_in_the_module() -> None:
    one = progress(0)
    partition = one.partitions[0]
    t0, t1, t2, t3, t4, t5 = 10.0, 21.0, 33.0, 46.0, 60.0, 75.0
    one.capture({0: 2}, t0)
    assert (partition.complete, partition.lag, partition.valid_since) == (False, 2, 0.0)
    partition.reached_end(3, t1)
    assert (partition.complete, partition.valid_since, partition.gap) == (True, t0, 0.0)
    partition.reached_end(4, t2)
    assert (partition.valid_since, partition.gap) == (t1, t2 - t0)
    one.confirm({0: 6}, t3)
    assert (partition.lag, partition.awaited, partition.valid_since) == (2, (6, t3), t1)
    partition.position = 6
    one.confirm({0: 7}, t4)
    assert (partition.valid_since, partition.gap, partition.awaited) == (t3, t4 - t1, (7, t4))
    partition.position = 7
    one.confirm({0: 8}, t5)
    assert (partition.valid_since, partition.awaited, one.confirmed_at) == (t4, (8, t5), t4)


def test_an_end_stays_awaited_until_it_is_reached() -> None:
    """A mirror that takes longer than the time between two questions is confirmed all the same."""
    one = progress(4)
    one.capture({0: 4}, now=100.0)
    one.confirm({0: 10}, asked_at=200.0)
    one.confirm({0: 20}, asked_at=300.0)
    one.partitions[0].position = 12
    one.confirm({0: 30}, asked_at=400.0)
    assert one.confirmed_at == 200.0
