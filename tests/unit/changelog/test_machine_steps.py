"""What a table's state machine does at single steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from statestore.changelog.effects import (
    AskBroker,
    EnterLane,
    LaneKind,
    LeaveOwnLane,
    MarkComplete,
    ReachedEnd,
    Transition,
)
from statestore.changelog.machine import FEW_RECORDS, RESUMED, Connection, TableMachine
from statestore.changelog.readiness import PartitionProgress, Progress, Reason, State
from statestore.errors import StoreFullError
from statestore.settings import TableOptions

MAX_LAG = 5
WAITS = (1.0, 2.0)


def full() -> StoreFullError:
    return StoreFullError(Path("store"), "no space left", "free some")


@pytest.fixture
def machine() -> TableMachine:
    return TableMachine(TableOptions(max_lag=MAX_LAG), Connection(), 0.0, retry_waits=WAITS)


def ready_machine(machine: TableMachine) -> Progress:
    progress = Progress({0: PartitionProgress(7)})
    machine.start(1.0)
    machine.opened(1)
    progress.capture({0: 7}, 2.0)
    machine.captured(1, progress)
    assert machine.entered(1)
    machine.advanced(progress, 3.0)
    machine.marked_complete(1)
    assert machine.state is State.READY
    return progress


def test_the_way_to_ready(machine: TableMachine) -> None:
    machine.start(1.0)
    assert (machine.state, machine.reason) == (State.RESTORING, Reason.OPENING)
    assert machine.opened(1) == (AskBroker(1),)
    assert (machine.state, machine.reason) == (State.RESTORING, Reason.CONNECTING)
    progress = Progress({0: PartitionProgress(0)})
    progress.capture({0: 7}, 2.0)
    assert machine.captured(1, progress) == (EnterLane(1, LaneKind.RESTORE),)
    assert (machine.state, machine.reason) == (State.RESTORING, Reason.REPLAYING)
    assert machine.entered(1)
    assert list(machine.advanced(progress, 3.0)) == []
    progress.partitions[0].position = 7
    reached, change, mark = machine.advanced(progress, 4.0)
    assert reached == ReachedEnd(3.0)
    assert change == Transition(State.READY, "reached the end", 4.0, was_ready=False, ready=True)
    assert mark == MarkComplete(1)
    assert machine.time_to_ready == 3.0
    assert progress.confirmed_at == 4.0
    assert machine.marked_complete(1) == (LeaveOwnLane(LaneKind.RESTORE), EnterLane(1, LaneKind.FOLLOW))
    assert machine.marked_complete(1) == ()


def test_tries_of_a_write_start_anew_after_a_success(machine: TableMachine) -> None:
    ready_machine(machine)
    for _ in range(3):
        for delay in WAITS:
            again = EnterLane(1, LaneKind.FOLLOW, delay)
            assert machine.write_failed(full(), final=False, now=5.0) == (
                LeaveOwnLane(LaneKind.FOLLOW),
                again,
            )
            assert machine.entered(1)
        machine.applied()
    for _ in WAITS:
        machine.write_failed(full(), final=False, now=6.0)
    machine.write_failed(full(), final=False, now=7.0)
    assert machine.state is State.FAILED


def test_the_first_contact_is_tried_for_ever_only_while_the_broker_is_away(machine: TableMachine) -> None:
    machine.start(1.0)
    machine.opened(1)
    for _ in range(100):
        machine.contact_failed(1, full(), final=False, away=True, now=2.0)
    assert machine.runs(1)
    for _ in WAITS:
        machine.contact_failed(1, full(), final=False, away=False, now=2.0)
    assert machine.runs(1)
    machine.contact_failed(1, full(), final=False, away=False, now=2.0)
    assert machine.state is State.FAILED


def test_a_mark_of_an_earlier_start_does_not_count_for_the_present_one(machine: TableMachine) -> None:
    """Else the table would stay in the restoring lane, and its directory would not be missed when gone."""
    progress = ready_machine(machine)
    machine.pause(4.0)
    machine.resume(5.0)
    assert machine.marked_complete(1) == ()
    machine.captured(2, progress)
    assert machine.entered(2)
    reached, change, mark = machine.advanced(progress, 6.0)
    assert reached == ReachedEnd(1.0), "a resume counts its own time"
    assert change == Transition(State.READY, "reached the end", 6.0, was_ready=False, ready=True)
    assert mark == MarkComplete(2)


def test_a_paused_table_that_grows_stale_says_that_it_is_not_ready_any_more(machine: TableMachine) -> None:
    progress = ready_machine(machine)
    machine.pause(4.0)
    assert machine.ready
    progress.hear_while_paused({0: 7 + MAX_LAG + 1}, 5.0)
    [change] = machine.evaluated(progress, 6.0)
    assert isinstance(change, Transition)
    assert (change.state, change.was_ready, change.ready) == (State.PAUSED, True, False)
    assert machine.evaluated(progress, 7.0) == ()


@pytest.mark.parametrize(
    ("behind", "lane"),
    [(0, LaneKind.FOLLOW), (FEW_RECORDS, LaneKind.FOLLOW), (FEW_RECORDS + 1, LaneKind.RESTORE)],
)
def test_a_resumed_table_is_ready_when_it_has_reached_the_new_end(
    machine: TableMachine, behind: int, lane: LaneKind
) -> None:
    progress = ready_machine(machine)
    machine.pause(4.0)
    change, ask = machine.resume(5.0)
    assert change == Transition(State.RESTORING, RESUMED, 5.0, was_ready=True, ready=False)
    assert ask == AskBroker(2)
    assert not machine.hears_ends, "the ends it knows are old"
    progress.capture({0: 7 + behind}, 6.0)
    assert machine.captured(2, progress) == (EnterLane(2, lane),)
    assert machine.entered(2)
    assert machine.ready is False
    progress.partitions[0].position = 7 + behind
    machine.advanced(progress, 7.0)
    assert machine.state is State.READY
