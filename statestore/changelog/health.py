"""What a table reports of itself. ``docs/health.md`` explains every field."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from statestore.changelog.readiness import Reason, State
from statestore.changelog.status import Status
from statestore.changelog.undecodable import SkippedRecord
from statestore.errors import StateStoreError
from statestore.kafka.partitioners import name_of
from statestore.runtime.health_report import HealthReport


@dataclass(frozen=True, slots=True, kw_only=True)
class TableHealth(HealthReport):
    """One table's health: ``health.lag`` or ``health["lag"]``; ``str`` gives one line in the same words.

    ``to_dict()`` gives what ``json.dumps`` takes. Times are seconds since the epoch, sizes are bytes, and
    counters count since the table was bound.
    """

    OTHER_NAMES: ClassVar[Mapping[str, str]] = {"state": "status", "time_to_ready": "ready_in"}

    topic: str
    """The topic that the table mirrors."""
    store: str
    """The logical name of the store, which is the table's."""
    path: str
    """The directory of the store; ``(memory)`` for a store without files."""
    persistent: bool
    """Whether the store is on disk and outlives the process (the setting ``cache``)."""
    cache_reason: str | None
    """Why the store is in memory only, in the words of the class or the settings."""
    ttl: float | None
    """Seconds after its record's timestamp at which a row ends, by the table's ``ttl`` or by the topic's
    ``retention.ms``, whichever is less; ``None``: never."""
    max_bytes: int | None
    """What the store may take; ``None``: any size."""
    status: State
    """The table's state."""
    since: float
    """When the table entered its state."""
    reason: Reason
    """Why the table is in its state, in one word; empty where there is nothing to say."""
    cause: str
    """One sentence about the last change of state, or about what the table waits for."""
    running: bool
    """Whether the table restores or follows its topic, as opposed to created, paused, stopped or failed."""
    ready: bool
    """Whether the table itself may be read; with a readiness group, the others must be ready, too."""
    lag: int | None
    """Offsets still to apply, over all partitions; ``None`` while that of one partition is unknown.

    While the broker does not answer it is what is known to be missing, at least, and ``None`` instead of 0.
    """
    lag_by_partition: dict[int, int | None]
    """Offsets still to apply in each partition; ``None``: the broker has not told the end yet."""
    positions: dict[int, int]
    """The next offset to apply in each partition."""
    end_offsets: dict[int, int | None]
    """The newest end known of each partition, as last stable offset; ``None`` where the lag is unknown."""
    partitions: int | None
    """How many partitions the topic has; ``None``: the broker has not told yet."""
    staleness: float | None
    """Seconds since the last moment at which the mirror is known to have had everything; ``None``: never.

    It grows while the table is paused.
    """
    size: int | None
    """Bytes of the store; ``None`` while it is closed or the table has failed."""
    last_error: str | None
    """The failure of a ``FAILED`` table, with its remedy; else ``None``."""
    ready_in: float | None
    """Seconds from the start to ready, the last time; ``None``: never ready yet."""
    binding_for: float | None
    """Seconds since the start, while a running table is not ready; else ``None``."""
    fetcher: str
    """What reads the topic: ``native``, or ``consumer`` and why the faster one cannot."""
    topic_id: str
    """The topic's id; ``unknown`` while the broker has not told it."""
    cleanup_policy: str
    """The topic's ``cleanup.policy``; ``unknown`` while the broker has not told it."""
    delete_retention_ms: int | None
    """The topic's ``delete.retention.ms``; ``None`` while the broker has not told it."""
    retention_ms: int | None
    """For how long the topic keeps a record before it deletes it, in ms; ``None``: for ever, or unknown."""
    generation: int | None
    """Which generation of the store's files is in use: each rebuild starts one; ``None`` without files."""
    records: int
    """Records applied, tombstones included."""
    upserts: int
    """Records applied that inserted or replaced a row."""
    tombstones: int
    """Records applied that deleted a key."""
    null_keys: int
    """Records without a key, which were passed over."""
    bytes: int
    """Bytes of keys and values applied."""
    write_failures: int
    """Writes to the store that failed, those that succeeded later included."""
    decode_errors: int
    """Reads of a row whose value does not decode."""
    duplicate_keys: int
    """How many times a read found a row under several stored keys."""
    non_canonical_keys: int
    """Rows applied whose key is in another JSON text than the class writes; how many times a scan met an Avro
    key under a schema that the subject does not have, which ``get`` does not find."""
    skipped: int
    """Records that were passed over since they do not decode (``on_undecodable="skip"``) or their key is too
    long (``on_long_key="skip"``)."""
    last_skipped: SkippedRecord | None
    """The last of the skipped records; ``None``: there was none."""
    long_keys: int
    """Records whose key is longer than the store takes: skipped (``on_long_key="skip"``), or before which the
    table failed."""
    stray_records: int
    """Records that lie elsewhere than a known partitioner puts their key; they are applied more slowly."""
    partitioner: str | None
    """The partitioner that put the topic's records where they lie, by the name that a writer states.
    ``None``: unknown, as with one partition, few rows, or several partitioners."""
    keys_in_several_partitions: int
    """How many keys were found to have records in several partitions; the latest timestamp counts."""
    expired: int
    """Rows removed because of their age (``ttl``)."""
    divided_transactions: int
    """Batches that ended where a transaction may go on, since it is larger than what is held back."""
    restarts: int
    """How many times ``restart()`` was called."""
    cache_hits: int | None
    """Reads by key that the record cache answered; ``None``: this table has none."""
    cache_misses: int | None
    """Reads by key that the record cache did not answer; ``None``: this table has none."""
    indexes: dict[str, str] = field(default_factory=dict)
    """The secondary indexes by the names of their fields: ``ready``, ``building``, or why it is not used."""
    decoder: str | None = None
    """What makes an entity table's rows: ``native`` or ``msgspec``; ``None`` for a table of bytes."""
    key_mismatches: int = 0
    """Values with a key field that differed from the key, which wins."""
    overlong: int = 0
    """Values that are longer than their field's ``MaxLength``."""

    @property
    def state(self) -> State:
        """The same as ``status``, by the name that the table has it under."""
        return self.status

    @property
    def time_to_ready(self) -> float | None:
        """The same as ``ready_in``."""
        return self.ready_in

    def __str__(self) -> str:
        keys = ["topic", "status", "lag", "partitions"]
        if self.binding_for is not None:
            keys.append("binding_for")
        elif self.ready and self.ready_in is not None:
            keys.append("ready_in")
        if self.reason:
            keys.append("reason")
        return self._line(*keys)


def _partitioner(table: Status) -> str | None:
    store = table.mirror.store
    with suppress(StateStoreError):  # a store that cannot be read: the table says so itself
        number = None if store is None else store.partitioner()
        return None if number is None else name_of(number)
    return None


def table_health(table: Status) -> TableHealth:
    """Return what is known of ``table`` now."""
    partitioner = _partitioner(table)  # it may read the store
    with table.changed:
        now = table.clock()
        mirror, machine, options = table.mirror, table.machine, table.options
        progress, identity = mirror.progress, mirror.identity
        store, view = mirror.store, mirror.view
        lags = table.lag_by_partition
        hits, misses = mirror.cache_reads
        counts: dict[str, Any] = asdict(mirror.counts) | {"cache_hits": hits, "cache_misses": misses}
        waits = machine.running and not machine.ready and machine.started_at is not None
        return TableHealth(
            topic=table.topic,
            store=table.name,
            path=str(mirror.path),
            persistent=options.persistent,
            cache_reason=options.cache_reason,
            ttl=mirror.retention.row_life,
            max_bytes=options.max_bytes,
            status=machine.state,
            since=machine.since,
            reason=machine.reason,
            cause=table.cause,
            running=machine.running,
            ready=machine.ready,
            lag=table.lag,
            lag_by_partition=lags,
            positions={number: one.position for number, one in progress.partitions.items()},
            end_offsets={
                number: None if lags[number] is None else one.end
                for number, one in progress.partitions.items()
            },
            partitions=mirror.partition_count,
            staleness=progress.staleness(now),
            size=None if view is None or machine.state is State.FAILED else view.size(),
            last_error=None if machine.failure is None else str(machine.failure),
            ready_in=machine.time_to_ready,
            binding_for=now - machine.started_at if waits and machine.started_at is not None else None,
            fetcher=table.fetcher,
            topic_id=identity.topic_id or "unknown",
            cleanup_policy=identity.cleanup_policy or "unknown",
            delete_retention_ms=identity.delete_retention_ms,
            retention_ms=mirror.retention.topic_ms,
            generation=mirror.view_generation if store is None and view is not None else mirror.generation,
            last_skipped=mirror.skips.report() or mirror.told.last_skipped,
            partitioner=partitioner,
            indexes=mirror.told.indexes if store is None else store.index_states,
            **counts,
        )
