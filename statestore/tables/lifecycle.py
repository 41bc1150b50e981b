"""A bound topic: its readiness, its health, and its start and stop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from statestore.changelog.binding import Binding
from statestore.changelog.events import RestoreProgress, StateChange
from statestore.changelog.health import TableHealth, table_health
from statestore.changelog.readiness import Reason, State
from statestore.changelog.sync import synced
from statestore.changelog.until_ready import readied
from statestore.producing.mixins import DeliveryWaitMixin
from statestore.runtime.interrupts import Ending, Turns, called_back, shielded
from statestore.runtime.steps import Steps, run_async, run_blocking


class BoundTopic(DeliveryWaitMixin):
    """All that a table can do but reading and writing. Thread-safe."""

    def __init__(self, binding: Binding) -> None:
        self._binding = binding
        self._manager: object = None
        """What opened the table, and closes it when nobody refers to it any more."""
        self._turns = Turns()
        self._ending = Ending()

    @property
    def name(self) -> str:
        """The logical store name."""
        return self._binding.name

    @property
    def topic(self) -> str:
        return self._binding.topic

    @property
    def _bindings(self) -> Sequence[Binding]:
        """The binding of its topic, or that of each window's topic."""
        return (self._binding,)

    @property
    def state(self) -> State:
        return self._binding.state

    @property
    def reason(self) -> Reason:
        """Why the table is in its state."""
        return self._binding.reason

    @property
    def is_ready(self) -> bool:
        """Whether a read would be answered now; its group must be ready, too.

        A reader whose owner has ended, with nobody to take over, is not ready, while its reads go on.
        """
        binding = self._binding
        return binding.readable is not None and all(one.ready for one in binding.group)

    @property
    def lag(self) -> int | None:
        """Offsets still to apply, over all partitions, as of the broker's last answer.

        ``None`` while one partition's is not known, and while nobody asks: once the table is stopped or has
        failed. While the broker does not answer it is what is known to be missing, and ``None`` instead of 0.
        """
        return self._binding.lag

    @property
    def lag_by_partition(self) -> dict[int, int | None]:
        return self._binding.lag_by_partition

    def wait_until_ready(self, timeout: float | None = None) -> None:
        """Return when the table is ready, and all tables of its group.

        Raises ``ReadyTimeoutError`` after ``timeout`` seconds (``None``: never). For a failed table it raises
        the table's failure at once. Inside a callback it raises ``RuntimeError``: it would wait for itself.
        """
        self._binding.host.check_may_wait()
        run_blocking(self._readied(timeout), timeout)

    def _readied(self, timeout: float | None) -> Steps[None]:
        self._binding.check_open()
        return readied(self._binding.group, timeout)

    def sync(self, timeout: float | None = 15.0) -> None:
        """Return when the table has applied everything that is in its topic at this call, whoever wrote it.

        A transaction that is open at the call is not waited for. Raises ``ReadyTimeoutError`` after
        ``timeout`` seconds (``None``: never). For a failed table it raises the table's failure at once, and
        ``StoreNotReadyError`` for a stopped or paused one. Inside a callback it raises ``RuntimeError``.
        """
        self._binding.host.check_may_wait()
        run_blocking(synced([self._binding], timeout), timeout)

    async def sync_async(self, timeout: float | None = 15.0) -> None:
        """Await what :meth:`sync` blocks for."""
        await run_async(synced([self._binding], timeout), timeout)

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
        """Return a report, also a mapping; ``str`` of it is one line, ``to_dict()`` what JSON takes."""
        self._binding.check_open()
        return table_health(self._binding)

    # Lifecycle

    def start(self) -> None:
        """Start a stopped table again, from the stored position. Nothing where it runs; a failed one raises.

        A table runs from ``bind`` on. After a failure, ``restart()`` starts it.
        """
        self._turns.shielded(self._binding.start)
        self._binding.check_may_become_ready()

    def stop(self) -> None:
        """Stop reading the topic; wait up to 10 s for the final flush, not for the broker. Idempotent."""
        self._binding.check_open()
        self._turns.shielded(self._binding.stop)

    def restart(self) -> None:
        """Start again from the stored position, also after a failure."""
        self._turns.shielded(self._binding.restart)

    def pause(self) -> None:
        """Stop reading the topic; a ready table can be read within ``max_lag`` and ``max_staleness``."""
        self._turns.shielded(self._binding.pause)

    def resume(self) -> None:
        """Continue after ``pause``: the table is ready when it has reached the present ends of its topic."""
        self._turns.shielded(self._binding.resume)

    def flush(self) -> None:
        """Return when all applied records are on disk, together with the position."""
        shielded(self._binding.flush)

    def compact(self) -> None:
        """Give back the disk space of rows that were deleted or overwritten; return when that is done.

        The table goes on being read. RocksDB goes on being written, too, and does this by itself as a rule.
        LMDB writes a smaller file beside the present one, for which there must be room; new records of this
        table, and of others that follow, wait meanwhile. A process that dies leaves the old file or the new
        one. In memory there is nothing to do. Raises what a read with ``allow_stale=True`` raises, and
        ``StoreFullError`` where there is no room.
        """
        shielded(self._binding.compact)

    def close(self) -> None:
        """Stop the table and close its store. Idempotent.

        A signal handler may call this in the middle of a call of its own thread. The table is then closed at
        the latest when that call has ended.
        """
        if called_back():
            self.shut()
        self._ending.finish(self._binding.close)

    def shut(self) -> None:
        """Make every call from now on raise ``StoreClosedError``, and wait for nothing: ``close`` follows."""
        self._binding.shut()

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
