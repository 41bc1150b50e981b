"""What an owner tells its readers: whole messages, whatever was written last and how far."""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statestore.storage.shared_state import (
    FORMAT,
    SHARED,
    MessageSlots,
    SharedStateReader,
    SharedStateWriter,
    read_message,
)


class Memory:
    """A file in memory that keeps each step of a write: one byte after the other, as a kill may leave it."""

    def __init__(self) -> None:
        self.content = bytearray()
        self.steps: list[bytes] = []
        self.room: int | None = None
        """How many more bytes the disk takes; ``None``: any number."""

    def write(self, offset: int, data: bytes) -> None:
        if self.room is not None:
            data, self.room, wanted = data[: self.room], max(0, self.room - len(data)), len(data)
            if len(data) < wanted:
                self._put(offset, data)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._put(offset, data)

    def _put(self, offset: int, data: bytes) -> None:
        self.content.extend(bytes(max(0, offset + len(data) - len(self.content))))
        for index, byte in enumerate(data):
            self.content[offset + index] = byte
            self.steps.append(bytes(self.content))


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=5))
def test_a_reader_finds_a_whole_message_after_every_byte_that_is_written(messages: list[bytes]) -> None:
    memory = Memory()
    slots = MessageSlots(memory, 40)
    slots.begin()
    for count, message in enumerate(messages, 1):
        memory.steps.clear()
        slots.put(message)
        slots.beat()
        before = (count - 1, messages[count - 2]) if count > 1 else None
        after = (count, message)
        found = [read_message(step) for step in memory.steps]
        assert set(found) <= {before, after}
        assert found == sorted(found, key=lambda one: one or (0, b""))  # and never an earlier one again
        assert found[-1] == after


@given(st.lists(st.integers(0, 60), min_size=1, max_size=3))
def test_a_message_that_finds_no_room_takes_nothing_from_the_last_one(rooms: list[int]) -> None:
    memory = Memory()
    slots = MessageSlots(memory, 40)
    slots.begin()
    slots.put(b"before")
    for memory.room in rooms:
        try:
            slots.put(b"x" * 40)
        except OSError:
            assert read_message(bytes(memory.content)) == (1, b"before")
        else:
            break
    else:
        memory.room = None
        slots.put(b"x" * 40)
    found = read_message(bytes(memory.content))
    assert found is not None
    assert found[1] == b"x" * 40


def test_a_disk_that_takes_a_message_in_parts_gets_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, offset: really(file, data[:1000], offset))
    writer, reader = SharedStateWriter(tmp_path), SharedStateReader(tmp_path)
    writer.publish(b"long" * 1000)
    heard = reader.read()
    writer.close()
    reader.close()
    assert heard is not None
    assert heard.message == b"long" * 1000


def test_what_this_user_may_not_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    SharedStateWriter(tmp_path).close()

    def refuse(path: Path, flags: int) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionError):
        SharedStateReader(tmp_path).read()


@given(st.binary(min_size=1, max_size=40), st.data())
def test_a_damaged_message_is_not_taken(message: bytes, data: st.DataObject) -> None:
    memory = Memory()
    slots = MessageSlots(memory, 40)
    slots.begin()
    slots.put(message)
    place = data.draw(st.integers(24, len(memory.content) - 1))
    bit = data.draw(st.integers(0, 7))
    damaged = bytearray(memory.content)
    damaged[place] ^= 1 << bit
    assert read_message(bytes(damaged)) in {None, (1, message)}


def test_readers_follow_longer_messages_and_new_owners(tmp_path: Path) -> None:
    reader = SharedStateReader(tmp_path)
    assert reader.read() is None
    writer = SharedStateWriter(tmp_path)
    found = reader.read()
    assert found is not None
    assert (found.number, found.message) == (0, b"")
    writer.publish(b"one")
    found = reader.read()
    assert found is not None
    assert (found.number, found.message) == (1, b"one")
    beats = found.beats
    writer.beat()
    found = reader.read()
    assert found is not None
    assert found.beats != beats
    long = os.urandom(100_000)
    writer.publish(long)
    found = reader.read()
    assert found is not None
    assert found.message == long
    writer.close()
    again = reader.read()
    assert again is not None
    assert again.message == long  # of an owner that has ended, the last words stay
    other = SharedStateWriter(tmp_path)
    other.publish(b"of another owner")
    found = reader.read()
    assert found is not None
    assert found.message == b"of another owner"
    assert found.file != again.file
    other.close()
    reader.close()
    assert [path.name for path in tmp_path.iterdir()] == [SHARED]


def test_another_format_is_told_and_its_content_not_guessed(tmp_path: Path) -> None:
    writer = SharedStateWriter(tmp_path)
    writer.publish(b"words")
    writer.close()
    content = bytearray((tmp_path / SHARED).read_bytes())
    struct.pack_into("<I", content, 8, FORMAT + 1)
    (tmp_path / SHARED).write_bytes(content)
    reader = SharedStateReader(tmp_path)
    found = reader.read()
    assert found is not None
    assert (found.format, found.message) == (FORMAT + 1, b"")
    assert read_message(bytes(content)) is None
    reader.close()


def test_a_file_that_is_not_ours_is_as_none(tmp_path: Path) -> None:
    (tmp_path / SHARED).write_bytes(b"x" * 200)
    reader = SharedStateReader(tmp_path)
    assert reader.read() is None
    reader.close()
