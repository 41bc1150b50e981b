"""Settings of a manager: frozen, complete with defaults, checked as a whole.

Given in code as a mapping or a :class:`Settings`, or as the path of a TOML or JSON file::

    [kafka]                               # any librdkafka property; the address is bootstrap.servers
    "bootstrap.servers" = "localhost:9092"
    [defaults]
    memory_budget = 268435456
    [tables.Order]                        # by entity, topic or logical name
    backend = "lmdb"

Every fault is reported at once, each with its key's path.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from statestore.errors import ConfigError

OnMissing = Literal["fail", "rebuild"]
Connect = Literal["eager", "lazy"]

OWNED_PROPERTIES: dict[str, str] = {
    "enable.auto.commit": "positions are kept in the store, together with the data",
    "enable.auto.offset.store": "positions are kept in the store, together with the data",
    "auto.offset.reset": "a position that the broker no longer has is a decision, never a silent jump",
    "isolation.level": "aborted transactions must never reach a store (read_committed)",
    "enable.partition.eof": "the end of a partition is how readiness is told",
    "group.id": "partitions are assigned by hand: a mirror needs all of them",
    "group.instance.id": "partitions are assigned by hand: a mirror needs all of them",
    "partition.assignment.strategy": "partitions are assigned by hand: a mirror needs all of them",
    "allow.auto.create.topics": "binding a topic must never create it",
    "error_cb": "the library listens to it",
    "on_commit": "nothing is committed",
}
"""librdkafka properties that the library sets itself, each with the reason."""

SECRET_WORDS = ("password", "secret", "token", "key.pem", "jaas", "credential")


S = TypeVar("S", bound=BaseModel)


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(gt=0)]


class Defaults(_Section):
    """Section ``[defaults]``: what holds for every table unless it says otherwise."""

    memory_budget: Annotated[int, Field(ge=16 << 20)] = 256 << 20
    """Bytes for all stores, caches and Kafka queues of the manager together.

    Half is for an engine's block cache and write buffers, a quarter for what a restore gathers before it is
    written, an eighth for the record cache and an eighth for the queues of both consumers.
    """
    on_missing: OnMissing = "fail"
    """What to do with a local copy that is missing or cannot be continued: fail, or rebuild it from Kafka."""
    max_lag: Count | None = None
    """Records a ready table may fall behind before it is not ready; None: any number."""
    max_staleness: Seconds | None = None
    """Seconds since the broker last confirmed the end before a ready table is not ready; None: any time."""
    request_timeout: Seconds = 30.0
    """Longest wait for one answer of the broker, in seconds."""
    flush_interval: Seconds = 30.0
    """Seconds until applied records are durable."""
    flush_bytes: Count = 64 << 20
    """Applied bytes after which they are made durable before the interval is over."""
    retry_waits: tuple[Annotated[float, Field(ge=0)], ...] = (1.0, 2.0, 4.0, 8.0)
    """Seconds between the tries of a failing store write or admin call; one more try than waits."""
    auto_restart: bool = True
    """Whether a failing write is tried again at all; False makes the first failure final."""
    confirm_interval: Seconds = 5.0
    """Seconds between two questions to the broker where the ends of the bound topics are."""
    progress_interval: Seconds = 5.0
    """Seconds between two progress events of one restoring table."""
    health_interval: Annotated[float, Field(ge=0)] = 30.0
    """Seconds between two looks for unhealthy tables to log; 0 turns them off."""

    @field_validator("retry_waits", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value


class TableSettings(_Section):
    """Section ``[tables.NAME]``; ``None`` takes the default."""

    backend: str | None = None
    on_missing: OnMissing | None = None
    max_lag: Count | None = None
    max_staleness: Seconds | None = None


class Settings(_Section):
    """All settings of one manager. Immutable; ``repr`` shows no librdkafka property that is a secret."""

    kafka: Annotated[Mapping[str, Any], Field(repr=False)] = Field(default_factory=dict)
    defaults: Defaults = Defaults()
    backends: Mapping[str, Mapping[str, Any]] = Field(default_factory=dict)
    """Options by backend name, as its options dataclass names them."""
    tables: Mapping[str, TableSettings] = Field(default_factory=dict)

    @field_validator("kafka")
    @classmethod
    def _not_owned(cls, value: Mapping[str, Any]) -> Mapping[str, Any]:
        owned = [f"{key}: {OWNED_PROPERTIES[key]}" for key in value if key in OWNED_PROPERTIES]
        if owned:
            raise ValueError("set by the library itself: " + "; ".join(owned))
        return dict(value)

    def __str__(self) -> str:
        return f"Settings(kafka={redacted(self.kafka)}, defaults={self.defaults!r}, tables={self.tables!r})"

    __repr__ = __str__


def redacted(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of librdkafka ``properties`` that is safe to show."""
    return {
        key: "***" if any(word in key.lower() for word in SECRET_WORDS) else value
        for key, value in properties.items()
    }


def load_settings(source: Settings | Mapping[str, Any] | str | Path | None) -> Settings:
    """Return settings from code or from a TOML or JSON file (told by its suffix).

    Raises ``ConfigError`` that lists every unknown key and bad value with its path.
    """
    if source is None:
        return Settings()
    if isinstance(source, Settings):
        return source
    if isinstance(source, Mapping):
        return _validated(source, "settings", Settings)
    path = Path(source)
    return _validated(_parsed(path), str(path), Settings)


def _parsed(path: Path) -> Any:
    parsers = {".toml": tomllib.loads, ".json": json.loads}
    if path.suffix not in parsers:
        raise ConfigError(f"{path}: the name of a settings file ends in .toml or .json")
    try:
        return parsers[path.suffix](path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:  # both parsers' errors, and bytes that are not UTF-8
        raise ConfigError(f"{path}: {error}") from error


def table_settings(where: str, **given: Any) -> TableSettings:
    """Return settings of one table given in code; raises ``ConfigError`` like :func:`load_settings`."""
    return _validated(given, where, TableSettings)


def _validated(data: Any, where: str, kind: type[S]) -> S:
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        # include_input=False: a value may be a secret
        faults = [
            f"{where}: {'.'.join(str(part) for part in fault['loc']) or '(top)'}: {fault['msg']}"
            for fault in error.errors(include_input=False, include_url=False)
        ]
    raise ConfigError(faults)
