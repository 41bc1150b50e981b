"""What a table's reader tells beside records: errors of a partition, and how much is held back.

All of it is called on the thread of the lane that reads.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from statestore.changelog.contact import Contact
from statestore.changelog.effects import Effects, EnterLane
from statestore.changelog.held_back import HeldBack
from statestore.changelog.machine import TableMachine
from statestore.changelog.mirror import Mirror
from statestore.kafka.answers import UNREADABLE, KafkaErrorKind

log = logging.getLogger("statestore.changelog")


class ReaderReports:
    """See the module. ``handle`` gives the machine an event and does what it decides."""

    def __init__(
        self,
        mirror: Mirror,
        machine: TableMachine,
        handle: Callable[[Callable[[], Effects]], Effects],
        held_back: HeldBack,
        contact: Contact,
    ) -> None:
        self._held_back = held_back
        self._contact = contact
        self._mirror = mirror
        self._machine = machine
        self._handle = handle

    def failed(self, kind: KafkaErrorKind, partition: int, offset: int, text: str) -> None:
        """The consumer reports an error for this topic."""
        if not self._machine.applying:
            return
        if not self._contact.read_failed(kind, partition, text):
            self._try_again(kind, partition, f"{self._mirror.topic} [{partition}] @ {offset}: {text}")

    @property
    def lagging(self) -> int | None:
        """A partition that has more records than were applied; ``None``: none is known to have."""
        if not self._machine.applying:
            return None
        return next((number for number, one in self._mirror.progress.partitions.items() if one.lag), None)

    def answer_too_large(self, text: str, *, alone: bool) -> None:
        """The client does not take an answer: with records of this table, or another's if not ``alone``."""
        partition = self.lagging
        if partition is None:
            return
        position = self._mirror.progress.partitions[partition].position
        cause = f"{self._mirror.topic} [{partition}] @ {position}: {text}"
        if alone:  # the next answer is as large
            error = self._mirror.unavailable(cause, UNREADABLE[KafkaErrorKind.TOO_LARGE])
            self._handle(lambda: self._machine.failed(error, self._contact.clock()))
        else:
            self._try_again(KafkaErrorKind.TOO_LARGE, partition, cause)

    def divided(self, partition: int, offset: int) -> None:
        """The batch before ended at ``offset``, where a transaction may go on."""
        counts = self._mirror.counts
        counts.divided_transactions += 1
        if counts.divided_transactions == 1:
            log.warning(
                "table %r: a transaction in %s [%d] was cut at offset %d: it is larger than a sixteenth of "
                "memory_budget, or arrives too slowly, so that readers may see it in part",
                self._mirror.name,
                self._mirror.topic,
                partition,
                offset,
            )

    def high_watermarks(self, marks: Mapping[int, int]) -> None:
        """Take the high watermarks of the partitions, as far as they are known."""
        if self._machine.applying:
            partitions = self._mirror.progress.partitions
            # Where the stable offset is beyond the position, no transaction keeps the next record back.
            at_stable_end = {
                number: one.position
                for number, one in partitions.items()
                if one.end is not None and one.end <= one.position
            }
            self._held_back.look(at_stable_end, marks)

    def _try_again(self, kind: KafkaErrorKind, partition: int, cause: str) -> None:
        """Leave the lane, and come back for the same records from the stored position; or give up."""
        remedy = UNREADABLE.get(kind, "remove the cause, then restart()")
        error = self._mirror.unavailable(cause, remedy)
        position = self._mirror.progress.partitions[partition].position
        away = kind is KafkaErrorKind.UNREACHABLE
        first = not self._machine.failures.is_unread(partition, position)
        effects = self._handle(
            lambda: self._machine.read_failed(
                partition, position, error, away=away, now=self._contact.clock()
            )
        )
        if first and any(isinstance(effect, EnterLane) for effect in effects):
            name = self._mirror.name
            log.warning("table %r: a read failed and is tried again: %s; %s", name, cause, remedy)
