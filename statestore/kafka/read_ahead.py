"""Reading ahead: the next runs are read on a thread of their own while the lane applies the last ones.

Never more than one batch ahead, and nothing of a topic that was given up meanwhile. An error of reading ahead
is raised by the ``read`` that would have returned the batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future

from statestore.core import Folded, KeyLimit, Partitioning, RecordFilter
from statestore.kafka.reader import BatchReader, Event
from statestore.runtime.futures import complete
from statestore.runtime.worker import Worker

Given = tuple[dict[str, Folded], list[Event]]

END_TIMEOUT = 2.0
"""Seconds that closing waits for the thread; its read has been cut short by then."""


class ReadAhead:
    """A reader around another one, which must be one whose waits ``wake`` cuts short."""

    def __init__(self, reader: BatchReader, thread: str) -> None:
        self._reader = reader
        self._worker = Worker(thread)
        self._ahead: Future[Given] | None = None

    def assign(
        self,
        topic: str,
        positions: Mapping[int, tuple[int, int]],
        ends: Mapping[int, int | None],
        record_filter: RecordFilter | None = None,
        key_limit: KeyLimit | None = None,
        partitioning: Partitioning | None = None,
    ) -> None:
        self._pause()
        self._reader.assign(topic, positions, ends, record_filter, key_limit, partitioning)

    def unassign(self, topic: str) -> None:
        self._pause()
        if self._ahead is not None and self._ahead.exception() is None:
            by_topic, events = self._ahead.result()
            by_topic.pop(topic, None)
            events[:] = [event for event in events if event.topic != topic]
        self._reader.unassign(topic)

    def read(self) -> Given:
        ahead, self._ahead = self._ahead, None
        given = self._reader.read() if ahead is None else ahead.result()
        if given[0]:  # where nothing came there is no hurry
            self._ahead = self._begin()
        return given

    def high_watermarks(self, topic: str) -> dict[int, int]:
        return self._reader.high_watermarks(topic)  # also beside a read

    def poll(self) -> None:
        self._pause()
        self._ahead = None  # what failed there concerns none that is assigned later
        self._reader.poll()

    def wake(self) -> None:
        self._reader.wake()

    def close(self) -> None:
        self._pause()
        self._worker.stop(END_TIMEOUT)
        self._reader.close()

    def forked(self) -> None:
        self._reader.forked()

    def _begin(self) -> Future[Given]:
        future: Future[Given] = Future()
        self._worker.soon(lambda: complete(future, self._reader.read))
        return future

    def _pause(self) -> None:
        """Return when the other thread does not use the reader; what it has read is kept."""
        if self._ahead is not None:
            self._reader.wake()
            self._ahead.exception()
