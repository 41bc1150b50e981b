"""Reading ahead: one batch, none of a topic that was given up, and nothing lost or told twice."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from statestore.core import KeyLimit, Partitioning, RecordFilter
from statestore.kafka.read_ahead import ReadAhead
from statestore.kafka.reader import Event


class Scripted:
    """A reader that gives what it was told to, and checks that one thread at a time uses it."""

    def __init__(self) -> None:
        self.batches: list[Any] = []
        self.reads = 0
        self.calls: list[str] = []
        self.woken = threading.Event()
        self.waiting = threading.Event()
        self._inside = threading.Lock()

    def _alone(self, name: str) -> None:
        assert self._inside.acquire(blocking=False), f"{name} beside another call"
        self.calls.append(name)
        self._inside.release()

    def assign(
        self,
        topic: str,
        positions: Mapping[int, tuple[int, int]],
        ends: Mapping[int, int | None],
        record_filter: RecordFilter | None = None,
        key_limit: KeyLimit | None = None,
        partitioning: Partitioning | None = None,
    ) -> None:
        self._alone(f"assign {topic}")

    def unassign(self, topic: str) -> None:
        self._alone(f"unassign {topic}")

    def read(self) -> Any:
        assert self._inside.acquire(blocking=False), "read beside another call"
        try:
            self.reads += 1
            if not self.batches:
                self.waiting.set()
                assert self.woken.wait(60), "nobody wakes the reader"
                self.woken.clear()
                return {}, []
            batch = self.batches.pop(0)
            if isinstance(batch, BaseException):
                raise batch
            return batch
        finally:
            self._inside.release()

    def high_watermarks(self, topic: str) -> dict[int, int]:
        raise NotImplementedError

    def poll(self) -> None:
        self._alone("poll")

    def wake(self) -> None:
        self.woken.set()

    def close(self) -> None:
        self._alone("close")

    def forked(self) -> None:
        """Nothing."""


@pytest.fixture
def scripted() -> Scripted:
    return Scripted()


@pytest.fixture
def ahead(scripted: Scripted) -> Iterator[ReadAhead]:
    reader = ReadAhead(scripted, "reading-ahead")
    yield reader
    reader.close()
    assert not any(thread.name == "reading-ahead" for thread in threading.enumerate())


def batch(number: int, *topics: str) -> Any:
    return {topic: f"{topic} {number}" for topic in topics}, [
        Event(topic, 0, number, 0, "") for topic in topics
    ]


def test_everything_is_given_once_and_in_order(scripted: Scripted, ahead: ReadAhead) -> None:
    expected = [batch(number, "a", "b") for number in range(50)]
    scripted.batches = list(expected)
    for number, one in enumerate(expected):
        assert ahead.read() == one
        ahead.assign("c", {0: (0, -1)}, {})  # returns when what is read ahead was read
        assert scripted.reads == number + 2, "never more than one batch ahead"


def test_what_was_read_ahead_of_a_topic_that_was_given_up_is_dropped(
    scripted: Scripted, ahead: ReadAhead
) -> None:
    scripted.batches = [batch(0, "a", "b"), batch(1, "a", "b")]
    ahead.read()
    ahead.unassign("a")
    ahead.assign("a", {0: (0, -1)}, {})
    assert ahead.read() == batch(1, "b")
    assert scripted.calls == ["unassign a", "assign a"]


def test_a_command_does_not_wait_for_records(scripted: Scripted, ahead: ReadAhead) -> None:
    scripted.batches = [batch(0, "a")]
    ahead.read()
    assert scripted.waiting.wait(60)
    ahead.assign("b", {0: (0, -1)}, {})  # and the next read finds nothing, not the end of everything
    assert ahead.read() == ({}, [])


def test_an_idle_reader_is_not_read_ahead(scripted: Scripted, ahead: ReadAhead) -> None:
    scripted.batches = [({}, [Event("a", 0, 5, 0, "")])]
    ahead.read()
    ahead.poll()
    assert scripted.reads == 1


def test_an_error_comes_out_where_its_batch_would_have(scripted: Scripted, ahead: ReadAhead) -> None:
    scripted.batches = [batch(0, "a"), ValueError("broken"), batch(2, "a")]
    assert ahead.read() == batch(0, "a")
    ahead.assign("b", {0: (0, -1)}, {})  # is not where it belongs
    with pytest.raises(ValueError, match="broken"):
        ahead.read()
    assert ahead.read() == batch(2, "a")


def test_an_error_of_those_that_left_meets_nobody_who_comes_later(
    scripted: Scripted, ahead: ReadAhead
) -> None:
    scripted.batches = [batch(0, "a"), ValueError("broken"), batch(2, "b")]
    ahead.read()
    ahead.unassign("a")
    ahead.poll()
    ahead.assign("b", {0: (0, -1)}, {})
    assert ahead.read() == batch(2, "b")
