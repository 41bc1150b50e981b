"""When is a mirror ready? The arithmetic alone: no threads, no clock, no Kafka.

A partition is complete when the mirror's position has reached the end that was captured at the first contact
(as last stable offset), whether by an applied record, by an end-of-partition event (transaction markers and
compacted-away records at the tail have offsets but never arrive), or because the log starts there. Unknown is
``None``, never 0.

The times of one partition. ``x`` is a record that arrives in the log, ``E`` an end-of-partition event that
the mirror takes, ``?`` a question for the end that the broker answers at once::

    log        x x      x            x             x    x       x     x    (arrivals, offsets 0 to 7)
               │        │            │             │    │       │     │
    time  ─────┼──t0────┼───t1───────┼───t2────────┼────┼──t3───┼──t4─┼──t5──▶
                  │         │            │                 ?       ?     ?
    mirror      captured    E            E              end 6   end 7  end 8
    position      0         3            4                 4       6     7

    t0  captured: target = end = 2, pass_began = t0. Nothing is complete yet, so valid_since stays as stored.
    t1  E at 3: complete. valid_since = t0, when this pass began: a record that arrived after t0 may be
        missing. pass_began = t1. There was no look before this one, so gap stays 0.
    t2  E at 4: a new record came, and may have waited since t0, the old valid_since: gap = t2 - t0.
        valid_since = t1, pass_began = t2.
    t3  ?: the end is 6, the position only 4: lag = 2, awaited = (6, t3), nothing is confirmed.
    t4  ?: the end is 7, the position 6 has reached what was awaited: valid_since = t3, gap covers t4 - t1,
        awaited = (7, t4). Where records never stop, no answer finds the mirror at the end; it is as current
        as the last question whose answer it has reached.
    t5  ?: the end is 8, the position 7: valid_since = t4, awaited = (8, t5).

``confirmed_at`` of the table is the smallest ``valid_since`` of its partitions at an answer that has come
since all of them were complete: after t5 it is t4, and staleness counts from there.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from statestore.settings import TableOptions


class State(enum.StrEnum):
    """What a table does. Each change is an event with its cause and time."""

    CREATED = "CREATED"
    """The table is bound and not started yet."""
    RESTORING = "RESTORING"
    """The table applies records until it reaches the ends captured at the first contact; it is not ready."""
    READY = "READY"
    """The table has reached the captured ends and follows the topic; reads are answered."""
    LAGGING = "LAGGING"
    """The table was ready, but exceeds ``max_lag`` or ``max_staleness``; not ready until it catches up."""
    PAUSED = "PAUSED"
    """Nothing is applied since ``pause()``; a table that was ready answers reads within its limits."""
    REBALANCING = "REBALANCING"
    """Partitions move between the members of a consumer group; no table of this version enters the state."""
    STOPPED = "STOPPED"
    """Nothing is applied since ``stop()`` or ``close()``; ``restart()`` starts a stopped table again."""
    FAILED = "FAILED"
    """The table met a failure that passes only by ``restart()`` or another ``bind``; every read raises it."""


WORST_FIRST = (
    State.FAILED,
    State.STOPPED,
    State.CREATED,
    State.RESTORING,
    State.REBALANCING,
    State.LAGGING,
    State.PAUSED,
    State.READY,
)


def worst(states: Iterable[State]) -> State:
    """Return the state of several tables together; ``CREATED`` of none."""
    return min(states, key=WORST_FIRST.index, default=State.CREATED)


class Reason(enum.StrEnum):
    """Why a table is in its state, in one word."""

    NONE = ""
    """Nothing is in the way."""
    OPENING = "opening"
    """The store is being opened, or replaced by an empty one for a rebuild."""
    CONNECTING = "connecting"
    """The broker has not yet told where the partitions begin and end."""
    REPLAYING = "replaying"
    """The records up to the captured ends are being applied."""
    LAGGING = "lagging"
    """``max_lag`` or ``max_staleness`` is exceeded."""
    STALLED = "stalled"
    """The broker does not answer; it is tried again for ever."""
    PAUSED = "paused"
    """``pause()`` was called."""
    FAILED = "failed"
    """A failure other than missing files; the cause says which."""
    MISSING = "missing"
    """The store's files should exist and do not."""


@dataclass(slots=True)
class PartitionProgress:
    """One partition: where the mirror is and where the log ends. Times are seconds since the epoch."""

    position: int
    """The next offset to apply."""
    leader_epoch: int = -1
    """The leader epoch of the last record that was read, -1 unknown."""
    record_end: int | None = None
    """The offset after that record, where markers or removed records lie between it and ``position``."""
    target: int | None = None
    """The end captured at the first contact."""
    end: int | None = None
    """The newest end known."""
    pass_began: float = 0.0
    """When the pass now under way began."""
    valid_since: float = 0.0
    """When the pass that last reached the end began; before there was one, when the first pass began."""
    seen_to: int | None = None
    """The end that was last reached; ``None``: none since the first contact."""
    gap: float = 0.0
    """Longest time that a new record may have waited for us since the first contact was caught up with."""
    awaited: tuple[int, float] | None = None
    """An end we had not reached when the broker told it, and when it was asked."""

    @property
    def complete(self) -> bool:
        return self.target is not None and self.position >= self.target

    @property
    def lag(self) -> int | None:
        return None if self.end is None else max(0, self.end - self.position)

    @property
    def anchor(self) -> tuple[int, int]:
        """Where the log is read from, and the leader epoch that its records have up to there.

        A log that was cut off and written anew has other epochs there. Of what lies between a last record
        and ``position`` the epoch is not known, so it is read again: there is no record, or it is a new one.
        """
        return self.position if self.record_end is None else self.record_end, self.leader_epoch

    def start_from(self, start: int) -> None:
        """Take the offset of the first record in the log: there is nothing before it to be read again."""
        if self.record_end is not None and self.record_end < start:
            self.record_end, self.leader_epoch = None, -1

    def applied(self, offset: int, leader_epoch: int) -> None:
        """Take a position after a record."""
        self.position, self.leader_epoch, self.record_end = offset, leader_epoch, None

    def captured(self, target: int, now: float) -> None:
        """Take the end at the first contact, asked for at ``now``: from here on it must be reached."""
        self.target = self.end = target
        self.pass_began = now
        self.seen_to, self.gap, self.awaited = None, 0.0, None
        if self.complete:
            self._valid(now, now)

    def reached_end(self, offset: int, now: float) -> None:
        """Take an end-of-partition event at ``offset``."""
        if offset > self.position:
            self.record_end = self.anchor[0] if self.leader_epoch >= 0 else None
            self.position = offset
        self.end = max(self.end or 0, self.position)
        self._valid(self.pass_began, now)
        self.pass_began = now
        self.awaited = None

    def confirmed(self, end: int, asked_at: float) -> None:
        """Take the broker's answer to a question asked at ``asked_at``.

        Where records never stop, no answer finds us at the end: then we are as current as the last question
        whose answer we have reached since.
        """
        self.end = max(end, self.position)
        if self.position >= end:
            reached = asked_at
        elif self.awaited is not None and self.position >= self.awaited[0]:
            reached = self.awaited[1]
        else:
            self.awaited = self.awaited or (end, asked_at)
            return
        self._valid(reached, asked_at)
        self.awaited = None if self.position >= end else (end, asked_at)

    def _valid(self, since: float, now: float) -> None:
        if self.seen_to is not None and self.position > self.seen_to:
            self.gap = max(self.gap, now - self.valid_since)
        self.seen_to = self.position
        self.valid_since = max(self.valid_since, since)


@dataclass(slots=True)
class Progress:
    """All partitions of one table."""

    partitions: dict[int, PartitionProgress] = field(default_factory=dict)
    confirmed_at: float | None = None
    """The last moment whose end, in all partitions, the broker told and the mirror has reached."""
    prepared: bool = True
    """Whether the store has all that reads need besides rows: secondary indexes are built from them."""
    told_at: float | None = None
    """When the ends that are known now were asked for; ``None``: not since the start, or the pause, began."""

    def capture(self, targets: Mapping[int, int], now: float) -> None:
        """Fix the ends that must be reached to be ready."""
        for partition, target in targets.items():
            self.partitions[partition].captured(target, now)
        self.told_at = now
        if self.complete:
            self.confirmed_at = now

    def confirm(self, ends: Mapping[int, int], asked_at: float) -> None:
        """Take later ends of all partitions."""
        for partition, end in ends.items():
            self.partitions[partition].confirmed(end, asked_at)
        self.told_at = asked_at
        if self.complete:
            oldest = min(one.valid_since for one in self.partitions.values())
            self.confirmed_at = max(self.confirmed_at or 0.0, oldest)

    def hear_while_paused(self, ends: Mapping[int, int], asked_at: float) -> None:
        """Take later ends of all partitions while nothing is applied: they say how far the mirror is behind.

        They confirm nothing: a paused mirror grows stale. An end below the position is of another topic.
        """
        for partition, end in ends.items():
            one = self.partitions[partition]
            one.end = end if end >= one.position else None
        self.told_at = asked_at

    @property
    def complete(self) -> bool:
        """Whether every partition has reached its captured end; False while none was captured."""
        return bool(self.partitions) and all(one.complete for one in self.partitions.values())

    @property
    def ready(self) -> bool:
        """Whether the table may be read."""
        return self.complete and self.prepared

    @property
    def lag_by_partition(self) -> dict[int, int | None]:
        return {number: one.lag for number, one in sorted(self.partitions.items())}

    @property
    def lag(self) -> int | None:
        """Offsets still to apply, over all partitions; ``None`` while that of one is not known."""
        lags = [one.lag for one in self.partitions.values()]
        known = [lag for lag in lags if lag is not None]
        return sum(known) if lags and len(known) == len(lags) else None

    def staleness(self, now: float) -> float | None:
        """Seconds since the broker last confirmed the end; ``None``: it never did."""
        return None if self.confirmed_at is None else max(0.0, now - self.confirmed_at)


def excess(options: TableOptions, lag: int | None, staleness: float | None) -> str:
    """Say which limit is exceeded; empty: none."""
    if options.max_lag is not None and lag is not None and lag > options.max_lag:
        return f"{lag} records behind, more than max_lag={options.max_lag}"
    limit = options.max_staleness
    if limit is not None and (staleness is None or staleness > limit):
        return f"the broker has not confirmed the end for more than max_staleness={limit:g} s"
    return ""
