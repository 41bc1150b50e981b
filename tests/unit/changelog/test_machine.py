"""Any order of commands, answers and failures: what a table may become, and what it never does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from statestore.changelog.effects import (
    AskBroker,
    Effects,
    EnterLane,
    LaneKind,
    LeaveLanes,
    LeaveOwnLane,
    MarkComplete,
    OpenStore,
    ReachedEnd,
    RebuildStore,
    Transition,
)
from statestore.changelog.machine import RUNNING, Connection, TableMachine
from statestore.changelog.owners_word import OwnersWord
from statestore.changelog.readiness import PartitionProgress, Progress, Reason, State
from statestore.errors import StoreFullError, StoreMissingError, StorePositionError
from statestore.settings import TableOptions

REASONS = {
    State.CREATED: {Reason.NONE},
    State.RESTORING: {Reason.OPENING, Reason.CONNECTING, Reason.REPLAYING, Reason.STALLED},
    State.READY: {Reason.NONE, Reason.STALLED},
    State.LAGGING: {Reason.LAGGING, Reason.STALLED},
    State.PAUSED: {Reason.PAUSED},
    State.STOPPED: {Reason.NONE},
    State.FAILED: {Reason.FAILED, Reason.MISSING},
}
PATH = Path("store")
UNTOLD = (State.CREATED, State.STOPPED)
"""The states in which a table listens to no owner."""
MAX_LAG = 5
WAITS = (1.0, 2.0)


def full() -> StoreFullError:
    return StoreFullError(PATH, "no space left", "free some")


def position_lost() -> StorePositionError:
    return StorePositionError(PATH, "the topic was truncated", "rebuild")


def snapshot(machine: TableMachine) -> dict[str, Any]:
    return dict(vars(machine))


class World:
    """One table's machine with what surrounds it: a topic, a store, lanes and questions under way."""

    def __init__(self, options: TableOptions, connection: Connection, now: float) -> None:
        self.machine = TableMachine(options, connection, now, retry_waits=WAITS)
        self.open: list[AskBroker | EnterLane | OpenStore | RebuildStore | MarkComplete | int] = []
        """What was asked for and not done yet; a number is a start in which a record is held."""
        self.done: list[Any] = []
        """What was done, whose answers may come a second time."""
        self.progress = Progress()
        self.stored = 0
        self.end = 3
        self.captured_start = 0
        self.is_lost = False
        """Whether the topic no longer continues the store."""
        self.lanes: set[LaneKind] = set()
        self.told: OwnersWord | None = None
        """What the owner said last, while another process is that."""
        self.served = False
        """Whether the table was read while this process took over."""

    def new_progress(self, anew: bool) -> None:
        self.stored = 0 if anew else self.stored
        self.progress = Progress({0: PartitionProgress(self.stored)})
        self.is_lost = self.is_lost and not anew


class Interleavings(RuleBasedStateMachine):
    """Two tables of one group. Every rule is an event; ``tell`` checks what each of them may change."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.connection = Connection()
        self.worlds = [
            World(TableOptions(on_missing=on_missing, max_lag=MAX_LAG), self.connection, self.now)
            for on_missing in ("fail", "rebuild")
        ]
        for world in self.worlds:
            world.machine.group = tuple(one.machine for one in self.worlds)

    @initialize(reads_only=st.booleans())
    def another_process_applies_the_topics(self, reads_only: bool) -> None:
        for world in self.worlds:
            world.machine.reads_only = reads_only

    def tell(self, world: World, event: Callable[[], Effects], *, restarts: bool = False) -> None:
        """Give the machine one event, check its transitions, and note what is to be done."""
        machine = world.machine
        before, state, ready, start_id = snapshot(machine), machine.state, machine.ready, machine.start_id
        effects = event()
        if before["closed"]:
            assert not effects
            assert snapshot(machine) == before, "nothing changes after close"
            return
        assert start_id <= machine.start_id <= start_id + 1
        for effect in effects:
            if isinstance(effect, Transition):
                assert effect.cause, "every transition has a cause"
                assert effect.time == machine.since == self.now
                assert effect.was_ready is ready
                assert state is not State.FAILED or restarts or machine.closed, "it stays until restart()"
                if effect.state is State.READY:
                    self.check_became_ready(world, state, ready)
                state, ready = effect.state, effect.ready
            elif isinstance(effect, LeaveOwnLane):
                assert world.lanes <= {effect.lane}, "it leaves a lane it is not in"
                world.lanes.discard(effect.lane)
            elif isinstance(effect, LeaveLanes):
                world.lanes.clear()
            elif not isinstance(effect, ReachedEnd):
                assert effect.start_id == machine.start_id, "it is to be done for a start that is over"
                world.open.append(effect)
        assert (machine.state, machine.ready) == (state, ready), "it changed without a transition"

    def check_became_ready(self, world: World, state: State, was_ready: bool) -> None:
        if world.machine.reads_only:
            assert world.told is not None
            assert world.told.state is State.READY, "nobody said so"
        elif world.served:
            world.served = False
        elif state is State.RESTORING:
            assert world.captured_start == world.machine.start_id, "the ends are of another start"
            assert world.progress.complete
        elif state is State.LAGGING:
            assert (world.progress.lag or 0) <= MAX_LAG
        else:
            raise AssertionError(f"{state}, {was_ready=}: a table becomes ready by reaching an end")

    # Commands

    tables = st.integers(0, 1)

    @rule(which=tables)
    def start(self, which: int) -> None:
        world = self.worlds[which]
        self.tell(world, lambda: world.machine.start(self.now))

    @rule(which=tables)
    def restart(self, which: int) -> None:
        world = self.worlds[which]
        world.lanes.clear()
        self.tell(world, lambda: world.machine.restart(self.now), restarts=True)

    @rule(which=tables)
    def stop(self, which: int) -> None:
        world = self.worlds[which]
        self.tell(world, lambda: world.machine.stop(self.now))

    @rule(which=tables)
    def pause(self, which: int) -> None:
        world = self.worlds[which]
        if not world.machine.reads_only:
            self.tell(world, lambda: world.machine.pause(self.now))

    @rule(which=tables)
    def resume(self, which: int) -> None:
        world = self.worlds[which]
        if not world.machine.reads_only:
            self.tell(world, lambda: world.machine.resume(self.now))

    @rule(which=tables, sure=st.integers(0, 3))
    def close(self, which: int, sure: int) -> None:
        if sure == 0:  # rarely, since nothing happens after it
            world = self.worlds[which]
            self.tell(world, lambda: world.machine.close(self.now))

    # Answers, in any order, late and twice

    @rule(which=tables, number=st.integers(0, 100), well=st.booleans(), final=st.booleans())
    def answer(self, which: int, number: int, well: bool, final: bool) -> None:
        world = self.worlds[which]
        if world.open:
            effect = world.open.pop(number % len(world.open))
            world.done.append(effect)
            self.carry_out(world, effect, well, final)

    @rule(which=tables, number=st.integers(0, 100), well=st.booleans())
    def answer_of_an_older_start(self, which: int, number: int, well: bool) -> None:
        world = self.worlds[which]
        old = [one for one in world.done if start_of(one) < world.machine.start_id]
        if old:
            before = snapshot(world.machine)
            self.carry_out(world, old[number % len(old)], well, final=True)
            assert snapshot(world.machine) == before, "an answer of an older start changed something"

    def carry_out(self, world: World, effect: Any, well: bool, final: bool) -> None:
        """Do what the machine wanted done, well or not, and tell it."""
        machine, start_id = world.machine, start_of(effect)
        match effect:
            case AskBroker():
                self.answer_of_the_broker(world, effect, well, final)
            case OpenStore():
                self.store_opens(world, effect, well)
            case EnterLane() if machine.entered(start_id):
                world.lanes.add(effect.lane)
                self.tell(world, lambda: machine.advanced(world.progress, self.now))
            case RebuildStore():
                world.lanes.clear()
                self.tell(world, lambda: machine.rebuilding(start_id, self.now))
            case MarkComplete() if well:
                self.tell(world, lambda: machine.marked_complete(start_id))
            case MarkComplete() if machine.runs(start_id):
                self.tell(world, lambda: machine.write_failed(full(), final=final, now=self.now))
            case int():
                self.tell(world, lambda: machine.released(start_id))

    def answer_of_the_broker(self, world: World, asked: AskBroker, well: bool, final: bool) -> None:
        machine, start_id = world.machine, asked.start_id
        if well:
            if machine.runs(start_id):
                world.progress.capture({0: world.end}, self.now)
                world.captured_start = start_id
                assert not world.is_lost, "a store that is lost is read on"
            self.tell(world, lambda: machine.captured(start_id, world.progress))
        elif final and machine.runs(start_id):
            self.position_is_lost(world)
        else:
            self.tell(
                world,
                lambda: machine.contact_failed(start_id, full(), final=final, away=not final, now=self.now),
            )
            if machine.runs(start_id):
                world.open.append(asked)

    def store_opens(self, world: World, wanted: OpenStore, well: bool) -> None:
        machine, start_id = world.machine, wanted.start_id
        if well:
            if machine.runs(start_id):
                world.new_progress(wanted.anew)
            self.tell(world, lambda: machine.opened(start_id))
        elif machine.runs(start_id):
            error = StoreMissingError(PATH, "it was complete once", "rebuild")
            self.tell(world, lambda: machine.failed(error, self.now))

    # On a lane's thread

    @rule(which=tables, count=st.integers(1, 4))
    def apply(self, which: int, count: int) -> None:
        world = self.worlds[which]
        if world.lanes and world.machine.applying:
            one = world.progress.partitions[0]
            one.position = world.stored = min(one.position + count, max(world.end, one.position))
            world.machine.applied()
            self.tell(world, lambda: world.machine.advanced(world.progress, self.now))

    @rule(which=tables)
    def at_end(self, which: int) -> None:
        world = self.worlds[which]
        if world.lanes and world.machine.applying:
            world.progress.partitions[0].reached_end(world.end, self.now)
            world.stored = world.progress.partitions[0].position
            self.tell(world, lambda: world.machine.advanced(world.progress, self.now))

    @rule(which=tables, final=st.booleans())
    def write_fails(self, which: int, final: bool) -> None:
        world = self.worlds[which]
        if world.lanes:
            self.tell(world, lambda: world.machine.write_failed(full(), final=final, now=self.now))

    @rule(which=tables)
    def log_is_truncated(self, which: int) -> None:
        world = self.worlds[which]
        if world.lanes and world.machine.applying:
            self.position_is_lost(world)

    @rule(which=tables)
    def something_does_not_fit(self, which: int) -> None:
        world = self.worlds[which]
        self.tell(world, world.machine.doubted)
        assert not world.machine.applying, "what is read next is applied, unasked"

    def position_is_lost(self, world: World) -> None:
        machine = world.machine
        self.tell(world, lambda: machine.lost(position_lost(), self.now))
        world.is_lost = machine.state is not State.FAILED  # a restart looks again

    @rule(which=tables)
    def record_cannot_be_judged(self, which: int) -> None:
        world = self.worlds[which]
        if world.lanes and world.machine.applying:
            world.open.append(world.machine.start_id)
            self.tell(world, world.machine.held)

    # Of a table that another process applies

    @rule(
        which=tables,
        state=st.sampled_from([*RUNNING, State.PAUSED, State.FAILED]),
        yes=st.booleans(),
        new=st.booleans(),
    )
    def the_owner_tells(self, which: int, state: State, yes: bool, new: bool) -> None:
        world = self.worlds[which]
        word = OwnersWord(
            state,
            Reason.CONNECTING,
            "the owner says so",
            ready=state is State.READY or (state is State.PAUSED and yes),
            bereft=state is State.LAGGING and yes,
            failure=full() if state is State.FAILED else None,
            is_new_start=new,
        )
        machine, before = world.machine, snapshot(world.machine)
        heard = machine.reads_only and not machine.closed and machine.state not in UNTOLD
        world.told = word if heard else world.told
        self.tell(world, lambda: machine.told(word, self.now), restarts=True)
        if heard:
            assert (machine.state, machine.ready) == (word.state, word.ready)
            assert machine.serves == (word.ready or word.bereft)
        else:
            assert snapshot(machine) == before, "it is told who does not listen"

    @rule(which=tables, opened=st.booleans())
    def this_process_takes_over(self, which: int, opened: bool) -> None:
        world = self.worlds[which]
        machine = world.machine
        if not machine.reads_only or machine.closed:
            return
        if opened:
            world.new_progress(False)
        served = world.served = machine.serves and opened
        running = machine.state not in UNTOLD
        self.tell(world, lambda: machine.takes_over("taken over", self.now, opened=opened), restarts=True)
        assert not machine.reads_only
        assert machine.serves == (served and running), "reads stopped, or began"
        if running:
            assert machine.state is (State.READY if served else State.RESTORING)
            assert isinstance(world.open[-1], AskBroker if opened else OpenStore)

    # The rest of the world

    @rule(which=tables, count=st.integers(1, 9))
    def records_are_written(self, which: int, count: int) -> None:
        self.worlds[which].end += count

    @rule(which=tables)
    def ends_are_confirmed(self, which: int) -> None:
        world = self.worlds[which]
        if world.machine.reads_only:
            return
        if world.machine.running and world.captured_start == world.machine.start_id:
            world.progress.confirm({0: world.end}, self.now)
        self.tell(world, lambda: world.machine.evaluated(world.progress, self.now))

    @rule(which=tables)
    def ends_are_heard_in_a_pause(self, which: int) -> None:
        world = self.worlds[which]
        if world.progress.partitions and world.machine.is_paused(world.machine.start_id):
            world.progress.hear_while_paused({0: world.end}, self.now)
            self.tell(world, lambda: world.machine.evaluated(world.progress, self.now))
            assert not world.machine.ready or (world.progress.lag or 0) <= MAX_LAG, "a limit does not hold"

    @rule(which=tables)
    def files_vanish(self, which: int) -> None:
        world = self.worlds[which]
        error = StoreMissingError(PATH, "the files are gone", "rebuild")
        self.tell(world, lambda: world.machine.failed(error, self.now))

    @rule(stalled=st.booleans())
    def broker_goes_or_comes_back(self, stalled: bool) -> None:
        self.connection.stalled, self.connection.cause = stalled, "connection refused"

    @rule(seconds=st.floats(0.0, 100.0))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: all(one.machine.running and not one.machine.reads_only for one in self.worlds))
    @rule()
    def everything_goes_well(self) -> None:
        """From wherever they are, both tables become ready when nothing more goes wrong."""
        self.connection.stalled = False
        for world in self.worlds:
            while world.open:
                self.carry_out(world, world.open.pop(0), well=True, final=False)
            machine = world.machine
            assert machine.applying
            assert world.lanes == {machine.lane}
            one = world.progress.partitions[0]
            one.position = world.stored = max(one.position, world.end)
            self.tell(world, lambda: machine.advanced(world.progress, self.now))  # noqa: B023 - called now
            while world.open:
                self.carry_out(world, world.open.pop(0), well=True, final=False)
            assert machine.state is State.READY
            assert world.lanes == {LaneKind.FOLLOW}
            assert machine.time_to_ready is not None
        assert all(world.machine.readable for world in self.worlds)

    # What always holds

    @invariant()
    def ends_are_heard_only_while_they_are_asked_for(self) -> None:
        for world in self.worlds:
            machine = world.machine
            if machine.reads_only:
                continue
            if machine.hears_ends and machine.state is not State.PAUSED:
                assert world.captured_start == machine.start_id, "the ends are of another start"
            assert not (machine.hears_ends and machine.state in (State.STOPPED, State.FAILED, State.CREATED))

    @invariant()
    def state_and_reason_fit(self) -> None:
        for world in self.worlds:
            machine = world.machine
            assert machine.reason in REASONS[machine.state]
            assert (machine.reason is Reason.STALLED) == (self.connection.stalled and machine.running)
            assert machine.running == (machine.state in RUNNING)
            assert (machine.failure is not None) == (machine.state is State.FAILED)
            assert machine.ready <= (machine.state in (State.READY, State.PAUSED))

    @invariant()
    def readable_only_when_the_group_is_ready(self) -> None:
        for world in self.worlds:
            if world.machine.readable:
                assert all(one.machine.serves for one in self.worlds)
                assert not world.machine.closed

    @invariant()
    def a_table_that_is_not_ready_is_read_only_where_its_owner_has_ended(self) -> None:
        for machine in (world.machine for world in self.worlds):
            if machine.serves and not machine.ready:
                assert machine.reads_only
                assert machine.state is State.LAGGING

    @invariant()
    def a_table_is_in_one_lane(self) -> None:
        assert all(len(world.lanes) <= 1 for world in self.worlds)


def start_of(effect: Any) -> int:
    start_id: int = effect if isinstance(effect, int) else effect.start_id
    return start_id


TestInterleavings = pytest.mark.slow(Interleavings.TestCase)
