"""The result of ``StoreManager.explain()``."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Self

from pydantic import SecretStr

from statestore.manager.resolve import ExplainedSetting
from statestore.runtime.text import HIDDEN
from statestore.settings import dotted


class Explanation(dict[str, dict[str, Any]]):
    """For each setting, by its dotted path: its ``value`` (secrets are ``***``) and where it comes ``from``.

    JSON-serialisable, and a table as ``str``.
    """

    @classmethod
    def of(cls, settings: Iterable[ExplainedSetting]) -> Self:
        """Return the explanation that consists of ``settings``."""
        entries = {dotted(one.path): {"value": _plain(one.value), "from": one.origin} for one in settings}
        return cls(sorted(entries.items()))

    def table(self) -> tuple[tuple[str, str, str], list[tuple[str, str, str]]]:
        """Return the names of the columns, and the rows, as text."""
        rows = [(path, _shown(entry["value"]), str(entry["from"])) for path, entry in self.items()]
        return ("setting", "value", "from"), rows

    def __str__(self) -> str:
        columns, entries = self.table()
        rows = [columns, *entries]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        )


def _plain(value: Any) -> Any:
    """Return ``value`` for JSON, without secrets."""
    if isinstance(value, SecretStr):
        return HIDDEN
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return f"<{type(value).__name__}>"  # a callback of the Kafka client


def _shown(value: Any) -> str:
    return "-" if value is None else value if isinstance(value, str) else json.dumps(value)
