"""A bound topic: its readiness, its health, and its start and stop."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

from statestore.changelog.binding import Binding
from statestore.changelog.events import RestoreProgress, StateChange
from statestore.changelog.health import TableHealth, table_health
from statestore.changelog.readiness import Reason, State
from statestore.producing.mixins import DeliveryWaitMixin


class BoundTopic(DeliveryWaitMixin):
    """All that a table can do but reading and writing. Thread-safe."""

    def __init__(self, binding: Binding) -> None:
        self._binding = binding

    @property
    def name(self) -> str:
        """The logical store name."""
        return self._binding.name

    @property
    def topic(self) -> str:
        return self._binding.topic

    @property
    def state(self) -> State:
        return self._binding.state

    @property
    def reason(self) -> Reason:
        """Why the table is in its state."""
        return self._binding.reason

    @property
    def is_ready(self) -> bool:
        """Whether a read would be answered now; its group must be ready, too."""
        return self._binding.readable is not None

    @property
    def lag(self) -> int | None:
        """Offsets still to apply, over all partitions; ``None`` while one partition's is not known."""
        return self._binding.lag

    @property
    def lag_by_partition(self) -> dict[int, int | None]:
        return self._binding.mirror.progress.lag_by_partition

    def wait_until_ready(self, timeout: float | None = None) -> None:
        """Return when the table is ready, and all tables of its group.

        Raises ``ReadyTimeoutError`` after ``timeout`` seconds (``None``: never). For a failed table it raises
        the table's failure at once. Inside a callback it raises ``RuntimeError``: it would wait for itself.
        """
        binding = self._binding
        together = binding.group

        def done() -> bool:
            for one in together:
                if not one.ready:
                    one.check_may_become_ready()
            return all(one.ready for one in together)

        binding.check_open()
        if not binding.host.wait(done, timeout):
            raise next((one for one in together if not one.ready), binding).timeout_error(timeout or 0.0)

    def on_ready(self, call: Callable[[], None]) -> None:
        """Call ``call()`` on the event thread each time the table becomes ready, and at once if it is."""
        self._binding.on_ready(call)

    def on_state_change(self, call: Callable[[StateChange], None]) -> None:
        """Call ``call(StateChange)`` on the event thread for the present state and each later one."""
        self._binding.on_state_change(call)

    def on_progress(self, call: Callable[[RestoreProgress], None]) -> None:
        """Call ``call(RestoreProgress)`` on the event thread while restoring, every ``progress_interval``."""
        self._binding.on_progress(call)

    def health(self) -> TableHealth:
        """Return a report; its ``str`` is one line, and its ``dataclasses.asdict`` is JSON-serialisable."""
        self._binding.check_open()
        return table_health(self._binding)

    # Lifecycle

    def stop(self) -> None:
        """Stop reading the topic; wait up to 10 s for the final flush, not for the broker. Idempotent."""
        self._binding.stop()

    def restart(self) -> None:
        """Start again from the stored position, also after a failure."""
        self._binding.restart()

    def pause(self) -> None:
        """Stop reading the topic; a ready table can be read until ``max_staleness``."""
        self._binding.pause()

    def resume(self) -> None:
        """Continue after ``pause``."""
        self._binding.resume()

    def flush(self) -> None:
        """Return when all applied records are on disk, together with the position."""
        self._binding.flush()

    def close(self) -> None:
        """Stop the table and close its store. Idempotent."""
        self._binding.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._binding.describe()}>"
