"""What a process that only reads a table tells the table's state machine."""

from __future__ import annotations

from dataclasses import dataclass

from statestore.changelog.readiness import Reason, State
from statestore.errors import StoreUnavailableError


@dataclass(frozen=True, slots=True)
class OwnersWord:
    """The words of the owner, as far as this process's view of the store confirms them."""

    state: State
    reason: Reason
    """What a restoring table waits for."""
    cause: str
    ready: bool = False
    """Whether a paused table is read."""
    bereft: bool = False
    """Whether reads go on although the table is not ready, since its owner has ended."""
    failure: StoreUnavailableError | None = None
    is_new_start: bool = False
    """Whether the owner, or the start of its table, is another than at the last word."""
    started_at: float | None = None
    time_to_ready: float | None = None
