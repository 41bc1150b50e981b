"""What a mirror counts, for ``health()``."""

from __future__ import annotations

from dataclasses import dataclass


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
    """Rows applied under a JSON key in another text; scans of an Avro key under an unknown schema."""
    skipped: int = 0
    """Records that were passed over since they do not decode or their key is too long; ``records`` does not
    count them."""
    long_keys: int = 0
    """Records whose key is longer than the store takes: skipped, or before which the table failed."""
    stray_records: int = 0
    """Records that lie elsewhere than a known partitioner puts their key."""
    keys_in_several_partitions: int = 0
    """How many keys were found to have records in several partitions."""
    expired: int = 0
    """Rows removed because of their age."""
    divided_transactions: int = 0
    """Batches that ended where a transaction may go on: it was larger than what is held back for one."""
    restarts: int = 0
    cache_hits: int = 0
    """Reads by key that the record caches of closed stores answered."""
    cache_misses: int = 0
