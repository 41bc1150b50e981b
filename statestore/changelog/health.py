"""What a table reports of itself."""

from __future__ import annotations

import time
from typing import Any

from statestore.changelog.readiness import State
from statestore.changelog.status import Status


class Health(dict[str, Any]):
    """One table's health: JSON-serialisable, and one line as ``str``."""

    def __str__(self) -> str:
        lag = "unknown" if self["lag"] is None else self["lag"]
        text = (
            f"Topic: {self['topic']}, Status: {self['state']}, Lag: {lag}, Partitions: {self['partitions']}"
        )
        if self["time_to_ready"] is not None:
            text += f", Ready in: {self['time_to_ready']:.1f}s"
        if self["reason"]:
            text += f", Reason: {self['reason']}"
        return text


def table_health(table: Status) -> Health:
    """Return what is known of ``table`` now. Times are seconds since the epoch, sizes bytes."""
    with table.changed:
        mirror = table.mirror
        progress, counts, identity = mirror.progress, mirror.counts, mirror.identity
        directory, store = mirror.directory, mirror.store
        return Health(
            topic=table.topic,
            store=table.name,
            path=str(mirror.path),
            cache=table.options.persistent,
            cache_reason=table.options.cache_reason,
            ttl=table.options.ttl,
            max_bytes=table.options.max_bytes,
            state=str(table.state),
            since=table.machine.since,
            reason=str(table.reason),
            cause=table.machine.cause,
            running=table.machine.running,
            ready=table.ready,
            lag=progress.lag,
            lag_by_partition={str(number): lag for number, lag in progress.lag_by_partition.items()},
            positions={str(number): one.position for number, one in progress.partitions.items()},
            end_offsets={str(number): one.end for number, one in progress.partitions.items()},
            partitions=mirror.partition_count,
            staleness=progress.staleness(time.time()),
            size=None if store is None or table.state is State.FAILED else store.backend.size(),
            last_error=None if table.machine.failure is None else str(table.machine.failure),
            time_to_ready=table.machine.time_to_ready,
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
