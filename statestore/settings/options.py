"""The options of a table: what one source says (``TableSettings``), and what holds (``TableOptions``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from statestore.settings.base import Count, Seconds, Section

OnMissing = Literal["fail", "rebuild"]
OnUndecodable = Literal["raise", "fail", "skip"]


@dataclass(frozen=True, slots=True)
class TableOptions:
    """What holds for one table. The binding, the opening of its store and ``health`` get it whole.

    The three sources of it, the entity class, the settings and ``bind``, are a :class:`TableSettings` each.
    A new option touches three files: this one (``TableSettings`` and here), ``entity/arguments.py`` where a
    class may state it, and the module that acts on it. An option that ``bind`` takes is an argument of it,
    too, and one with a default for all tables stands in ``Defaults``.
    """

    backend: str = "rocksdb"
    on_missing: OnMissing = "fail"
    max_lag: int | None = None
    """Records a ready table may fall behind; ``None``: any number."""
    max_staleness: float | None = None
    """Seconds since the broker last confirmed the end; ``None``: any time."""
    persistent: bool = True
    """Whether the store outlives the process: the setting ``cache``."""
    cache_reason: str | None = None
    """Why it does not, in the words of the class."""
    compression: str | None = None
    """How the store is compressed; ``None``: as its engine does it."""
    ttl: float | None = None
    """Seconds after its record's timestamp at which a row ends; ``None``: never."""
    max_bytes: int | None = None
    """Bytes the store may take; ``None``: any number."""
    on_undecodable: OnUndecodable = "raise"


class TableSettings(Section):
    """What holds for one table, named by entity, topic or logical name; what is not set is by default."""

    backend: str | None = None
    """Storage engine of the table's store: rocksdb, lmdb, memory, or an installed one."""
    on_missing: OnMissing | None = None
    """What to do with a local copy that is missing or cannot be continued: fail, or rebuild it from Kafka."""
    max_lag: Count | None = None
    """Records the table may fall behind once ready before it is not ready."""
    max_staleness: Seconds | None = None
    """Seconds since the broker last confirmed the end before the table, once ready, is not ready."""
    cache: bool | None = None
    """Whether the store is kept on disk; false: in memory only, and read anew from Kafka at each start."""
    compression: str | None = None
    """How the store is compressed, by rocksdb: none, lz4, zstd or snappy; not set: as its engine does it."""
    ttl: Seconds | None = None
    """Seconds after a record's timestamp at which its row ends: hidden at once, gone from disk soon after."""
    max_bytes: Count | None = None
    """Bytes the store may take; beyond them the table fails, with nothing dropped."""
    on_undecodable: OnUndecodable | None = None
    """What to do with a record that does not decode: raise when it is read, fail the table, or skip it."""
