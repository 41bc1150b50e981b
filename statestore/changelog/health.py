"""What a table reports of itself. ``docs/health.md`` explains every field."""

from __future__ import annotations

import time
from dataclasses import dataclass

from statestore.changelog.readiness import Reason, State
from statestore.changelog.status import Status
from statestore.changelog.undecodable import SkippedRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class TableHealth:
    """One table's health: ``str`` gives one line, ``dataclasses.asdict`` what ``json.dumps`` takes.

    Times are seconds since the epoch, sizes are bytes, and counters count since the table was bound.
    """

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
    """Seconds after its record's timestamp at which a row ends; ``None``: never."""
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
    """Offsets still to apply, over all partitions; ``None`` while that of one partition is unknown."""
    lag_by_partition: dict[int, int | None]
    """Offsets still to apply in each partition; ``None``: the broker has not told the end yet."""
    positions: dict[int, int]
    """The next offset to apply in each partition."""
    end_offsets: dict[int, int | None]
    """The newest end known of each partition, as last stable offset; ``None``: not known yet."""
    partitions: int | None
    """How many partitions the topic has; ``None``: the broker has not told yet."""
    staleness: float | None
    """Seconds since the last moment at which the mirror is known to have had everything; ``None``: never."""
    size: int | None
    """Bytes of the store; ``None`` while it is closed or the table has failed."""
    last_error: str | None
    """The failure of a ``FAILED`` table, with its remedy; else ``None``."""
    time_to_ready: float | None
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
    """How many times a scan met a key in another encoding than ours, which ``get`` does not find."""
    skipped: int
    """Records that do not decode and were passed over (``on_undecodable="skip"``)."""
    last_skipped: SkippedRecord | None
    """The last of the skipped records; ``None``: there was none."""
    expired: int
    """Rows removed because of their age (``ttl``)."""
    restarts: int
    """How many times ``restart()`` was called."""
    decoder: str | None = None
    """What makes an entity table's rows: ``native`` or ``msgspec``; ``None`` for a table of bytes."""
    key_mismatches: int = 0
    """Values with a key field that differed from the key, which wins."""
    overlong: int = 0
    """Values that are longer than their field's ``MaxLength``."""

    def __str__(self) -> str:
        known = ["unknown" if one is None else one for one in (self.lag, self.partitions)]
        text = f"Topic: {self.topic}, Status: {self.status}, Lag: {known[0]}, Partitions: {known[1]}"
        if self.binding_for is not None:
            text += f", Binding for: {self.binding_for:.1f}s"
        elif self.ready and self.time_to_ready is not None:
            text += f", Ready in: {self.time_to_ready:.1f}s"
        return f"{text}, Reason: {self.reason}" if self.reason else text


def table_health(table: Status) -> TableHealth:
    """Return what is known of ``table`` now."""
    with table.changed:
        now = time.time()
        mirror, machine, options = table.mirror, table.machine, table.options
        progress, counts, identity = mirror.progress, mirror.counts, mirror.identity
        directory, store = mirror.directory, mirror.store
        waits = machine.running and not machine.ready and machine.started_at is not None
        return TableHealth(
            topic=table.topic,
            store=table.name,
            path=str(mirror.path),
            persistent=options.persistent,
            cache_reason=options.cache_reason,
            ttl=options.ttl,
            max_bytes=options.max_bytes,
            status=machine.state,
            since=machine.since,
            reason=machine.reason,
            cause=machine.cause,
            running=machine.running,
            ready=machine.ready,
            lag=progress.lag,
            lag_by_partition=progress.lag_by_partition,
            positions={number: one.position for number, one in progress.partitions.items()},
            end_offsets={number: one.end for number, one in progress.partitions.items()},
            partitions=mirror.partition_count,
            staleness=progress.staleness(now),
            size=None if store is None or machine.state is State.FAILED else store.size(),
            last_error=None if machine.failure is None else str(machine.failure),
            time_to_ready=machine.time_to_ready,
            binding_for=now - machine.started_at if waits and machine.started_at is not None else None,
            fetcher=table.fetcher,
            topic_id=identity.topic_id or "unknown",
            cleanup_policy=identity.cleanup_policy or "unknown",
            delete_retention_ms=identity.delete_retention_ms,
            generation=None if directory is None else directory.file.generation,
            records=counts.records,
            upserts=counts.upserts,
            tombstones=counts.tombstones,
            null_keys=counts.null_keys,
            bytes=counts.bytes,
            write_failures=counts.write_failures,
            decode_errors=counts.decode_errors,
            duplicate_keys=counts.duplicate_keys,
            non_canonical_keys=counts.non_canonical_keys,
            skipped=counts.skipped,
            last_skipped=mirror.skips.report(),
            expired=counts.expired,
            restarts=counts.restarts,
        )
