"""Options of the memory engine."""

from __future__ import annotations

from dataclasses import dataclass

from statestore.errors import ConfigError


@dataclass(frozen=True)
class MemoryOptions:
    """Options of the memory engine."""

    max_bytes: int | None = None
    """Bytes of keys and values that one store may hold; a write beyond raises ``StoreFullError``.

    ``None``, the default, sets no bound. Set it where a runaway topic must not take the process down. The
    bookkeeping comes on top, about 150 bytes a pair.
    """

    def __post_init__(self) -> None:
        if self.max_bytes is not None and self.max_bytes < 1:
            raise ConfigError(f"MemoryOptions.max_bytes must be None or >= 1, not {self.max_bytes}")
