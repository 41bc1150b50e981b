"""The events of a table, and its listeners."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from statestore.changelog.readiness import State
from statestore.runtime.worker import Worker


@dataclass(frozen=True, slots=True)
class StateChange:
    """A table entered a state."""

    table: str
    """The table's logical name."""
    window: str | None
    """The label of the window, of a window's table; else ``None``."""
    state: State
    """The state that the table is in now."""
    cause: str
    """Why, in one sentence."""
    time: float
    """When, in seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class RestoreProgress:
    """How far a restore is."""

    table: str
    """The table's logical name."""
    lag: int | None
    """Offsets still to apply; ``None``: not known yet."""
    records: int
    """Records applied since the start."""
    rate: float
    """Records applied per second since the start."""
    eta: float | None
    """Seconds until the end is reached at this rate; ``None``: not known."""


@dataclass(slots=True)
class Listeners:
    """One table's callbacks. They run in order on ``thread``; the owner's lock guards the lists."""

    thread: Worker
    on_state: list[Callable[[StateChange], None]] = field(default_factory=list)
    on_ready: list[Callable[[], None]] = field(default_factory=list)
    on_progress: list[Callable[[RestoreProgress], None]] = field(default_factory=list)

    def state_changed(self, event: StateChange, *, ready: bool) -> None:
        """Tell of a new state, and of readiness where ``ready`` has just become true."""
        for on_state in self.on_state:
            self.tell(on_state, event)
        if ready:
            for on_ready in self.on_ready:
                self.thread.soon(on_ready)

    def progressed(self, event: RestoreProgress) -> None:
        for call in self.on_progress:
            self.thread.soon(lambda call=call: call(event))  # type: ignore[misc]

    def tell(self, call: Callable[[StateChange], None], event: StateChange) -> None:
        self.thread.soon(lambda: call(event))
