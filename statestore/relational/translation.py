"""What translates a query. It reads queries, so it stands above this package, and is told to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

Emit = Literal["changes", "final"]
"""When ksqlDB returns or writes a row: at each change, or once a window is closed."""

_translators: list[Callable[[Any, Emit | None], str]] = []


def translate_with(translator: Callable[[Any, Emit | None], str]) -> None:
    """Have ``Query.to_ksql`` return what ``translator(query, emit)`` returns."""
    _translators[:] = [translator]


def translated(query: Any, emit: Emit | None) -> str:
    """Return a query as a SELECT of ksqlDB. Raises ``KsqlError``."""
    (translator,) = _translators  # told by query/facade.py, which `import statestore` loads
    return translator(query, emit)
