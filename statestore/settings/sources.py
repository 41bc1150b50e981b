"""Where settings come from: code, or a TOML or JSON file."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from statestore.errors import ConfigError
from statestore.settings.sections import Settings, TableSettings

S = TypeVar("S", bound=BaseModel)


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
