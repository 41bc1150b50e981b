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

from statestore.settings.base import Section
from statestore.settings.engines import make_options
from statestore.settings.levels import set_log_levels
from statestore.settings.options import (
    OnLongKey,
    OnMissing,
    OnScan,
    OnUndecodable,
    TableOptions,
    TableSection,
    TableSettings,
    WindowSettings,
    window_label,
)
from statestore.settings.paths import SettingPath, dotted
from statestore.settings.sections import (
    CleanupPolicy,
    Compatibility,
    Connect,
    Defaults,
    KsqlSettings,
    LoggingSettings,
    Partitioner,
    RegistrySettings,
    Role,
    Settings,
    TopicSettings,
)
from statestore.settings.sources import (
    DEFAULT,
    LayeredSettings,
    SettingsArgument,
    SettingsCheck,
    SettingsSource,
    checked_table_settings,
    layer_settings,
    load_settings,
)

__all__ = [
    "DEFAULT",
    "CleanupPolicy",
    "Compatibility",
    "Connect",
    "Defaults",
    "KsqlSettings",
    "LayeredSettings",
    "LoggingSettings",
    "OnMissing",
    "OnScan",
    "OnLongKey",
    "OnUndecodable",
    "Partitioner",
    "RegistrySettings",
    "Role",
    "Section",
    "SettingPath",
    "Settings",
    "SettingsArgument",
    "SettingsCheck",
    "SettingsSource",
    "TableOptions",
    "TableSection",
    "TableSettings",
    "TopicSettings",
    "WindowSettings",
    "checked_table_settings",
    "dotted",
    "layer_settings",
    "load_settings",
    "make_options",
    "set_log_levels",
    "window_label",
]
