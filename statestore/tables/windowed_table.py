"""The tables of all windows of one entity class: what ``bind`` returns for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, fields
from typing import Any, NoReturn, TypeVar, cast

from statestore.changelog.binding import Binding
from statestore.changelog.events import RestoreProgress, StateChange
from statestore.changelog.health import TableHealth
from statestore.changelog.readiness import WORST_FIRST, Reason, State, worst
from statestore.changelog.sync import synced
from statestore.changelog.until_ready import readied
from statestore.errors import ConfigError, QueryError, StoreClosedError
from statestore.fields.windows import DeclaredWindow, Window, find_window
from statestore.producing.writer import EntityWriter
from statestore.runtime.steps import Steps, run_async, run_blocking
from statestore.runtime.text import bounded_repr
from statestore.tables.table import Table, WindowTable

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowedTableHealth(TableHealth):
    """The health of the window that is furthest from being ready, and in ``windows`` that of each.

    ``store`` says which window that is. Where the table of one window was closed, the whole is stopped and
    not ready, and ``cause`` names that window.
    """

    windows: dict[str, TableHealth]
    """The health of each open window's table by the window's label, the smallest window first."""

    def __str__(self) -> str:
        return "\n".join(str(one) for one in self.windows.values())


class WindowedTable(Table[T]):
    """The tables of all windows of an entity class, one for each. Thread-safe.

    ``table.window("5min")`` is the table with the rows of one window, and reads it. What this one does, it
    does with all of them: it is ready when all are, and starts, stops and closes all that are open. Its own
    reads raise ``QueryError``: which window's rows are meant?
    """

    def __init__(
        self,
        name: str,
        topic: str,
        tables: Mapping[Window, WindowTable[T]],
        cls: type[T],
        writer: EntityWriter,
    ) -> None:
        codec = next(iter(tables.values()))._codec  # noqa: SLF001 - none of its reads gets as far as that
        self._name, self._topic = name, topic
        self._tables = dict(tables)
        labels = ", ".join(repr(one.label) for one in tables)
        self._asked = f"{cls.__name__} has a table for each of its windows, {labels}"
        super().__init__(cast("Binding", _NoRows(self)), codec, cls, writer)

    # Its windows

    @property
    def windows(self) -> tuple[Window, ...]:
        return tuple(self._tables)

    def window(self, spec: DeclaredWindow | Window | None = None) -> WindowTable[T]:
        self._check_any_open()
        if spec is None and len(self._tables) == 1:
            return next(iter(self._tables.values()))
        found = None if spec is None else find_window(spec, self.windows)
        if found is not None:
            return self._tables[found]
        labels = ", ".join(one.label for one in self._tables)
        if spec is None:
            raise ConfigError(f"{self._asked}: say which, as in window({self.windows[0].label!r})")
        raise ConfigError(
            f"{self._cls.__name__} has no window {bounded_repr(spec)}; declared: {labels}. Give one of "
            "these, or add the window to windows=[…] of the class"
        )

    def all_windows(self) -> list[WindowTable[T]]:
        self._check_any_open()
        return list(self._tables.values())

    # As of all of them

    @property
    def name(self) -> str:
        """The logical name of the class; that of each window's store has the window's label in it."""
        return self._name

    @property
    def topic(self) -> str:
        """The topic of the class, of which those of its windows are named."""
        return self._topic

    @property
    def _bindings(self) -> list[Binding]:
        tables = self._tables.values()
        return [one for table in tables for one in table._bindings]  # noqa: SLF001 - of the same package

    @property
    def state(self) -> State:
        return worst(one.state for one in self._tables.values())

    @property
    def reason(self) -> Reason:
        return self._furthest.reason

    @property
    def is_ready(self) -> bool:
        """Whether all windows are ready."""
        return all(one.is_ready for one in self._tables.values())

    @property
    def lag(self) -> int | None:
        """Offsets still to apply, over all windows; ``None`` while one of them does not know its own."""
        return _sum([one.lag for one in self._tables.values()])

    @property
    def lag_by_partition(self) -> dict[int, int | None]:
        """The same by the number of the partition."""
        lags = [one.lag_by_partition for one in self._tables.values()]
        numbers = sorted({number for one in lags for number in one})
        return {number: _sum([one[number] for one in lags if number in one]) for number in numbers}

    def wait_until_ready(self, timeout: float | None = None) -> None:
        self._furthest._binding.host.check_may_wait()  # noqa: SLF001 - of the same package
        run_blocking(self._readied(timeout), timeout)

    def _readied(self, timeout: float | None) -> Steps[None]:
        self._check_open()
        members = {id(one): one for binding in self._bindings for one in binding.group}
        return readied(list(members.values()), timeout)

    def sync(self, timeout: float | None = 15.0) -> None:
        self._furthest._binding.host.check_may_wait()  # noqa: SLF001 - as above
        self._check_open()
        run_blocking(synced(self._bindings, timeout), timeout)

    async def sync_async(self, timeout: float | None = 15.0) -> None:
        self._check_open()
        await run_async(synced(self._bindings, timeout), timeout)

    def _applied(self, delivered: object, timeout: float | None) -> NoReturn:  # noqa: ARG002
        """Which window's topic the records are in, who wrote them knows."""
        self._refuse()

    def on_ready(self, call: Callable[[], None]) -> None:
        """Call ``call()`` on the event thread each time all windows have become ready, and at once if so."""
        watch = _AllReady(len(self._tables), call)
        for number, table in enumerate(self._tables.values()):
            table.on_state_change(lambda change, number=number: watch.changed(number, change))  # type: ignore[misc]
            table.on_ready(lambda number=number: watch.ready(number))  # type: ignore[misc]

    def on_state_change(self, call: Callable[[StateChange], None]) -> None:
        """Call ``call(StateChange)`` for the present state of each window and each later one."""
        self._each(lambda one: one.on_state_change(call))

    def on_progress(self, call: Callable[[RestoreProgress], None]) -> None:
        self._each(lambda one: one.on_progress(call))

    def health(self) -> WindowedTableHealth:
        """Return the health of the window that is furthest from being ready, with that of each window."""
        self._check_any_open()
        reports = {}
        for window, table in self._tables.items():
            with suppress(StoreClosedError):
                reports[window.label] = table.health()
        first = min(reports.values(), key=lambda one: _nearness(one.ready, one.status, one.lag))
        same = {field.name: getattr(first, field.name) for field in fields(TableHealth)}
        if (cause := self._closed_windows()) is not None:
            same |= {"status": State.STOPPED, "ready": False, "cause": cause}
        return WindowedTableHealth(**same, windows=reports)

    def start(self) -> None:
        self._each_open(lambda one: one.start())

    def stop(self) -> None:
        self._each_open(lambda one: one.stop())

    def restart(self) -> None:
        self._each_open(lambda one: one.restart())

    def pause(self) -> None:
        self._each_open(lambda one: one.pause())

    def resume(self) -> None:
        self._each_open(lambda one: one.resume())

    def flush(self) -> None:
        self._each_open(lambda one: one.flush())

    def compact(self) -> None:
        self._each_open(lambda one: one.compact())

    def close(self) -> None:
        """Close the table of each window. Idempotent."""
        self._each(lambda one: one.close())

    def shut(self) -> None:
        self._each(lambda one: one.shut())

    @property
    def _furthest(self) -> WindowTable[T]:
        """The table that is furthest from being ready."""
        return min(self._tables.values(), key=lambda one: _nearness(one.is_ready, one.state, one.lag))

    def _check_open(self) -> None:
        """Raise where the table of a window is closed."""
        self._check_any_open()
        if (cause := self._closed_windows()) is not None:
            raise StoreClosedError(cause)

    def _closed_windows(self) -> str | None:
        """Return what there is to say of windows whose table is closed; ``None``: all are open."""
        is_open = [_is_open(one) for one in self._tables.values()]
        if all(is_open):
            return None
        closed = [
            repr(window.label) for window, open_ in zip(self._tables, is_open, strict=True) if not open_
        ]
        left = [repr(window.label) for window, open_ in zip(self._tables, is_open, strict=True) if open_]
        rest = f", or go on with window({left[0]}) by itself" if left else ""
        name, verb = self._cls.__name__, "is" if len(closed) == 1 else "are"
        which = " and ".join(closed)
        return f"of the windows of {name}, {which} {verb} closed: bind({name}) opens all again{rest}"

    def _check_any_open(self) -> None:
        """Raise where the tables of all windows are closed."""
        if not any(map(_is_open, self._tables.values())):
            next(iter(self._tables.values()))._binding.check_open()  # noqa: SLF001 - of the same package

    def _each_open(self, call: Callable[[WindowTable[T]], None]) -> None:
        """As ``_each``, with those that are open. Raises where none is."""
        self._check_any_open()
        self._each(lambda one: call(one) if _is_open(one) else None)

    def _each(self, call: Callable[[WindowTable[T]], None]) -> None:
        """Call it for each table, for all of them where one raises, too; what one raises comes out."""
        with ExitStack() as stack:
            for one in reversed(self._tables.values()):  # the last to be pushed is the first to be called
                stack.callback(call, one)

    def _refuse(self) -> NoReturn:
        """Raise what a read of the whole raises."""
        self._check_open()
        raise QueryError(f"{self._asked}: read one of them, as in window({self.windows[0].label!r})")

    def __repr__(self) -> str:
        return f"<WindowedTable {self._name!r}: {', '.join(one.describe() for one in self._bindings)}>"


class _NoRows:
    """What stands for the binding of all windows together, which has no rows of its own."""

    readable = None

    def __init__(self, table: WindowedTable[Any]) -> None:
        self._table = table

    @property
    def name(self) -> str:
        return self._table.name

    @property
    def topic(self) -> str:
        return self._table.topic

    def check_open(self) -> None:
        self._table._check_open()  # noqa: SLF001 - of this module

    def check_may_become_ready(self) -> None:
        """Of a write, which is refused for another reason."""

    def reading(self, _allow_stale: bool) -> NoReturn:
        self._table._refuse()  # noqa: SLF001 - of this module


class _AllReady:
    """Calls when the last of several tables has become ready. On the event thread only."""

    def __init__(self, count: int, call: Callable[[], None]) -> None:
        self._ready = [False] * count
        self._call = call

    def changed(self, number: int, change: StateChange) -> None:
        if change.state not in (State.READY, State.PAUSED):  # a paused table goes on being read
            self._ready[number] = False

    def ready(self, number: int) -> None:
        self._ready[number] = True
        if all(self._ready):
            self._call()


def _is_open(table: WindowTable[Any]) -> bool:
    try:
        table._binding.check_open()  # noqa: SLF001 - of the same package
    except StoreClosedError:
        return False
    return True


def _sum(numbers: list[int | None]) -> int | None:
    known = [one for one in numbers if one is not None]
    return sum(known) if len(known) == len(numbers) else None


def _nearness(ready: bool, state: State, lag: int | None) -> tuple[bool, int, float]:
    """Order tables by how near they are to being ready, the furthest first."""
    return ready, WORST_FIRST.index(state), -(math.inf if lag is None else lag)
