"""The options of a table: what one source sets (``TableSettings``), and the result (``TableOptions``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast

from pydantic import AfterValidator, BeforeValidator, Field

from statestore.errors import ConfigError
from statestore.fields.windows import WindowSpec, window
from statestore.naming import check_topic_name
from statestore.settings.base import Count, Seconds, Section

OnMissing = Literal["fail", "rebuild"]
OnUndecodable = Literal["raise", "fail", "skip"]
OnLongKey = Literal["fail", "skip"]
OnScan = Literal["allow", "warn", "error"]


@dataclass(frozen=True, slots=True)
class TableOptions:
    """The options of one table. Its binding, the opening of its store and ``health`` get all of them.

    The entity class, the settings and ``bind`` are their three sources; each gives a :class:`TableSettings`.
    To add an option, change three files: this one (a setting in ``TableSettings`` and a field here),
    ``entity/arguments.py`` if a class may state it, and the module that acts on it. An option that ``bind``
    takes also becomes an argument of ``bind``; a default for all tables belongs in ``Defaults``.
    """

    backend: str = "rocksdb"
    on_missing: OnMissing = "fail"
    max_lag: int | None = None
    """Records a ready table may be behind its topic; ``None``: any number."""
    max_staleness: float | None = None
    """Seconds a ready table may go without the broker confirming the end; ``None``: any time."""
    persistent: bool = True
    """Whether the store outlives the process: the setting ``cache``."""
    cache_reason: str | None = None
    """Why the store is in memory only, as the class says."""
    compression: str | None = None
    """Compression of the store; ``None``: the engine's own setting."""
    ttl: float | None = None
    """Seconds after a record's timestamp when its row expires; ``None``: never."""
    max_bytes: int | None = None
    """Bytes the store may take; ``None``: any number."""
    on_undecodable: OnUndecodable = "raise"
    on_long_key: OnLongKey = "fail"
    on_scan: OnScan = "allow"


class TableSettings(Section):
    """What one source may set of a table; unset is ``None``."""

    backend: str | None = None
    """Storage engine of the table's store: rocksdb, lmdb, memory, or an installed one."""
    on_missing: OnMissing | None = None
    """When the local copy is missing or cannot be continued: fail the table, or rebuild it from Kafka."""
    max_lag: Count | None = None
    """Records a ready table may be behind its topic; with more it is not ready."""
    max_staleness: Seconds | None = None
    """Seconds a ready table may go without the broker confirming the topic's end; then it is not ready."""
    cache: bool | None = None
    """Whether the store is on disk; with false it is in memory, and each start reads the topic again."""
    compression: str | None = None
    """Compression of the store by rocksdb: none, lz4, zstd or snappy; not set: the engine's own setting."""
    ttl: Seconds | None = None
    """Seconds after a record's timestamp when its row expires: hidden at once, removed from disk later."""
    max_bytes: Count | None = None
    """Bytes the store may take; a larger store fails its table, and no row is dropped."""
    on_undecodable: OnUndecodable | None = None
    """When a record does not decode: raise when its row is read, fail the table, or skip the record."""
    on_long_key: OnLongKey | None = None
    """When a record's key is longer than the store takes: fail the table, or skip the record."""
    on_scan: OnScan | None = None
    """When a query must look at all rows to answer: allow it, warn in the log, or raise QueryError."""


def window_label(spec: object) -> str:
    """Return the label of the window that a section names: ``60min`` for ``1h``.

    Raises ``ConfigError`` for what is not a window.
    """
    if isinstance(spec, str):
        if spec == "sessions" or "_by_" in spec:  # no size alone, and one spelling only
            return spec
        return window(int(spec) if spec.isdecimal() else spec).label
    return window(cast("WindowSpec", spec)).label


def _labelled(sections: Any) -> Any:
    """Name each section of ``windows`` by its window's label, so that sources which spell it differently
    are merged."""
    if not isinstance(sections, Mapping):
        return sections
    found: dict[str, Any] = {}
    spelled: dict[str, Any] = {}
    for spec, section in sections.items():
        try:
            label = window_label(spec)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        if label in found:
            raise ValueError(f"{spelled[label]!r} and {spec!r} are the same window, {label!r}: keep one")
        found[label], spelled[label] = section, spec
    return found


def _legal_topic(name: str) -> str:
    try:
        return check_topic_name(name)
    except ConfigError as error:
        raise ValueError(str(error)) from None


class WindowSettings(TableSettings):
    """Settings of one window's table, by the window's label; unset ones are as in its [tables.NAME]."""

    topic: Annotated[str, AfterValidator(_legal_topic)] | None = None
    """Topic that holds the rows of this window; not set: the one that the entity class says."""
    store_name: Annotated[str, Field(min_length=1)] | None = None
    """Logical name of this window's store; not set: made of the entity's and the window's label."""


class TableSection(TableSettings):
    """Settings of one table, named by entity, topic or logical name; unset ones are as in [defaults]."""

    windows: Annotated[Mapping[str, WindowSettings], BeforeValidator(_labelled)] = Field(default_factory=dict)
    """Settings of the tables of single windows, by label ("5min"), of an entity with windows."""
