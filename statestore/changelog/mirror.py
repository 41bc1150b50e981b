"""The mirror of one topic: its store, its positions, and whether the topic still continues at them.

No states, threads or Kafka here: the binding calls this from one thread at a time.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from statestore.changelog.readiness import PartitionProgress, Progress
from statestore.changelog.undecodable import DecodingFilter, SkipLog
from statestore.core import Folded, WriteRun
from statestore.errors import (
    ForkedProcessError,
    StateStoreError,
    StoreClosedError,
    StoreFullError,
    StoreMissingError,
    StorePositionError,
    StoreUnavailableError,
)
from statestore.kafka.answers import Bounds, TopicState
from statestore.storage.changelog_store import ChangelogStore
from statestore.storage.directory import StoreDirectory
from statestore.storage.layout import DATA, Position
from statestore.storage.opening import MirrorStorage
from statestore.storage.store import key_too_long

log = logging.getLogger("statestore.changelog")

DEFAULT_DELETE_RETENTION_MS = 86_400_000
"""Kafka's default of ``delete.retention.ms``, assumed until the broker has told the topic's."""


@dataclass(slots=True)
class Counts:
    """What was applied, and what went wrong, since the binding was made."""

    records: int = 0
    upserts: int = 0
    tombstones: int = 0
    null_keys: int = 0
    bytes: int = 0
    write_failures: int = 0
    decode_errors: int = 0
    duplicate_keys: int = 0
    """How many times a read found a row under several stored keys."""
    non_canonical_keys: int = 0
    """How many times a scan met a key in another encoding than ours, which ``get`` does not find."""
    skipped: int = 0
    """Records that do not decode and were passed over; ``records`` does not count them."""
    expired: int = 0
    """Rows removed because of their age."""
    restarts: int = 0


class Mirror:
    """See the module. ``store`` is ``None`` while closed.

    ``grace`` is how many seconds a following mirror may take to learn that it is at the end.
    ``record_filter`` accepts or rejects each record; without one, all are applied.
    """

    def __init__(
        self,
        name: str,
        topic: str,
        storage: MirrorStorage,
        grace: float = 0.0,
        record_filter: DecodingFilter | None = None,
    ) -> None:
        self.name = name
        self.topic = topic
        self.store: ChangelogStore | None = None
        self.directory: StoreDirectory | None = None
        self.progress = Progress()
        self.counts = Counts()
        self.identity = TopicState()
        self.partition_count: int | None = None
        self.record_filter = record_filter
        self.skips = SkipLog(f"table {name!r}", topic)
        self.unflushed = 0
        """Bytes applied since the last flush."""
        self._unmeasured = 0
        """Bytes applied since the size was compared with its limit."""
        self._storage = storage
        self._grace = grace
        self._durable = True
        """Whether a flush covered all that was written."""
        self._written: dict[int, Position] = {}
        self._ages: dict[int, float] = {}
        """Seconds since each partition with new records was last at its end, at the first contact."""

    @property
    def path(self) -> Path:
        return Path("(memory)") if self.directory is None else self.directory.path

    @property
    def topic_id(self) -> str | None:
        """The id of the topic that the store was made from; ``None``: the broker has not told it."""
        return self.identity.topic_id if self.directory is None else self.directory.file.topic_id

    def open(self) -> None:
        """Open the store unless it is open, and load the positions in it."""
        if self.store is None:
            self.directory = self._storage.open_directory()
            self._open_store()
        self._load_positions()
        if (full := self.too_large()) is not None:
            raise full

    def start_anew(self) -> None:
        """Replace the store by an empty one: a new generation."""
        self.close()
        if self.directory is not None:
            self.directory.start_generation()
        self.partition_count = None
        self._open_store()
        self._load_positions()

    def close(self) -> None:
        """Close the store. If its last flush fails (the files are gone), the topic still has the records."""
        store, self.store = self.store, None
        if store is not None:
            try:
                store.close()
            except StateStoreError as error:
                log.warning("store %r could not be closed: %s", self.name, error)

    def mark_complete(self) -> None:
        """Make durable that the store is complete, and note it: its absence is an error from now on."""
        if self.store is not None:
            self._write_moved(self.store)
            self._flush(self.store)  # also where nothing is left to write: it ends an engine's loading
        if self.directory is not None:
            self._storage.remember()

    def _open_store(self) -> None:
        self.store = self._storage.open_store(self.directory)
        self.identity = TopicState()

    def _load_positions(self) -> None:
        assert self.store is not None
        self._written = self.store.positions()
        self.progress = Progress(
            {
                number: PartitionProgress(one.offset, one.leader_epoch, valid_since=one.valid_since / 1000)
                for number, one in sorted(self._written.items())
            }
        )

    # Writing

    def write(self, folded: Folded) -> None:
        """Write a batch and the positions after it as one unit. Raises what the backend raises."""
        store = self._open_for_writing()
        if folded.longest_key > store.max_key_size:
            raise key_too_long(self.name, folded.longest_key, store.max_key_size)
        partitions = self.progress.partitions
        # The first batch writes where every partition begins: a store knows all of them, or is empty.
        unwritten = {
            number: (one.position, one.leader_epoch)
            for number, one in partitions.items()
            if number not in self._written
        }
        positions = {
            number: Position(offset, epoch, int(partitions[number].valid_since * 1000))
            for number, (offset, epoch) in {**unwritten, **folded.positions}.items()
        }
        durable = store.apply(folded.writes, positions)
        self._written.update(positions)
        self.unflushed = 0 if durable else self.unflushed + folded.bytes
        self._durable = durable

    def advance(self, folded: Folded) -> None:
        """Move the positions past a batch that was written, and count it."""
        partitions = self.progress.partitions
        for number, (offset, epoch) in folded.positions.items():
            partitions[number].position, partitions[number].leader_epoch = offset, epoch
        counts = self.counts
        counts.records += folded.records
        counts.upserts += folded.upserts
        counts.tombstones += folded.tombstones
        counts.null_keys += folded.null_keys
        counts.bytes += folded.bytes
        self._unmeasured += folded.bytes
        counts.skipped += folded.skipped
        if folded.last_skipped is not None:
            self.skips.add(folded.skipped, folded.last_skipped)

    def make_durable(self) -> None:
        """Write positions that moved without records, then flush what is not durable yet."""
        if self.store is not None:
            self._write_moved(self.store)
            if not self._durable:
                self._flush(self.store)

    def sweep(self) -> None:
        """Remove some of the rows that have ended. Raises what the backend raises."""
        if self.store is not None and (removed := self.store.sweep()):
            self.counts.expired += removed
            self._durable = False

    def _write_moved(self, store: ChangelogStore) -> None:
        """Write positions that moved without records."""
        old_enough = (self.identity.delete_retention_ms or DEFAULT_DELETE_RETENTION_MS) / 10
        moved = {}
        for number, one in self.progress.partitions.items():
            new = Position(one.position, one.leader_epoch, int(one.valid_since * 1000))
            old = self._written.get(number)
            if old is None or new[:2] != old[:2] or new.valid_since - old.valid_since > old_enough:
                moved[number] = new
        if moved:
            store.apply(WriteRun(DATA), moved)
            self._written.update(moved)
            self._durable = False

    def _flush(self, store: ChangelogStore) -> None:
        store.flush()
        self.unflushed = 0
        self._durable = True

    def _open_for_writing(self) -> ChangelogStore:
        if self.store is None:
            raise StoreClosedError(f"table {self.name!r} is closed")
        return self.store

    def written_offsets(self) -> dict[int, int]:
        """Return the positions in the store, for reports."""
        return {number: position.offset for number, position in self._written.items()}

    # Does the topic still continue the store? Each answer is None, or how the position was lost.

    def capture(self, bounds: Mapping[int, Bounds], now: float) -> str | None:
        """Set the ends that must be reached. A store without positions begins at the log's start."""
        known = self.progress.partitions
        if not known:
            known = {
                number: PartitionProgress(bound.start, valid_since=now) for number, bound in bounds.items()
            }
            self.progress.partitions = known
        if len(known) != len(bounds):
            return _grown(len(known), len(bounds))
        if self.is_past_end(bounds):
            return "the stored position is past the end of the topic: the topic was truncated or re-created"
        for number, bound in bounds.items():
            position = known[number].position
            if position < bound.start:
                return (
                    f"partition {number} now starts at offset {bound.start}, but the stored position is "
                    f"{position}: records {position} to {bound.start - 1} were deleted"
                )
        # Where nothing was written since, nothing was missed, however long ago that is.
        self._ages = {
            number: now - known[number].valid_since
            for number, bound in bounds.items()
            if known[number].position < bound.end
        }
        self.progress.capture({number: bound.end for number, bound in bounds.items()}, now)
        return self._too_old()

    def is_past_end(self, bounds: Mapping[int, Bounds]) -> bool:
        """Whether a stored position is past the log's end."""
        known = self.progress.partitions
        return any(number in known and known[number].position > bound.end for number, bound in bounds.items())

    def reached_end(self, partition: int, offset: int, now: float) -> str | None:
        """Take an end-of-partition event."""
        self.progress.partitions[partition].reached_end(offset, now)
        return self._too_late()

    def confirm(self, ends: Mapping[int, int], asked_at: float) -> str | None:
        """Take the present ends."""
        if set(ends) != set(self.progress.partitions):
            return None  # a part of the answer failed
        self.progress.confirm(ends, asked_at)
        return self._too_late()

    def identify(self, found: TopicState, cluster_id: str | None) -> str | None:
        """Compare the topic with the one that this store was made from; the first answer is stored."""
        if found.topic_id and self.topic_id not in (None, found.topic_id):
            return "the topic was deleted and created again: it has another id"
        self.identity = found.known_or(self.identity)
        if None not in (found.partitions, self.partition_count) and found.partitions != self.partition_count:
            return _grown(self.partition_count, found.partitions)
        if self.directory is not None and found.topic_id and self.directory.file.topic_id is None:
            self.directory.update(topic_id=found.topic_id, cluster_id=cluster_id, partitions=found.partitions)
        return self._too_old()

    def _too_old(self) -> str | None:
        """Tell whether tombstones may have been removed between the stored position and the first contact."""
        return self._tombstones_gone(self._ages)

    def _too_late(self) -> str | None:
        """Tell whether tombstones may have been removed while the broker did not answer."""
        return self._tombstones_gone(
            {number: one.gap - self._grace for number, one in self.progress.partitions.items()}
        )

    def _tombstones_gone(self, ages: Mapping[int, float]) -> str | None:
        retention = self.identity.delete_retention_ms
        for number, seconds in ages.items():
            if retention is not None and seconds > 0 and seconds * 1000 > retention:
                return (
                    f"partition {number} was last known to be at its end {seconds:.1f} s before, longer than "
                    f"the topic's delete.retention.ms of {retention / 1000:g} s: tombstones may be gone"
                )
        return None

    # Errors

    def vanished(self) -> StoreMissingError | None:
        """Return an error when the store's files were deleted or replaced while in use."""
        if self.store is None or self.directory is None or not self.directory.vanished():
            return None
        return StoreMissingError(
            self.path,
            "the store's files were deleted or replaced while in use",
            'restore them from a backup, or bind with on_missing="rebuild"',
        )

    def too_large(self, *, at_once: bool = True) -> StoreFullError | None:
        """Return an error when the store is larger than ``max_bytes``; measured now, or now and then."""
        store, most = self.store, self._storage.options.max_bytes
        if store is None or most is None or not (at_once or self._unmeasured > most // 64):
            return None
        self._unmeasured = 0
        try:
            size = store.size()
        except (StoreClosedError, ForkedProcessError):
            return None
        if size <= most:
            return None
        return StoreFullError(
            self.path,
            f"the store of table {self.name!r} takes {size} bytes, more than max_bytes={most}; "
            "nothing was dropped",
            "close() the table and bind it with a greater max_bytes, or delete keys in the topic and rebuild",
        )

    def position_lost(self, cause: str) -> StorePositionError:
        return StorePositionError(
            self.path, cause, 'close() this table and bind again with on_missing="rebuild"'
        )

    def unavailable(self, cause: str, remedy: str) -> StoreUnavailableError:
        return StoreUnavailableError(self.path, cause, remedy)


def _grown(old: int | None, new: int | None) -> str:
    return f"the topic has {new} partitions, but the store was made from {old}: keys have moved between them"
