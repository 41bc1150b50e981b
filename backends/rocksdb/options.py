"""Options of the RocksDB engine."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from statestore.backends.options import EngineOptions

Compression = Literal["none", "lz4", "zstd", "snappy"]


class RocksDBOptions(EngineOptions):
    """Options of the RocksDB engine; all stores opened through one engine have the same."""

    compression: Compression = "lz4"
    """Compression of blocks on disk: ``none``, ``lz4``, ``zstd`` or ``snappy``.

    ``lz4`` costs little time. ``zstd`` takes a third less disk and about twice the time of a cold read:
    choose it where disk is short; ``none`` where values are compressed already.
    """

    sync: bool = True
    """Whether a write to a store *without a changelog* returns only when it survives power loss.

    With ``False`` it survives the death of the process, and power loss takes the last seconds. Turn it off
    where the loss of those is acceptable: a write then takes microseconds instead of the disk's milliseconds.
    Stores with a changelog have no write-ahead log, and this does not concern them.
    """

    block_size: Annotated[int, Field(ge=1 << 10, le=4 << 20)] = 4096
    """Bytes of uncompressed data per block, the unit that is read, cached and compressed; 1 KiB to 4 MiB.

    Raise it to 16 or 32 KiB where scans matter more than cold reads, or memory for the index is short.
    """

    bloom_bits: Annotated[int, Field(ge=0, le=64)] = 10
    """Bits of Bloom filter per key; 0 turns it off.

    10 spares 99 of 100 useless disk reads of a point read. Lower it only where memory is very short and keys
    are nearly always present.
    """

    write_buffer_share: Annotated[float, Field(ge=0.05, le=0.75)] = 0.25
    """Part of the memory budget that all memtables together may take, 0.05 to 0.75; the rest caches blocks.

    Raise it for stores that are written much and read little.
    """

    max_write_buffer: Annotated[int, Field(ge=65536)] = 64 * 1024 * 1024
    """Most bytes one memtable takes before it is flushed to a file, from 64 KiB.

    A small budget lowers it further. Raise it together with the budget, for restores on slow disks.
    """

    max_open_files: int = 256
    """Files that one store keeps open, from 16; ``-1`` for all of them.

    A file has up to 64 MiB, so 256 are enough for 15 GiB. Raise it for larger stores: opening a file again
    costs a cold read. Where the process may not have so many files open, stores get fewer.
    """

    background_jobs: Annotated[int, Field(ge=1)] = 2
    """Threads that flush and compact, from 1, shared by all stores of the process.

    Raise it to the number of cores where writes stall.
    """

    stall_timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 60.0
    """Seconds a write waits while RocksDB cannot keep up with flushing and compacting; above 0.

    After that it raises ``StoreUnavailableError``. Raise it on very slow disks.
    """

    @field_validator("max_open_files")
    @classmethod
    def _all_or_enough(cls, value: int) -> int:
        if value != -1 and value < 16:
            raise ValueError("must be -1, or 16 or more")
        return value
