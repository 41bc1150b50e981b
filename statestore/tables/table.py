"""Tables: reading the store of a bound topic. Nothing here writes a store."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import Generic, TypeVar

from statestore.changelog.binding import Binding
from statestore.changelog.health import TableHealth
from statestore.errors import ConfigError
from statestore.fields.windows import DeclaredWindow, Window
from statestore.producing.mixins import TableWriteMixin
from statestore.producing.writer import EntityWriter
from statestore.query.source import ScanPolicy
from statestore.serde.entities import EntityCodec
from statestore.storage.layout import NO_TIME
from statestore.tables.bytes_reads import BytesRowReads
from statestore.tables.entity_reads import EntityReads
from statestore.tables.lifecycle import BoundTopic
from statestore.tables.reads import RowReads
from statestore.tables.snapshot import BytesTableSnapshot, PinnedRows, TableSnapshot
from statestore.tables.window_table import WindowReads, WindowTableSnapshot, WindowTableStats

T = TypeVar("T")


class BoundTable(BoundTopic, RowReads[T], Generic[T]):
    """The methods that tables of entities and of bytes have in common. Thread-safe.

    Every reading method takes ``allow_stale``. Without it, a read raises ``StoreNotReadyError`` (with the
    lag) while the table has not reached the end of its topic, and ``StoreUnavailableError`` once the table
    has failed. After ``close`` every method raises ``StoreClosedError``. A read sees one snapshot and never
    blocks the mirror.
    """

    _binding: Binding  # pyright: ignore[reportIncompatibleVariableOverride] - set once

    def approximate_count(self, *, allow_stale: bool = False) -> int:
        """Return an estimate of the number of rows; it reads no rows."""
        return (self._binding.readable or self._binding.reading(allow_stale)).approximate_count()

    @abstractmethod
    def snapshot(self, *, allow_stale: bool = False) -> PinnedRows[T]:
        """Return the rows as they are now, for several reads of one instant; use it in ``with``.

        Its ``positions`` say how far into each partition the rows are. Raises what a read raises. As long as
        it is open, the store keeps what it replaces or deletes: an LMDB file grows meanwhile.
        """


class BytesTable(BytesRowReads, BoundTable[tuple[bytes, bytes]]):
    """A topic bound by name. Rows are ``(key, value)``: the bytes of a message's key and value."""

    def snapshot(self, *, allow_stale: bool = False) -> BytesTableSnapshot:
        store = self._binding.readable or self._binding.reading(allow_stale)
        return BytesTableSnapshot(self._binding, store.pinned(), self._manager)


class Table(  # pyright: ignore[reportIncompatibleVariableOverride] - as above
    TableWriteMixin[T], EntityReads[T], BoundTable[T]
):
    """A topic bound by an entity class. Rows are entities; a key is the values of the key fields.

    Writing sends records to the topic; every mirror of the topic, this one too, then reads them.
    """

    def __init__(
        self,
        binding: Binding,
        codec: EntityCodec[T],
        cls: type[T],
        writer: EntityWriter,
        scans: ScanPolicy | None = None,
    ) -> None:
        BoundTable.__init__(self, binding)
        EntityReads.__init__(self, binding, codec, scans or ScanPolicy())
        self._cls = cls
        self._writer = writer

    @property
    def windows(self) -> tuple[Window, ...]:
        """The windows of the class, by size; each has a ``label`` and a ``size``. Else ``ConfigError``."""
        raise self._without_windows()

    def window(self, spec: DeclaredWindow | Window | None = None) -> WindowTable[T]:  # noqa: ARG002 - see WindowedTable
        """Return the table of one window of the class; it is the same object each time.

        ``spec`` is what ``windows=[…]`` declares, or the window's label; it may be left out where there is
        one window. Raises ``ConfigError`` that lists the declared windows for another one, and for a class
        without windows.
        """
        self._binding.check_open()
        raise self._without_windows()

    def all_windows(self) -> list[WindowTable[T]]:
        """Return the table of each window, the smallest window first."""
        self._binding.check_open()
        raise self._without_windows()

    def _without_windows(self) -> ConfigError:
        return ConfigError(
            f"{self._cls.__name__} declares no windows, so table {self._binding.name!r} has none: read the "
            "table itself, or declare windows=[…] in the class"
        )

    def to_ksql(self) -> str:
        """Return the statement with which ksqlDB declares the table; of a class with windows one for each.

        Those of a class with a source are its whole set: see ``ksql.statements``. Raises ``KsqlError`` with
        everything of the class that ksqlDB cannot have.
        """
        self._binding.check_open()
        from statestore import ksql

        return "\n\n".join(one.text for one in ksql.statements(self._cls))

    def health(self) -> TableHealth:
        codec = self._codec
        return replace(
            super().health(),
            decoder="msgspec" if codec.decoder is None else "native",
            key_mismatches=codec.key_mismatches,
            overlong=codec.overlong,
        )

    def snapshot(self, *, allow_stale: bool = False) -> TableSnapshot[T]:
        store = self._binding.readable or self._binding.reading(allow_stale)
        return TableSnapshot(self._binding, self._codec, self._scans, store.pinned(), self._manager)


class WindowTable(WindowReads[T], Table[T]):  # pyright: ignore[reportIncompatibleVariableOverride] - as above
    """The table of one window of an entity class: ``table.window("5min")``. Thread-safe."""

    def _without_windows(self) -> ConfigError:
        return ConfigError(
            f"table {self._binding.name!r} is that of window {self._keys.form.window.label} of "
            f"{self._cls.__name__}: read it, or ask what bind({self._cls.__name__}) returns for others"
        )

    def to_ksql(self) -> str:
        """Return the statement with which ksqlDB declares the table of this window. Raises ``KsqlError``."""
        self._binding.check_open()
        from statestore import ksql

        return ksql.create(self._cls, window=self._window).text

    def snapshot(self, *, allow_stale: bool = False) -> WindowTableSnapshot[T]:
        store = self._binding.readable or self._binding.reading(allow_stale)
        return WindowTableSnapshot(self._binding, self._codec, self._scans, store.pinned(), self._manager)

    def stats(self) -> WindowTableStats:
        """Return how much the table holds and how far it has come, ready or not; also a mapping.

        Raises what a read with ``allow_stale=True`` raises.
        """
        store = self._binding.readable or self._binding.reading(allow_stale=True)
        assert store.windows is not None
        mirror, times = self._binding.mirror, store.windows.times
        has_rows = times.newest != NO_TIME
        return WindowTableStats(
            window=self._keys.form.window.label,
            rows=store.approximate_count(),
            size=store.size(),
            newest=times.newest if has_rows else None,
            first=max(times.first, 0) if has_rows else None,
            late=store.windows.late,
            early=store.windows.early,
            expired=mirror.counts.expired,
            positions={number: one.position for number, one in mirror.progress.partitions.items()},
        )

    def clear(self) -> None:
        """Drop the rows of this process's store, and read the topic again from its start.

        The topic is not changed. Until it is read to its end, the table is restoring: ``wait_until_ready()``
        waits for that. Works after a failure, too.
        """
        self._turns.shielded(self._binding.clear)
