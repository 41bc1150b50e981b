"""Any order of arrivals, reads and answers: what the arithmetic of readiness claims is true of the log."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from statestore.changelog.readiness import PartitionProgress, Progress

PARTITIONS = 2


@dataclass
class Log:
    """One partition as it truly is."""

    arrivals: list[tuple[float, bool]] = field(default_factory=list)
    """When each offset was taken, and whether there is a record at it: a transaction's marker is none."""
    captured_at: float = 0.0
    caught_up_to: int | None = None
    """The offset up to which the mirror was first known to be current since the ends were captured."""
    applied_at: dict[int, float] = field(default_factory=dict)
    """When the mirror passed each offset."""
    longest_wait: float = 0.0
    """Of a record that arrived after that, from its arrival until it was applied."""
    fetched: int | None = None
    """The end that the consumer has seen since it last told one, and has not told yet."""
    gap: float = 0.0
    """As it was at the last look."""
    counted_to: int = 0
    """Records before this offset are in ``longest_wait``, or came before it was measured."""

    @property
    def end(self) -> int:
        return len(self.arrivals)

    def next_record(self, position: int) -> int:
        """Return the offset after the first record from ``position`` on."""
        return next((at + 1 for at in range(position, self.end) if self.arrivals[at][1]), position)


class Timeline(RuleBasedStateMachine):
    """Two partitions that are written, read and asked about; ``now`` never goes back."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.logs = [Log() for _ in range(PARTITIONS)]
        self.progress = Progress()
        self.asked: tuple[float, dict[int, int]] | None = None
        """A question under way: when it was asked, and what the broker says."""
        self.before: list[tuple[float, int]] = [(0.0, 0)] * PARTITIONS
        self.confirmed_before = 0.0

    partitions = st.integers(0, PARTITIONS - 1)

    @initialize(sizes=st.lists(st.integers(0, 3), min_size=PARTITIONS, max_size=PARTITIONS))
    def begin(self, sizes: list[int]) -> None:
        for log, size in zip(self.logs, sizes, strict=True):
            log.arrivals = [(float(number), True) for number in range(size)]
        self.progress = Progress(
            {number: PartitionProgress(0, valid_since=0.0) for number in range(PARTITIONS)}
        )

    # What happens

    @rule(seconds=st.floats(0.001, 100.0))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(which=partitions, is_record=st.booleans())
    def something_is_written(self, which: int, is_record: bool) -> None:
        self.now += 0.001  # two things at one moment have no order
        self.logs[which].arrivals.append((self.now, is_record))
        self.now += 0.001

    @rule()
    def ends_are_captured(self) -> None:
        """The first contact, or that after a resume."""
        self.asked = None
        for log in self.logs:
            log.fetched = None
        self.progress.capture({number: log.end for number, log in enumerate(self.logs)}, self.now)
        for number, log in enumerate(self.logs):
            log.captured_at, log.caught_up_to, log.longest_wait = self.now, None, 0.0
            self.look(number, self.now)

    @precondition(lambda self: self.captured)
    @rule(which=partitions)
    def a_record_is_applied(self, which: int) -> None:
        log, one = self.logs[which], self.progress.partitions[which]
        position = log.next_record(one.position)
        if log.fetched is None or position <= log.fetched:  # else the end is told first
            self.advance(which, position)

    @precondition(lambda self: self.captured)
    @rule(which=partitions)
    def the_consumer_sees_an_end(self, which: int) -> None:
        log = self.logs[which]
        log.fetched = log.end if log.fetched is None else log.fetched

    @precondition(lambda self: any(log.fetched is not None for log in self.logs))
    @rule()
    def the_consumer_tells_an_end(self) -> None:
        self.tell_end(next(number for number, log in enumerate(self.logs) if log.fetched is not None))

    def tell_end(self, which: int) -> None:
        log, one = self.logs[which], self.progress.partitions[which]
        end, log.fetched = log.fetched or 0, None
        self.advance(which, max(one.position, end))  # the records before it came first
        one.reached_end(end, self.now)
        self.look(which, self.now)

    @precondition(lambda self: self.captured and self.asked is None)
    @rule()
    def ends_are_asked_for(self) -> None:
        self.asked = (self.now, {number: log.end for number, log in enumerate(self.logs)})

    @precondition(lambda self: self.asked is not None)
    @rule()
    def the_broker_answers(self) -> None:
        assert self.asked is not None
        (asked_at, ends), self.asked = self.asked, None
        self.progress.confirm(ends, asked_at)
        for number, one in self.progress.partitions.items():
            self.look(number, asked_at)
            assert one.end == max(ends[number], one.position)

    @precondition(lambda self: self.captured)
    @rule(which=partitions, seconds=st.floats(0.001, 100.0))
    def an_end_is_told_late(self, which: int, seconds: float) -> None:
        self.the_consumer_sees_an_end(which)
        self.something_is_written(which, True)
        self.now += seconds
        self.tell_end(which)

    @precondition(lambda self: self.captured)
    @rule(which=partitions, seconds=st.floats(0.001, 100.0))
    def nothing_is_written_for_a_while(self, which: int, seconds: float) -> None:
        for _ in range(3):
            self.now += seconds
            self.the_consumer_sees_an_end(which)
            self.tell_end(which)

    @precondition(lambda self: self.captured)
    @rule(which=partitions)
    def records_never_stop(self, which: int) -> None:
        """No answer finds the mirror at the end, but it reaches each end before the next answer."""
        log, one = self.logs[which], self.progress.partitions[which]
        log.fetched = None
        began = self.now
        for _ in range(3):
            before = log.end
            self.something_is_written(which, True)
            self.asked = (self.now, {number: each.end for number, each in enumerate(self.logs)})
            self.something_is_written(which, True)
            self.advance(which, max(one.position, before))
            self.the_broker_answers()
        assert one.valid_since > began, "it is as current as a question whose answer it has reached"

    def advance(self, which: int, position: int) -> None:
        log, one = self.logs[which], self.progress.partitions[which]
        log.applied_at.update(dict.fromkeys(range(one.position, position), self.now))
        one.position = position

    def look(self, which: int, now: float) -> None:
        """Take the true waiting times, after an event or an answer to a question asked at ``now``."""
        log, one = self.logs[which], self.progress.partitions[which]
        if log.counted_to == one.position and log.caught_up_to is not None:
            assert one.gap == log.gap, "nothing came since the last look, so nothing waited"
        log.gap = one.gap
        if log.caught_up_to is not None and one.seen_to == one.position:
            # What was applied after the question was asked is known to have waited until then.
            waits = [
                min(log.applied_at[offset], now) - log.arrivals[offset][0]
                for offset in range(log.counted_to, one.position)
            ]
            log.longest_wait = max([log.longest_wait, *waits])
            log.counted_to = one.position
        elif log.caught_up_to is None and one.seen_to is not None:
            log.caught_up_to = log.counted_to = one.seen_to

    # What always holds

    @property
    def captured(self) -> bool:
        return bool(self.progress.partitions) and self.progress.lag is not None

    @invariant()
    def nothing_that_had_arrived_by_valid_since_is_missing(self) -> None:
        for number, one in self.progress.partitions.items():
            missing = [at for at, is_record in self.logs[number].arrivals[one.position :] if is_record]
            assert all(at >= one.valid_since for at in missing)

    @invariant()
    def the_moment_confirmed_is_true_of_all_partitions(self) -> None:
        confirmed_at = self.progress.confirmed_at
        if confirmed_at is not None:
            assert self.confirmed_before <= confirmed_at <= self.now
            self.confirmed_before = confirmed_at
            for number, one in self.progress.partitions.items():
                arrivals = self.logs[number].arrivals[one.position :]
                assert all(at >= confirmed_at for at, is_record in arrivals if is_record)
            assert self.progress.staleness(self.now) == self.now - confirmed_at

    @invariant()
    def valid_since_and_position_never_go_back(self) -> None:
        after = [(one.valid_since, one.position) for one in self.progress.partitions.values()]
        for (since, position), (later, further) in zip(self.before, after, strict=False):
            assert since <= later <= self.now
            assert position <= further
        self.before = after or self.before

    @invariant()
    def lag_is_what_is_known_to_be_missing(self) -> None:
        for number, one in self.progress.partitions.items():
            assert (one.lag is None) == (one.end is None) == (one.target is None)
            if one.lag is not None:
                assert 0 <= one.lag <= self.logs[number].end - one.position
        lags = self.progress.lag_by_partition.values()
        assert self.progress.lag == (None if None in lags or not lags else sum(lag or 0 for lag in lags))

    @invariant()
    def complete_is_to_be_where_the_log_ended(self) -> None:
        for one in self.progress.partitions.values():
            assert one.complete == (one.target is not None and one.position >= one.target)
            assert one.target is None or one.end is None or one.end >= min(one.target, one.position)
        if self.progress.partitions:
            assert self.progress.complete == all(one.complete for one in self.progress.partitions.values())

    @invariant()
    def a_gap_is_no_shorter_than_any_record_waited(self) -> None:
        for number, one in self.progress.partitions.items():
            log = self.logs[number]
            assert one.gap >= log.longest_wait - 1e-6
            assert one.gap <= self.now - log.captured_at
            if log.caught_up_to in (None, one.position):
                assert one.gap == 0.0, "nothing came, so nothing waited"


TestTimeline = pytest.mark.slow(Timeline.TestCase)
