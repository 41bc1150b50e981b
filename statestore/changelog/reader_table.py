"""A table whose store another process writes: its owner says how it is, and the store what can be read of it.

Both must agree. The owner's words are read first, then the store; so a store that has what the owner had when
the table became ready holds at least that. Its positions never move back: rows that were seen stay seen.

A table that could be read is read on while its owner is replaced: the rows are there, only nobody adds to
them. It is read until ``max_staleness`` is exceeded, and not ready any more (``LAGGING``) when nobody has
taken over after a while.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import fields

from statestore.changelog.counts import Counts
from statestore.changelog.handling import EffectHandling
from statestore.changelog.owner_report import OwnerReport, TableReport
from statestore.changelog.owner_watch import Presence, Sight
from statestore.changelog.owners_word import OwnersWord
from statestore.changelog.readiness import PartitionProgress, Progress, Reason, State, excess
from statestore.errors import ConfigError, StateStoreError, StoreMissingError, StoreUnavailableError
from statestore.settings import TableOptions

log = logging.getLogger("statestore.changelog")

_OWN_COUNTS = {"decode_errors", "duplicate_keys", "restarts"}
"""What this process counts by itself; all else was counted where the records are applied."""
OWN_OPTIONS = {"max_lag", "max_staleness", "on_scan"}
"""Options that each process may have in its own way."""


class ReaderTable(EffectHandling):
    """See the module. All of it is called on the thread that watches the owner."""

    _lifecycle: threading.RLock
    _followed: tuple[str, int] | None = None
    """The owner, and its start of the table, whose words were taken last."""
    _served: str | None = None
    """The owner under which the table was ready; ``None``: under none yet."""
    _seen: Mapping[int, int] = {}
    """The positions of the store, when they were looked at last."""

    def hear(self, sight: Sight) -> None:
        """Take what the owner says, as far as the store confirms it."""
        self.mirror.close_replaced()
        if not self.machine.reads_only or self.state in (State.CREATED, State.STOPPED):
            return
        try:
            word = self._word(sight)
        except StoreUnavailableError as error:
            word = OwnersWord(State.FAILED, Reason.NONE, str(error), failure=error)
        except StateStoreError as error:  # closed meanwhile
            log.debug("table %r: %s", self.name, error)
            return
        self._handle(lambda: self.machine.told(word, self.clock()))
        with self.changed:
            if self.readable is not self.mirror.view:
                self.refresh_readable()
            if self._awaited:
                self._tell_applied()
            if self._await_ready:
                self._tell_ready(self._await_ready.all())

    def check_options(self, sight: Sight) -> None:
        """Raise ``ConfigError`` where the owner has bound the table in another way."""
        report = sight.table(self.name)
        if report is not None and (why := self._contradiction(sight, report)):
            raise ConfigError(why)

    def _word(self, sight: Sight) -> OwnersWord:
        report = sight.table(self.name)
        if sight.presence is not Presence.ALIVE or sight.report is None:
            return self._without_owner(sight)
        if report is None:
            if self._is_between_owners(sight.report):
                return self._served_on(f"{sight.owner}, has not bound it yet")
            text = f"{sight.owner}, has not bound {self.name!r} (topic {self.topic!r}): bind it there, too"
            return OwnersWord(State.RESTORING, Reason.CONNECTING, text)
        if why := self._contradiction(sight, report):
            failure = self.mirror.unavailable(why, "bind it in the same way in both processes")
            return OwnersWord(State.FAILED, Reason.NONE, str(failure), failure=failure)
        return self._followed_word(sight.report, report, sight)

    def _followed_word(self, owner: OwnerReport, report: TableReport, sight: Sight) -> OwnersWord:
        view = self._follow_files(report)
        with self.changed:
            self._take(report, view)
        new_start = self._followed != (owner.owner_id, report.start_id)
        state, reason, cause = report.state, report.reason, report.cause
        failure = None if report.failure is None else report.failure.failure()
        ready = report.ready
        if ready and not self._has(report.ready_from, report):
            state, reason, ready = State.RESTORING, Reason.REPLAYING, False
            cause = "the files do not show yet what the owner had when it became ready"
        if not ready and state in (State.CREATED, State.RESTORING):
            if self._is_between_owners(owner) and report.generation == self.mirror.view_generation:
                return self._served_on(f"{sight.owner}, has taken over and restores it")
            state = State.RESTORING
        if state is State.STOPPED:
            state, reason = State.RESTORING, Reason.OPENING
            cause = f"{sight.owner}, has stopped it"
        if ready:
            self._served = owner.owner_id
        self._followed = owner.owner_id, report.start_id
        if state is State.READY and (beyond := self._excess()):
            state, cause = State.LAGGING, beyond
        return OwnersWord(
            state,
            reason,
            cause,
            ready=ready,
            failure=failure,
            is_new_start=new_start,
            started_at=report.started_at,
            time_to_ready=report.time_to_ready,
        )

    def _without_owner(self, sight: Sight) -> OwnersWord:
        """There is nobody whose words count."""
        if self._served is None or not self.machine.serves:
            if self.state is State.LAGGING or self.state is State.FAILED:
                return OwnersWord(self.state, Reason.NONE, sight.cause, failure=self.machine.failure)
            return OwnersWord(State.RESTORING, Reason.CONNECTING, sight.cause)
        return self._served_on(sight.cause, is_overdue=sight.is_overdue)

    def _served_on(self, cause: str, *, is_overdue: bool = False) -> OwnersWord:
        """The rows that there are are read on, within the limits of the table."""
        if beyond := self._excess():
            return OwnersWord(State.LAGGING, Reason.NONE, f"{beyond}: {cause}")
        if is_overdue:
            return OwnersWord(State.LAGGING, Reason.NONE, cause, bereft=True)
        return OwnersWord(State.READY, Reason.NONE, cause)

    def _is_between_owners(self, owner: OwnerReport) -> bool:
        return self.machine.serves and self._served not in (None, owner.owner_id)

    def _excess(self) -> str:
        progress = self.mirror.progress
        return excess(self.options, progress.lag, progress.staleness(self.clock()))

    def _contradiction(self, sight: Sight, report: TableReport) -> str:
        """Say how the owner has bound the table in another way; empty: in the same one."""
        if report.topic != self.topic:
            return f"{self.name!r} mirrors topic {self.topic!r} here, and {report.topic!r} in {sight.owner}"
        differences = [
            f"{name}={here!r} here, {there!r} there"
            for name in (one.name for one in fields(TableOptions) if one.name not in OWN_OPTIONS)
            for here, there in [(getattr(self.options, name), getattr(report.options, name))]
            if here != there
        ]
        if not differences:
            return ""
        return f"{self.name!r} is bound in another way by {sight.owner}: {'; '.join(differences)}"

    # The store

    def _follow_files(self, report: TableReport) -> bool:
        """Open the files that the owner writes, or see what is new in them; tell whether they are open."""
        mirror = self.mirror
        mirror.retention.topic_ms = report.retention_ms
        if mirror.view is None or (report.ready and mirror.view_generation != report.generation):
            try:
                with self.changed:  # a close() meanwhile ends it
                    self.check_open()
                    mirror.open_view(mirror.retention.row_life)
            except StoreMissingError:
                if report.ready:
                    raise
                return False  # the owner is about to make them
            self._seen = {}  # of another log, perhaps
        view = mirror.view
        if view is None or mirror.view_generation != report.generation:
            return False
        mirror.end_followed_rows(mirror.retention.row_life)
        has_indexes = mirror.told.indexes == report.indexes  # they change without a record, too
        if has_indexes and self._has(report.written, report):
            return True
        mirror.catch_up()
        self._seen = {number: one.offset for number, one in view.positions().items()}
        return True

    def _has(self, positions: Mapping[int, int], report: TableReport) -> bool:
        """Whether the store has all records below ``positions``."""
        return self.mirror.view_generation == report.generation and all(
            self._seen.get(number, -1) >= offset for number, offset in positions.items()
        )

    def _take(self, report: TableReport, has_view: bool) -> None:
        """Have the mirror show what the owner says; the caller holds the lock."""
        mirror, before = self.mirror, self.mirror.progress
        progress = Progress()
        for number, offset in report.positions.items() if has_view else ():
            # Past the last record there may be markers and removed ones, which no store has.
            seen, written = self._seen.get(number, 0), report.written.get(number, 0)
            position = max(seen, offset) if seen >= written else seen
            end = report.ends.get(number)
            progress.partitions[number] = PartitionProgress(
                position, target=end, end=None if end is None else max(end, position)
            )
        progress.told_at = report.told_at
        has_all = has_view and self._has(report.written, report)
        progress.confirmed_at = report.confirmed_at if has_all else before.confirmed_at
        mirror.progress = progress
        mirror.identity, mirror.partition_count = report.identity, report.partition_count
        mirror.foreign = report.foreign
        for one in fields(Counts):
            if one.name not in _OWN_COUNTS:
                setattr(mirror.counts, one.name, getattr(report.counts, one.name))
        mirror.told.last_skipped, mirror.told.indexes = report.last_skipped, report.indexes

    # What only the owner may do

    def check_owns(self, what: str) -> None:
        """Raise ``StateStoreError`` in a process that only reads the table."""
        if self.machine.reads_only:
            raise StateStoreError(
                f"table {self.name!r} is applied by another process and only read by this one: {what} it "
                "there"
            )

    # Taking over

    def take_over(self, cause: str) -> None:
        """This process owns the store from now on: go on where the owner ended."""
        confirmed_at = self.mirror.progress.confirmed_at
        opened = False
        with self._lifecycle, self.changed:
            if self.state not in (State.CREATED, State.STOPPED) and self.mirror.view is not None:
                try:
                    self.mirror.promote()
                    self.refresh_readable()
                    opened = True
                except StoreUnavailableError as error:
                    log.warning("table %r: opening it anew: %s", self.name, error)
                    self.mirror.close()
                self.mirror.progress.confirmed_at = confirmed_at
            effects = self._decide(lambda: self.machine.takes_over(cause, self.clock(), opened=opened))
        self._carry_out_all(effects)
