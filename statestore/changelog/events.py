"""What a table tells its listeners, and who they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from statestore.changelog.readiness import State
from statestore.runtime.worker import Worker


@dataclass(frozen=True, slots=True)
class StateChange:
    """``table`` entered ``state`` at ``time`` (seconds since the epoch) because of ``cause``."""

    table: str
    window: str | None
    state: State
    cause: str
    time: float


@dataclass(frozen=True, slots=True)
class RestoreProgress:
    """How far a restore is: ``rate`` in records/s, ``eta`` in seconds; ``None`` is not known."""

    table: str
    lag: int | None
    records: int
    rate: float
    eta: float | None


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
