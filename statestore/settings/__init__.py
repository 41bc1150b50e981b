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

from statestore.settings.sections import (
    CleanupPolicy,
    Compatibility,
    Connect,
    Defaults,
    DlqSettings,
    KsqlSettings,
    LoggingSettings,
    OnMissing,
    RegistrySettings,
    Settings,
    TableSettings,
    TopicSettings,
    WindowSettings,
    redacted,
)
from statestore.settings.sources import load_settings, table_settings

__all__ = [
    "CleanupPolicy",
    "Compatibility",
    "Connect",
    "Defaults",
    "DlqSettings",
    "KsqlSettings",
    "LoggingSettings",
    "OnMissing",
    "RegistrySettings",
    "Settings",
    "TableSettings",
    "TopicSettings",
    "WindowSettings",
    "load_settings",
    "redacted",
    "table_settings",
]
