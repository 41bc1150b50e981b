"""Options of the memory engine."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from statestore.backends.options import EngineOptions


class MemoryOptions(EngineOptions):
    """Options of the memory engine."""

    max_bytes: Annotated[int, Field(ge=1)] | None = None
    """Bytes of keys and values that one store may hold; a write beyond raises ``StoreFullError``.

    ``None``, the default, sets no bound. Set it where a runaway topic must not take the process down. The
    bookkeeping comes on top, about 150 bytes a pair.
    """
