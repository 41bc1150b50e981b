"""Settings from environment variables.

``STATESTORE_`` and the path of the setting, its parts joined with ``__``::

    STATESTORE_DEFAULTS__MAX_LAG=1000               defaults.max_lag
    STATESTORE_TABLES__Order__BACKEND=lmdb          tables.Order.backend
    STATESTORE_KAFKA__BOOTSTRAP_SERVERS=b:9092      kafka."bootstrap.servers"
    STATESTORE_TABLES='{"my-topic": {"max_lag": 5}}'

Sections, settings and backends are written in capitals or not; names of tables and topics as they are. In a
property of Kafka's ``_`` stands for ``.``, and ``__`` too. Text is taken as it is, all else is JSON, and a
whole section is a JSON object.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from typing import Any, get_origin

from statestore.errors import ConfigError
from statestore.settings.json_text import GivenTwiceError, parse_json
from statestore.settings.options import window_label
from statestore.settings.paths import SettingPath, dotted, is_nested, is_section, is_text, is_unread, type_at

log = logging.getLogger("statestore.store")

PREFIX = "STATESTORE_"
FILE_VARIABLE = "STATESTORE_SETTINGS"
"""The variable that names the settings file, if the code names none."""
NOT_SETTINGS = frozenset(
    f"{PREFIX}{name}"
    for name in (
        "BUILD",
        "KAFKA_JARS",
        "PROOF",
        "PURE_PYTHON",
        "SETTINGS",
        "SOAK",
        "TEST_KAFKA",
        "TEST_KSQLDB",
        "WITHOUT",
    )
)
"""Variables with our prefix that are not settings."""


def read_environment(environment: Mapping[str, str], faults: list[str]) -> tuple[Any, dict[SettingPath, str]]:
    """Return the settings in ``environment``, nested as the sections are, and the variable of each.

    Appends a fault for each variable that is wrong. One that names no section may be meant for something
    else (Kubernetes makes ``STATESTORE_PORT`` for a service named statestore): it is only warned of.
    """
    settings: dict[str, Any] = {}
    variables: dict[SettingPath, str] = {}
    ours = [name for name in environment if name.startswith(PREFIX) and name not in NOT_SETTINGS]
    unknown = []
    for name in sorted(ours, key=lambda one: (one.count("__"), one)):  # a section before what is in it
        path = _path(name.removeprefix(PREFIX).split("__"))
        if len(path) == 1 and type_at(path) is None and not is_unread(path):
            unknown.append(name)
        elif path in variables:
            faults.append(f"environment {name}: {variables[path]} also sets {dotted(path)}: keep one of them")
        else:
            variables[path] = name
            try:
                fault = _put(settings, path, _value(path, environment[name]))
            except GivenTwiceError as error:
                fault = str(error)
            if fault is not None:
                faults.append(f"environment {name}: {fault}")
    if unknown:
        log.warning("ignored, since they name no setting: environment variables %s", ", ".join(unknown))
    return settings, variables


def _path(parts: list[str]) -> SettingPath:
    path: SettingPath = ()
    for number, part in enumerate(parts):
        kind = type_at(path)
        if is_section(kind) or path[:1] == ("backends",):
            name = part.lower()
        elif path == ("kafka",) or (get_origin(kind) is Mapping and path[-1:] == ("config",)):
            name = ".".join(parts[number:]).lower().replace("_", ".")
            return (*path, name)
        else:
            name = _labelled(part) if path[-1:] == ("windows",) else part
        path = (*path, name)
    return path


def _labelled(spec: str) -> str:
    """Return the label of a window, as the settings have it; what is no window is told of later."""
    with contextlib.suppress(ConfigError):
        return window_label(spec)
    return spec


def _value(path: SettingPath, text: str) -> Any:
    kind = type_at(path)
    if path[:1] == ("kafka",) and not text.lstrip().startswith("{"):
        return text
    if kind is not None and not is_nested(kind) and is_text(kind):
        return text
    try:
        return parse_json(text)
    except GivenTwiceError:
        raise
    except ValueError:
        return text  # the model says what it should be


def _put(settings: dict[str, Any], path: SettingPath, value: Any) -> str | None:
    """Put ``value`` in its place; return a fault if it cannot stand there."""
    if path == ("kafka",) and isinstance(value, str) and not value.lstrip().startswith("{"):
        value = {"bootstrap.servers": value}  # a property of its own may follow
    if is_nested(type_at(path)) and not isinstance(value, dict):
        return f"{dotted(path)} is a section: give a JSON object, or single settings ({PREFIX}…__NAME)"
    inner = settings
    for name in path[:-1]:
        inner = inner.setdefault(name, {})
        if not isinstance(inner, dict):
            return f"{dotted(path)}: what should contain it is not a section"
    inner[path[-1]] = value
    return None
