"""One table's contact with the broker: what to ask about its topic, and what the answers mean for the table.

The binder asks, and gives each answer with the number of the start that it was asked for: an answer does
not change a later start. The mirror compares the answer with its store, and the state machine is told what
came of it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping

from statestore.changelog import losses
from statestore.changelog.effects import NOTHING, Effects
from statestore.changelog.machine import TableMachine
from statestore.changelog.mirror import Mirror
from statestore.delivery import Delivery
from statestore.errors import StoreUnavailableError
from statestore.kafka.answers import Bounds, Failure, KafkaErrorKind, TopicInfo, TopicState, kind_of
from statestore.kafka.remedies import table_remedy
from statestore.runtime.times import Clock

log = logging.getLogger("statestore.changelog")


_CREATE = 'create it, then close() this table and bind again with on_missing="rebuild"'
"""A topic that is created again is another one, which no store of the old one is continued with."""


class Contact:
    """See the module. All of it is called on the supervisor's thread, unless it says another.

    ``handle`` gives the machine an event and does what it decides. ``show_store`` lets readers have the
    store, where they may, as its rows end now.
    """

    def __init__(
        self,
        mirror: Mirror,
        machine: TableMachine,
        handle: Callable[[Callable[[], Effects]], Effects],
        show_store: Callable[[], None],
        clock: Clock = time.time,
    ) -> None:
        self._mirror = mirror
        self._machine = machine
        self._handle = handle
        self._show_store = show_store
        self.clock = clock

    @property
    def partition_count(self) -> int | None:
        """How many partitions the topic has; ``None``: the broker must be asked, and ``found`` called."""
        return self._mirror.partition_count

    @property
    def awaits_identity(self) -> bool:
        """Whether nothing may be applied before the broker has told the topic's id."""
        return self._mirror.topic_id is not None

    @property
    def positions(self) -> dict[int, int]:
        """The next offset to apply of each partition; there is none before the first contact."""
        return {number: one.position for number, one in self._mirror.progress.partitions.items()}

    @property
    def topic_id(self) -> str | None:
        """The id of the topic that the store was made from; ``None``: the broker has not told it."""
        return self._mirror.topic_id

    @property
    def applied(self) -> int:
        """How many records were applied."""
        return self._mirror.counts.records

    def found(self, info: TopicInfo) -> None:
        """The topic is there, with so many partitions."""
        self._mirror.partition_count = info.partitions
        self._mirror.found_id, self._mirror.found_cluster = info.topic_id, info.cluster_id

    def failed(self, start_id: int, failure: Failure, cause: str) -> None:
        """The first contact failed; it is tried again while the start ``runs``."""
        error, kind = self._mirror.unavailable(cause, table_remedy(failure)), kind_of(failure)
        final = kind is KafkaErrorKind.NOT_AUTHORIZED
        # That a topic is gone is learned by the question for its id.
        away = kind in (KafkaErrorKind.UNREACHABLE, KafkaErrorKind.NO_LEADER)
        self._handle(
            lambda: self._machine.contact_failed(start_id, error, final=final, away=away, now=self.clock())
        )

    def is_past_end(self, bounds: Mapping[int, Bounds]) -> bool:
        """Whether a stored position is past the log's end."""
        return self._mirror.is_past_end(bounds)

    def unchecked_positions(self, bounds: Mapping[int, Bounds]) -> dict[int, tuple[int, int]]:
        """Return ``{partition: (offset, leader epoch)}`` that the log must be asked for before it is read on.

        Where the epoch of the last record is the present leader's, nothing was cut off since.
        """
        return self._mirror.unchecked_positions(bounds)

    def cut_off(self, start_id: int, lost: Mapping[int, str]) -> None:
        """The log does not have the positions of these partitions."""

        def lose() -> Effects:
            if not self._machine.runs(start_id):
                return NOTHING
            number = min(lost)
            position, _ = self._mirror.progress.partitions[number].anchor
            return self._lost(losses.cut_off(number, position, lost[number]))

        self._handle(lose)

    def captured(self, start_id: int, bounds: Mapping[int, Bounds], asked_at: float) -> None:
        """The partitions begin and end there: begin to read."""

        def capture() -> Effects:
            if not self._machine.runs(start_id):
                return NOTHING
            lost = self._mirror.capture(bounds, asked_at)
            if lost is not None:
                return self._lost(lost)
            return self._machine.captured(start_id, self._mirror.progress)

        self._handle(capture)

    def identified(self, start_id: int, found: TopicState, cluster_id: str | None, applied: int) -> None:
        """The broker told what the topic is: is it still the one that this store mirrors?

        ``applied`` is how many records were applied when it was asked.
        """
        if not self._machine.runs(start_id):
            return
        topic = self._mirror.topic
        if found.unknown:
            self._fail(f"topic {topic!r} does not exist any more", _CREATE)
        elif self._mirror.needs_compaction and "compact" not in (found.cleanup_policy or "compact"):
            self._fail(
                f"topic {topic!r} is not compacted (cleanup.policy={found.cleanup_policy})",
                "set cleanup.policy=compact (else its records are deleted by age), then restart()",
            )
        else:
            self._handle(lambda: self._identify(found, cluster_id, applied))

    def _identify(self, found: TopicState, cluster_id: str | None, applied: int) -> Effects:
        mirror = self._mirror
        try:
            lost = mirror.identify(found, cluster_id, applied)
            if lost is None:
                lost = mirror.retention.learn(found, mirror.store, mirror.directory)
                self._show_store()
        except StoreUnavailableError as error:
            return self._machine.failed(error, self.clock())
        return NOTHING if lost is None else self._lost(lost)

    def confirmed(
        self, start_id: int, ends: Mapping[int, int], asked_at: float, positions: Mapping[int, int]
    ) -> None:
        """The partitions end there now; ``positions`` are as they were when this was asked."""

        def confirm() -> Effects:
            if self._machine.is_paused(start_id):
                self._mirror.hear_while_paused(ends, asked_at)
                return NOTHING
            if not self._machine.runs(start_id):
                return NOTHING
            for number, end in ends.items():
                if end < positions[number]:
                    return self._doubt(
                        f"partition {number} ends at offset {end}, but the position is {positions[number]}"
                    )
            if (lost := self._mirror.confirm(ends, asked_at)) is None:
                return NOTHING
            return self._lost(lost)

        self._handle(confirm)

    def delivered(self, positions: Mapping[int, int], deliveries: Iterable[Delivery]) -> None:
        """Records were written after the mirror was at ``positions``. Any thread.

        A record cannot get an offset below what was read before it was sent, unless the log is another one.
        """
        for one in deliveries:
            if 0 <= one.offset < positions.get(one.partition, 0):
                self.doubt(
                    f"a record was written at offset {one.offset} of partition {one.partition}, but the "
                    f"position was {positions[one.partition]} before"
                )
                return

    def read_failed(self, kind: KafkaErrorKind, partition: int, text: str) -> bool:
        """A reader met an error; tell whether it was one that another try cannot mend. On a lane's thread."""
        where = f"{self._mirror.topic} [{partition}]"
        if kind in (KafkaErrorKind.OUT_OF_RANGE, KafkaErrorKind.TRUNCATED):
            position = self._mirror.progress.partitions[partition].position
            cause = losses.not_in_log(where, position, text)
            self._handle(lambda: self._lost(cause))
        elif kind is KafkaErrorKind.UNKNOWN_TOPIC:
            self._fail(f"{where}: {text}", _CREATE)
        elif kind is KafkaErrorKind.NOT_AUTHORIZED:
            self._fail(f"{where}: {text}", "grant the client Read on the topic, then restart()")
        else:
            return False
        return True

    def doubt(self, cause: str) -> None:
        """Something does not fit the topic that the store was made from: ask before more is applied.

        Any thread.
        """
        self._handle(lambda: self._doubt(cause))

    def _doubt(self, cause: str) -> Effects:
        if effects := self._machine.doubted():
            self._mirror.followed = True
            log.info("topic %s: asking whether it is another one: %s", self._mirror.topic, cause)
        return effects

    def _lost(self, cause: str) -> Effects:
        """Tell the machine that the topic no longer continues at the stored position: fail, or rebuild."""
        return self._machine.lost(self._mirror.position_lost(cause), self.clock())

    def _fail(self, cause: str, remedy: str) -> None:
        error = self._mirror.unavailable(cause, remedy)
        self._handle(lambda: self._machine.failed(error, self.clock()))
