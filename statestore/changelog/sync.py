"""Waiting until tables have applied everything that is in their topics now, whoever wrote it.

For each table: it must be ready; then the broker is asked where the topic ends; then the table must apply the
records up to there. A future is completed for each step, and nothing is looked at again and again. Where
another start of the table begins meanwhile (a rebuild, a restart), all of it begins anew.

A transaction that is still open is not waited for: its records are not there yet for any reader. But a
commit returns to its writer before the records can be read. So, where a partition's log goes on after the
last stable offset, a table has a short time to get past that end, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from statestore.changelog.binding import Binding
from statestore.errors import ReadyTimeoutError
from statestore.kafka.answers import ContactError, KafkaErrorKind, failure_of, kind_of
from statestore.runtime.futures import all_or_first_error, when_all_done
from statestore.runtime.interrupts import Outcome, TimeOverError, shielded
from statestore.runtime.steps import Steps

COMMIT_TIME = 0.5
"""Seconds in which the records of a transaction that was committed can be read."""
LONGEST_BACKOFF = 2.0
"""Most seconds between two questions for the ends, where the answers are errors that may pass."""

NEVER = 1 << 62
"""An end that no partition reaches."""


def synced(tables: Sequence[Binding], timeout: float | None) -> Steps[None]:
    """Wait until each of ``tables`` has applied what its topic holds now.

    Raises at once the failure of a failed table, ``StoreNotReadyError`` for a stopped or paused one, and
    ``KafkaError`` where the broker refuses to tell the ends; when the time is up, ``ReadyTimeoutError``.
    """
    for table in tables:
        table.check_may_become_ready()
        table.check_not_paused()
    commit_time = COMMIT_TIME if timeout is None else min(COMMIT_TIME, timeout / 2)
    syncs = [TableSync(table, commit_time) for table in tables]

    def begin() -> Future[None]:
        for one in syncs:
            one.begin()
        return all_or_first_error([one.done for one in syncs])

    try:
        yield shielded(begin)
    except TimeOverError:
        late = [one for one in syncs if not one.done.done()]
        missing = [one.missing() for one in late]
        known = [count for count in missing if count is not None]
        raise ReadyTimeoutError(
            f"not in sync after {timeout or 0.0:g} s: " + "; ".join(one.describe() for one in late),
            lag=sum(known) if len(known) == len(missing) else None,
            reason=late[0].table.reason if late else None,
        ) from None
    finally:
        for one in syncs:
            one.end()


class TableSync:
    """One table on its way to the end of its topic. ``done`` is completed when it is there, or cannot be."""

    def __init__(self, table: Binding, commit_time: float) -> None:
        self.table = table
        self.done: Future[None] = Outcome()
        self._host = table.host
        self._commit_time = commit_time
        self._ends: dict[int, int] | None = None
        """The ends to be reached; ``None``: not known yet."""
        self._waits: Future[bool] | None = None
        """What the table is waited for now; it also fails when the table cannot go on."""
        self._is_over = False
        self._round = 0
        """How many times all was begun; what was asked for in an earlier round is not taken."""
        self._attempt = 0
        self._cause = ""
        """Why the ends are not known yet."""

    def end(self) -> None:
        """Nobody waits any more."""
        with self.table.changed:
            self._is_over = True
            if self._waits is not None:
                self.table.forget_applied(self._waits)

    def missing(self) -> int | None:
        """Return how many offsets are still to be applied; ``None``: that is not known yet."""
        ends, partitions = self._ends, self.table.mirror.progress.partitions
        if ends is None:
            return None
        positions = {number: partitions[number].position if number in partitions else 0 for number in ends}
        return sum(max(0, end - positions[number]) for number, end in ends.items())

    def describe(self) -> str:
        """Say in one sentence what the table lacks."""
        missing = self.missing()
        if missing is not None:
            return f"{self.table.describe()}, {missing} offsets of those at the call are not applied"
        why = f": {self._cause}" if self._cause else ""
        return f"{self.table.describe()}, the broker has not told where the topic ends{why}"

    # Each step but the first is made on the supervisor's thread.

    def begin(self) -> None:
        """Begin, or begin anew. Not on a thread that runs signal handlers."""
        self._round += 1
        self._ends = None
        self._wait({}, lambda: self._soon(self._ask))

    def _wait(self, ends: Mapping[int, int], then: Callable[[], None]) -> None:
        """Wait until the table is ready and has applied what is below ``ends``, then call ``then``."""
        table = self.table

        def waited(future: Future[bool]) -> None:
            if self._waits is not future:
                return
            if (error := future.exception()) is not None:
                self._finish(error)
            elif future.result():
                then()
            else:
                self._soon(self.begin)

        with table.changed:
            if self._is_over:
                return
            if self._waits is not None:
                table.forget_applied(self._waits)
            offsets = {number: end - 1 for number, end in ends.items()}
            self._waits = future = table.applied(offsets, in_start=table.start_id)
        future.add_done_callback(waited)

    def _ask(self) -> None:
        table, start_id = self.table, self.table.start_id
        partitions = list(table.contact.positions)
        places = [(table.topic, number) for number in partitions]
        self._wait(dict.fromkeys(partitions, NEVER), lambda: None)  # fails when the table does
        stable, logged = self._host.ends(places, stable=True), self._host.ends(places, stable=False)
        # A topic that has grown, or is another one by now, has records that these partitions have not.
        identity = self._host.identify([table])

        def told() -> None:
            if start_id != table.start_id:
                self.begin()
            elif not self._is_refused([*stable.values(), *logged.values()]):
                self._follow_to(offsets_of(stable), offsets_of(logged))

        when_all_done([*stable.values(), *logged.values(), identity], lambda: self._soon(told))

    def _follow_to(self, ends: dict[int, int], log_ends: dict[int, int]) -> None:
        has_transactions = any(log_ends[number] > end for number, end in ends.items())
        self._ends = log_ends if has_transactions else ends
        self._wait(self._ends, self._finish)
        if has_transactions:
            self._soon(lambda: self._leave_open_transactions(log_ends), self._commit_time)

    def _leave_open_transactions(self, log_ends: Mapping[int, int]) -> None:
        """What is not stable by now was not committed at the call."""
        start_id = self.table.start_id
        stable = self._host.ends([(self.table.topic, number) for number in log_ends], stable=True)

        def told() -> None:
            if start_id != self.table.start_id:
                self.begin()
            elif not self._is_refused(list(stable.values())):
                ends = offsets_of(stable)
                self._ends = {number: min(ends[number], end) for number, end in log_ends.items()}
                self._wait(self._ends, self._finish)

        when_all_done(stable.values(), lambda: self._soon(told))

    def _is_refused(self, answers: Iterable[Future[Any]]) -> bool:
        """Whether one of the answers is an error: then ask again later, or fail where that is in vain."""
        failure = next(filter(None, map(failure_of, answers)), None)
        if failure is None:
            return False
        self._cause = failure.str()
        kind = kind_of(failure)
        if kind in (KafkaErrorKind.NOT_AUTHORIZED, KafkaErrorKind.UNKNOWN_TOPIC):
            text = f"topic {self.table.topic!r}: {self._cause}"
            self._finish(ContactError(self._host.address, text, kind, failure))
        else:
            self._soon(self.begin, min(LONGEST_BACKOFF, 0.1 * 2 ** min(self._attempt, 10)))
            self._attempt += 1
        return True

    def _soon(self, call: Callable[[], None], delay: float = 0.0) -> None:
        """Make a step, unless all has ended or begun anew by then."""
        round_ = self._round

        def step() -> None:
            if round_ != self._round or self._is_over or self.done.done():
                return
            try:
                call()
            except Exception as error:  # noqa: BLE001 - raised where the sync is waited for
                self._finish(error)

        self._host.supervisor.later(delay, step)

    def _finish(self, error: BaseException | None = None) -> None:
        with self.table.changed:
            if self.done.done():
                return
            if error is None:
                self.done.set_result(None)
            else:
                self.done.set_exception(error)


def offsets_of(answers: Mapping[tuple[str, int], Future[Any]]) -> dict[int, int]:
    """Return the offsets in finished answers, by partition."""
    return {number: future.result().offset for (_, number), future in answers.items()}
