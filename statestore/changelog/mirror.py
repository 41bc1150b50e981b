"""The mirror of one topic: its store, its positions, and whether the topic still continues at them.

No states, threads or Kafka here: the binding calls this from one thread at a time.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from statestore.changelog import losses
from statestore.changelog.counts import Counts
from statestore.changelog.long_keys import LongKeys
from statestore.changelog.mirror_files import REPLACEABLE, MirrorFiles
from statestore.changelog.readiness import PartitionProgress, Progress
from statestore.changelog.retention import TopicRetention
from statestore.changelog.undecodable import DecodingFilter, SkipLog, SkippedRecord
from statestore.core import CountedWrites, Folded, Partitioning, WriteRun
from statestore.errors import (
    StateStoreError,
    StoreClosedError,
    StorePositionError,
    StoreUnavailableError,
)
from statestore.kafka.answers import Bounds, TopicState
from statestore.runtime.text import bounded_repr
from statestore.storage.changelog_store import ChangelogStore
from statestore.storage.layout import DATA, Position
from statestore.storage.opening import MirrorStorage
from statestore.storage.store import key_too_long

log = logging.getLogger("statestore.changelog")

DEFAULT_DELETE_RETENTION_MS = 86_400_000
"""Kafka's default of ``delete.retention.ms``, assumed until the broker has told the topic's."""


@dataclass(slots=True)
class Told:
    """What only the process that applies the records knows by itself."""

    last_skipped: SkippedRecord | None = None
    indexes: dict[str, str] = field(default_factory=dict)


class Mirror(MirrorFiles):
    """See the module. ``store`` is ``None`` while closed.

    ``grace`` is how many seconds a following mirror may take to learn that it is at the end.
    ``record_filter`` accepts or rejects each record; without one, all are applied. ``key_limit`` rejects
    records whose key is longer than the store takes.
    """

    foreign: str | None = None
    """Why rows of another topic may be in the store, which nobody may read then."""

    def __init__(
        self,
        name: str,
        topic: str,
        storage: MirrorStorage,
        grace: float = 0.0,
        record_filter: DecodingFilter | None = None,
        key_limit: LongKeys | None = None,
    ) -> None:
        super().__init__(name, storage)
        self.topic = topic
        self.progress = Progress()
        self.counts = Counts()
        self.identity = TopicState()
        self.partition_count: int | None = None
        self.record_filter = record_filter
        self.key_limit = key_limit
        self.skips = SkipLog(f"table {name!r}", topic)
        self.told = Told()
        self.retention = TopicRetention(name, topic, storage.options)
        self.needs_compaction = storage.needs_compaction
        self.unflushed = 0
        """Bytes applied since the last flush."""
        self.found_id: str | None = None
        """The id that the topic had when it was looked up, if that was told: no record was read before."""
        self.found_cluster: str | None = None
        """The id of the cluster that told it."""
        self.followed = False
        """Whether the mirror followed the topic until just before the next ``capture``."""
        self._records_identified = 0
        """Of the records applied, how many were before the last answer that told the store's topic id."""
        self._records_at_capture = 0
        self.grace = grace
        self._durable = True
        """Whether a flush covered all that was written."""
        self._written: dict[int, Position] = {}
        self._ages: dict[int, float] = {}
        """Seconds since each partition with new records was last at its end, at the first contact."""

    @property
    def topic_id(self) -> str | None:
        """The id of the topic that the store was made from; ``None``: the broker has not told it."""
        return self.identity.topic_id if self.directory is None else self.directory.file.topic_id

    @property
    def records_since_capture(self) -> int:
        """How many records were applied since the first contact of this start."""
        return self.counts.records - self._records_at_capture

    def open(self) -> None:
        """Open the store unless it is open, and load the positions in it.

        Files that cannot be used are an error, or are replaced by an empty store, as ``on_missing`` says.
        """
        if self.store is None:
            self.directory = self._storage.open_directory()
            self.foreign = None if self.directory is None else self.directory.file.foreign
        try:
            if self.store is None:
                self._check_damage()
                self._open_store()
            self._load_positions()
        except REPLACEABLE as error:
            if self._storage.options.on_missing == "fail":
                log.critical("table %r: %s", self.name, error)
                raise
            log.warning("table %r: rebuilding the store: %s", self.name, error)
            self.start_anew()
        if (full := self.too_large()) is not None:
            raise full

    def promote(self) -> None:
        """Open the store for writing that this process has read until now, while reads of it go on.

        Raises ``StoreUnavailableError``; then it can only be opened anew, after ``close``.
        """
        followed = self._followed
        directory = self._storage.open_directory()
        if followed is None or directory is None or directory.file.generation != followed.generation:
            raise self.unavailable("the files were replaced by a later generation", "read that one")
        self.directory, self.foreign = directory, directory.file.foreign
        self._check_damage()
        if self.foreign is not None:
            raise self.unavailable("rows of another topic may be in the store", "open it anew")
        self.retention.opening(directory)
        store = self._storage.promote(followed, directory)
        store.end_rows_after(self.retention.row_life)
        self.store, self.identity = store, TopicState()
        self._load_positions()
        self._replace_followed(None)

    def start_anew(self) -> None:
        """Replace the store by an empty one: a new generation."""
        self.close()
        if self.directory is not None:
            if self.directory.vanished():
                self.directory = self._storage.open_directory()
            else:
                self.directory.start_generation()
        self.partition_count = self.foreign = None
        self._records_identified = self.counts.records
        self._open_store()
        self._load_positions()

    def close(self) -> None:
        """Close the store. If its last flush fails (the files are gone), the topic still has the records."""
        store, self.store = self.store, None
        self._close_followed()
        if store is not None:
            if (reads := store.view.cache_reads) is not None:
                self.counts.cache_hits += reads[0]
                self.counts.cache_misses += reads[1]
            try:
                store.close()
            except StateStoreError as error:
                log.warning("store %r could not be closed: %s", self.name, error)

    @property
    def cache_reads(self) -> tuple[int, int] | tuple[None, None]:
        """Reads by key that the record cache answered, and did not; ``None``: there is no cache."""
        store, counts = self.store, self.counts
        now = (0, 0) if store is None else store.view.cache_reads
        return (None, None) if now is None else (counts.cache_hits + now[0], counts.cache_misses + now[1])

    def mark_complete(self) -> None:
        """Make durable that the store is complete, and note it: its absence is an error from now on."""
        if self.store is not None:
            self._write_moved(self.store)
            self._flush(self.store)  # also where nothing is left to write: it ends an engine's loading
        if self.directory is not None:
            self._storage.remember()
            self.directory.mark_complete()

    def _open_store(self) -> None:
        self.retention.opening(self.directory)
        self.store = self._storage.open_store(self.directory)
        self.store.end_rows_after(self.retention.row_life)
        self.identity = TopicState()

    def _load_positions(self) -> None:
        assert self.store is not None
        self._ages = {}  # those of positions that are not the store's any more
        self._opening = True
        try:
            self._written = self.store.positions()
        finally:
            self._opening = False
        self.progress = Progress(
            {number: _loaded(one) for number, one in sorted(self._written.items())},
            prepared=self.store.prepared,
        )

    # Writing

    def write(self, folded: Folded) -> None:
        """Write a batch and the positions after it as one unit. Raises what the backend raises."""
        store = self._open_for_writing()
        if folded.longest_key > store.max_key_size:
            raise key_too_long(self.name, folded.longest_key, store.max_key_size)
        partitions = self.progress.partitions
        # The first batch writes where every partition begins: a store knows all of them, or is empty.
        positions = {
            number: _stored(one) for number, one in partitions.items() if number not in self._written
        }
        for number, (offset, epoch) in folded.positions.items():
            positions[number] = Position(offset, epoch, int(partitions[number].valid_since * 1000))
        before = store.respelled
        durable = store.apply(folded.writes, positions, folded.strays, folded.candidates)
        self.counts.non_canonical_keys += store.respelled - before
        self._written.update(positions)
        self.progress.prepared = store.prepared
        self.unflushed = 0 if durable else self.unflushed + folded.bytes
        self._durable = durable

    def contradiction(self, folded: Folded) -> str | None:
        """Say why a batch that was read cannot be of the log that this store was made from."""
        for number, (_, epoch) in folded.positions.items():
            known = self.progress.partitions[number].leader_epoch
            if 0 <= epoch < known:
                return losses.earlier_epoch(number, known, epoch)
        return None

    @property
    def partitioning(self) -> Partitioning | None:
        """What is known of where the topic's records lie; ``None`` where that does not matter."""
        return None if self.store is None else self.store.partitioning

    def not_tracked(self, folded: Folded) -> str | None:
        """Tell of a record that this store cannot place, since it does not know where its rows were."""
        if not folded.strays or self.store is None or self.store.tracked:
            return None
        return (
            "keys lie in other partitions than one partitioner puts them in, and the store was made by a "
            "version of statestore that did not take note of partitions: which of a key's records counts "
            "cannot be told"
        )

    def advance(self, folded: Folded) -> None:
        """Move the positions past a batch that was written, and count it."""
        partitions = self.progress.partitions
        for number, (offset, epoch) in folded.positions.items():
            partitions[number].applied(offset, epoch)
        counts = self.counts
        counts.records += folded.records
        counts.upserts += folded.upserts
        counts.tombstones += folded.tombstones
        counts.null_keys += folded.null_keys
        counts.bytes += folded.bytes
        self._unmeasured += folded.bytes
        counts.skipped += folded.skipped
        counts.long_keys += folded.long_keys
        if folded.strays:
            self._count_strays(folded.strays)
        if folded.last_skipped is not None:
            self.skips.add(folded.skipped, folded.last_skipped)

    def _count_strays(self, strays: CountedWrites) -> None:
        """Count records that no partitioner explains; warn of the first key that is in several partitions."""
        counts = self.counts
        counts.stray_records += strays.upserts + strays.tombstones
        store = self.store
        if store is None or not store.newly_shared:
            return
        if not counts.keys_in_several_partitions:
            log.warning(
                "topic %s: keys have records in several partitions, such as %s: two partitioners write the "
                "topic (confluent-kafka's default is crc32, Java's murmur2: set one for all), or partitions "
                "were added; of a key's records the one with the latest timestamp counts",
                self.topic,
                bounded_repr(store.shared_example),
            )
        counts.keys_in_several_partitions += store.newly_shared
        store.newly_shared = 0

    def make_durable(self) -> None:
        """Write positions that moved without records, then flush what is not durable yet."""
        if self.store is not None:
            self._write_moved(self.store)
            if not self._durable:
                self._flush(self.store)

    def sweep(self) -> None:
        """Remove some of the rows that have ended. Raises what the backend raises."""
        if self.store is not None:
            expired, forgotten = self.store.sweep(self._delete_retention_ms)
            self.counts.expired += expired
            self._durable = self._durable and not expired and not forgotten

    def tend_indexes(self, seconds: float) -> None:
        """Build secondary indexes, or remove old ones, for about so long. Raises what the backend raises."""
        if self.store is not None and self.store.tend_indexes(seconds):
            self._durable = False
            self.progress.prepared = self.store.prepared

    def _write_moved(self, store: ChangelogStore) -> None:
        """Write positions that moved without records."""
        old_enough = (self.identity.delete_retention_ms or DEFAULT_DELETE_RETENTION_MS) / 10
        moved = {}
        for number, one in self.progress.partitions.items():
            new, old = _stored(one), self._written.get(number)
            if old is None or new[:2] != old[:2] or new.valid_since - old.valid_since > old_enough:
                moved[number] = new
        if moved:
            store.apply(WriteRun(DATA), moved)
            self._written.update(moved)
            self._durable = False

    @property
    def _delete_retention_ms(self) -> int:
        known = self.identity.delete_retention_ms
        return DEFAULT_DELETE_RETENTION_MS if known is None else known

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
        return {number: position.offset for number, position in dict(self._written).items()}

    # Does the topic still continue the store? Each answer is None, or how the position was lost.

    def capture(self, bounds: Mapping[int, Bounds], now: float) -> str | None:
        """Set the ends that must be reached. A store without positions begins at the log's start."""
        known = self.progress.partitions
        if not known:
            known = {
                number: PartitionProgress(bound.start, valid_since=now) for number, bound in bounds.items()
            }
            self.progress.partitions = known
            if self.store is not None:
                self.store.track(len(known), is_new=True)
            if self.found_id is not None:  # the store may be closed before the broker is asked for it again
                self._keep_identity(self.found_id, self.found_cluster, len(known))
        if len(known) != len(bounds):
            return losses.grown(len(known), len(bounds))
        if self.store is not None:
            self.store.track(len(known), is_new=False)
        if self.is_past_end(bounds):
            return losses.past_end()
        for number, bound in bounds.items():
            position = known[number].position
            if position < bound.start:
                return losses.deleted(number, bound.start, position)
            known[number].start_from(bound.start)
        # Where nothing was written since, nothing was missed, however long ago that is.
        slack, self.followed = self.grace if self.followed else 0.0, False
        self._ages = {
            number: now - known[number].valid_since - slack
            for number, bound in bounds.items()
            if known[number].position < bound.end
        }
        self.progress.capture({number: bound.end for number, bound in bounds.items()}, now)
        self._records_at_capture = self.counts.records
        return self._too_old()

    def is_past_end(self, bounds: Mapping[int, Bounds]) -> bool:
        """Whether a stored position is past the log's end."""
        known = self.progress.partitions
        return any(number in known and known[number].position > bound.end for number, bound in bounds.items())

    def unchecked_positions(self, bounds: Mapping[int, Bounds]) -> dict[int, tuple[int, int]]:
        """Return where the log is to be read from, with the epoch of the last record, where that may be gone.

        A record stays while its epoch is that of the leader. A position without an epoch cannot be checked.
        """
        unchecked = {}
        for number, one in self.progress.partitions.items():
            offset, epoch = one.anchor
            bound = bounds.get(number)
            if bound is not None and epoch >= 0 and offset > bound.start and epoch != bound.leader_epoch:
                unchecked[number] = one.anchor
        return unchecked

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

    def hear_while_paused(self, ends: Mapping[int, int], asked_at: float) -> None:
        """Take the present ends while nothing is applied."""
        if set(ends) == set(self.progress.partitions):
            self.progress.hear_while_paused(ends, asked_at)

    def identify(self, found: TopicState, cluster_id: str | None, applied: int = 0) -> str | None:
        """Compare the topic with the one that this store was made from; the first answer is stored.

        ``applied`` is how many records had been applied when this was asked.
        """
        known = self.topic_id or self.found_id
        if found.topic_id and known not in (None, found.topic_id):
            return losses.another_topic()
        if found.topic_id:
            self._records_identified = max(applied, self._records_identified)
        self.identity = found.known_or(self.identity)
        if None not in (found.partitions, self.partition_count) and found.partitions != self.partition_count:
            return losses.grown(self.partition_count, found.partitions)
        if found.topic_id:
            self._keep_identity(found.topic_id, cluster_id, found.partitions)
        return self._too_old()

    def _keep_identity(self, topic_id: str, cluster_id: str | None, partitions: int | None) -> None:
        if self.directory is not None and self.directory.file.topic_id is None:
            self.directory.update(topic_id=topic_id, cluster_id=cluster_id, partitions=partitions)

    def _too_old(self) -> str | None:
        """Tell whether tombstones may have been removed between the stored position and the first contact."""
        return losses.tombstones_gone(self._ages, self.identity.delete_retention_ms)

    def _too_late(self) -> str | None:
        """Tell whether tombstones may have been removed while the broker did not answer."""
        gaps = {number: one.gap - self.grace for number, one in self.progress.partitions.items()}
        return losses.tombstones_gone(gaps, self.identity.delete_retention_ms)

    # Errors

    def position_lost(self, cause: str) -> StorePositionError:
        """Return the error, and note where rows of another topic may be in the store."""
        if isinstance(cause, losses.OtherLog) and self.counts.records > self._records_identified:
            self._note_foreign(cause)
        if self.foreign is not None:
            cause = f"rows of another topic may be in the store: {self.foreign}"
        return StorePositionError(
            self.path, cause, 'close() this table and bind again with on_missing="rebuild"'
        )

    def _note_foreign(self, cause: str) -> None:
        """Note that the store is not to be read until it is rebuilt, not by a later process either."""
        self.foreign = str(cause)
        if self.directory is not None:
            try:
                self.directory.update(foreign=self.foreign)
            except StoreUnavailableError as error:
                log.warning(
                    "store %r: it is not noted that its rows are not to be read: %s", self.name, error
                )


def _stored(one: PartitionProgress) -> Position:
    record_end = -1 if one.record_end is None else one.record_end
    return Position(one.position, one.leader_epoch, int(one.valid_since * 1000), record_end)


def _loaded(one: Position) -> PartitionProgress:
    record_end = None if one.record_end < 0 else one.record_end
    return PartitionProgress(one.offset, one.leader_epoch, record_end, valid_since=one.valid_since / 1000)
