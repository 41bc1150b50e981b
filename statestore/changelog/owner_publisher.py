"""The owner's side of sharing a data directory: it tells how its tables are, and that it lives."""

from __future__ import annotations

import copy
import logging
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from statestore.changelog.machine import Connection
from statestore.changelog.owner_report import OwnerReport, OwnerState, TableReport, encode, table_report
from statestore.changelog.status import Status
from statestore.runtime import fork
from statestore.storage.lock import Owner
from statestore.storage.shared_state import BEAT, SharedStateWriter

log = logging.getLogger("statestore.changelog")


class OwnerPublisher:
    """Tells the readers of ``directory`` what they ask for, on a thread of its own: it must not wait.

    ``tables`` gives the bound tables, ``connection`` is theirs to the broker. Where nothing can be written,
    as on a full disk, it is tried again at each beat. With ``at_once`` it then raises ``OSError`` instead.
    """

    def __init__(
        self,
        directory: Path,
        tables: Callable[[], Sequence[Status]],
        connection: Callable[[], Connection],
        *,
        at_once: bool = True,
    ) -> None:
        here = Owner.here()
        self._report = OwnerReport(
            uuid.uuid4().hex, here.pid or 0, here.host, here.namespace, since=time.time()
        )
        self._tables = tables
        self._connection = connection
        self._ready: dict[str, tuple[tuple[int, float], dict[int, int]]] = {}
        """Of each table that is ready, since which start and time, and what its store had then."""
        self._last = b""
        self._is_failing = False
        self._directory = directory
        self._writer: SharedStateWriter | None = None
        self._stopping = threading.Event()
        self._publishing = fork.lock()
        self._is_leaving = False
        self._thread = threading.Thread(target=self._run, name="statestore-share", daemon=True)
        if at_once:
            self.publish()
        else:
            self._try_to_publish()
        self._thread.start()
        fork.register(self)

    def publish(self) -> None:
        """Tell what is so now."""
        with self._publishing:
            if self._writer is None:
                self._writer = SharedStateWriter(self._directory)
            if self._is_leaving:
                self._writer.beat()
            else:
                self._publish(self._writer)

    def leave(self) -> None:
        """Tell no more than that this process lives: its tables end, and readers go on until one takes over.

        ``close`` follows.
        """
        with self._publishing:
            self._is_leaving = True

    def _publish(self, writer: SharedStateWriter) -> None:
        connection = self._connection()
        self._report.stalled = connection.cause if connection.stalled else None
        before, self._report.tables = self._report.tables, {}
        for table in self._tables():
            # A store that is being opened may hold the lock for long, and the heart must beat meanwhile.
            told = self._told(table) if table.changed.acquire(blocking=False) else before.get(table.name)
            if told is not None:
                self._report.tables[table.name] = told
        message = encode(self._report)
        if message == self._last:
            writer.beat()
        else:
            writer.publish(message)
            self._last = message

    def _told(self, table: Status) -> TableReport | None:
        """Describe a table, whose lock is held, and release that; ``None`` for a closed one."""
        try:
            if table.machine.closed:
                return None
            told = table_report(table)
            # After the positions: what is written by now is at least what they are the positions of.
            told.written = table.mirror.written_offsets()
            told.ready_from = self._ready_from(table, told.written)
            told.counts = copy.copy(told.counts)
            return told
        finally:
            table.changed.release()

    def _ready_from(self, table: Status, written: dict[int, int]) -> dict[int, int]:
        """Return what the store had when the table became ready, or was first seen to be."""
        machine = table.machine
        if not machine.ready:
            self._ready.pop(table.name, None)
            return {}
        when = machine.start_id, machine.since
        known = self._ready.get(table.name)
        if known is None or known[0] != when:
            self._ready[table.name] = known = when, written
        return known[1]

    def _run(self) -> None:
        while not self._stopping.wait(BEAT):
            self._try_to_publish()

    def _try_to_publish(self) -> None:
        try:
            self.publish()
        except OSError as error:  # the disk is full, or the directory is gone
            if not self._is_failing:
                log.warning("readers of this process's stores are told nothing: %s", error)
            self._is_failing = True
        except Exception:
            log.exception("an unexpected error on %s", self._thread.name)
        else:
            self._is_failing = False

    def close(self) -> None:
        """Tell the readers that the directory is given up. Its stores are closed, and its lock is not."""
        self._stopping.set()
        self._thread.join()
        self._report.state, self._report.tables = OwnerState.CLOSED, {}
        if self._writer is None:
            return
        try:
            self._writer.publish(encode(self._report))
        except OSError as error:
            log.warning("readers of this process's stores are not told that they are closed: %s", error)
        self._writer.close()

    def _forked(self) -> None:
        if self._writer is not None:
            self._writer.close()
