"""Paths of settings, and the type at each path, from the pydantic models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, SecretStr

from statestore.settings.sections import Settings

SettingPath = tuple[str, ...]
"""The names from the top to a setting: ``("tables", "Order", "max_lag")``."""


_UNREAD = {("dlq",), *(("logging", name) for name in ("query", "windowing"))}


def is_unread(path: SettingPath) -> bool:
    """Whether ``path`` belongs to a part of the library that this version does not have."""
    return path in _UNREAD


def dotted(path: SettingPath) -> str:
    """Return ``path`` as messages show it."""
    return ".".join(path)


def type_at(path: SettingPath) -> Any:
    """Return the type of the setting at ``path``; ``None`` if there is none."""
    kind: Any = Settings
    for name in path:
        if is_section(kind):
            field = kind.model_fields.get(name)
            kind = None if field is None else field.annotation
        elif get_origin(kind) is Mapping:
            kind = get_args(kind)[1]
        else:
            return None
    return kind


def is_section(kind: Any) -> bool:
    """Whether ``kind`` is a section whose names are fixed."""
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def is_nested(kind: Any) -> bool:
    """Whether ``kind`` contains settings, rather than being a value."""
    return is_section(kind) or get_origin(kind) is Mapping


def is_text(kind: Any) -> bool:
    """Whether a value of ``kind`` is written as text."""
    if get_origin(kind) is Literal:
        return all(isinstance(choice, str) for choice in get_args(kind))
    return kind in (str, SecretStr) or any(is_text(one) for one in get_args(kind))
