"""What the owner of a data directory tells the processes that read its stores: the file ``SHARED``.

It holds a heartbeat and one message of bytes, which is replaced as a whole::

    0    8 bytes   magic
    8    u32       format
    12   u32       capacity: how long a message may be
    16   u64       beats: a count that grows while the owner lives
    24   2 slots   number u64, length u32, CRC-32 u32 of number, length and message
    56   2 messages, each in ``capacity`` bytes

A message is written into the slot whose number is lower, first its bytes, then what says that they are there.
So the last message stays whole while the next one is written, also where the writer is killed in the middle.
A reader takes the message with the highest number whose checksum holds. A message that is too long, and each
new owner, get a new file, which is renamed into place.

The file is read and written by position and not mapped: touching a page of a mapped file that a full disk has
no room for, or that somebody cut off, kills the process.
"""

from __future__ import annotations

import contextlib
import os
import struct
import tempfile
import zlib
from pathlib import Path
from typing import NamedTuple, Protocol

SHARED = "SHARED"
"""The name of the file in a data directory."""
FORMAT = 1
BEAT = 0.05
"""Seconds between two heartbeats."""

_MAGIC = b"STSHARED"
_HEADER = struct.Struct("<8sIIQ")
_SLOT = struct.Struct("<QII")
_BEATS = struct.Struct("<Q")
_BEATS_AT = 16
_BEFORE_MESSAGES = _HEADER.size + 2 * _SLOT.size
_LEAST_CAPACITY = 16 << 10
_TRIES = 4
"""How often a reader looks again at what was replaced while it read."""


class Heard(NamedTuple):
    """What a reader finds."""

    file: tuple[int, int]
    """Device and inode: another owner, or a longer message, has another file."""
    format: int
    """With another one than ``FORMAT`` the rest is not known."""
    beats: int
    number: int
    """Of the message; 0: there is none yet."""
    message: bytes


class Descriptor(Protocol):
    """Where the bytes are written."""

    def write(self, offset: int, data: bytes) -> None: ...


class _File:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, offset: int, data: bytes) -> None:
        written = 0
        while written < len(data):  # a disk that is getting full takes a part, and refuses the next one
            written += os.pwrite(self._descriptor, data[written:], offset + written)


class MessageSlots:
    """The writer's side of one file."""

    def __init__(self, target: Descriptor, capacity: int) -> None:
        self.capacity = capacity
        self._target = target
        self._number = 0
        self._beats = 0

    def begin(self) -> None:
        """Write what is there before the first message."""
        self._target.write(0, _HEADER.pack(_MAGIC, FORMAT, self.capacity, 0) + bytes(2 * _SLOT.size))

    def put(self, message: bytes) -> None:
        """Replace the message, which is at most ``capacity`` bytes long."""
        number = self._number + 1
        slot = number % 2
        self._target.write(_BEFORE_MESSAGES + slot * self.capacity, message)
        self._target.write(_HEADER.size + slot * _SLOT.size, _slot(number, message))
        self._number = number  # else the next try would be written over the last message that is whole

    def beat(self) -> None:
        """Show that the owner lives."""
        self._beats += 1
        self._target.write(_BEATS_AT, _BEATS.pack(self._beats))


def _slot(number: int, message: bytes) -> bytes:
    return _SLOT.pack(number, len(message), _checksum(number, message))


def _checksum(number: int, message: bytes) -> int:
    return zlib.crc32(message, zlib.crc32(struct.pack("<QI", number, len(message))))


class SharedStateWriter:
    """The owner's side: makes the file of ``directory`` anew. One thread at a time. Raises ``OSError``."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / SHARED
        self._descriptor = -1
        self._slots = self._file_for(_LEAST_CAPACITY)

    def publish(self, message: bytes) -> None:
        """Have readers find ``message`` from now on, and beat."""
        if len(message) > self._slots.capacity:
            before = self._descriptor
            self._slots = self._file_for(2 * len(message), message)
            os.close(before)
        else:
            self._slots.put(message)
        self._slots.beat()

    def beat(self) -> None:
        """Show that the owner lives."""
        self._slots.beat()

    def close(self) -> None:
        """End. The last message stays. Idempotent."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _file_for(self, capacity: int, message: bytes | None = None) -> MessageSlots:
        """Put a new file in place, which has ``message`` already."""
        descriptor, name = tempfile.mkstemp(prefix=f".{SHARED}-", dir=self._path.parent)
        file = _File(descriptor)
        slots = MessageSlots(file, capacity)
        try:
            slots.begin()
            # What is told later must find room also when the disk is full by then.
            file.write(_BEFORE_MESSAGES, bytes(2 * capacity))
            if message is not None:
                slots.put(message)
            Path(name).rename(self._path)
        except BaseException:
            os.close(descriptor)
            with contextlib.suppress(OSError):
                Path(name).unlink()
            raise
        self._descriptor = descriptor
        return slots


def read_message(data: bytes) -> tuple[int, bytes] | None:
    """Return number and bytes of the last whole message in the content of a file; ``None``: there is none."""
    found = _described(data)
    if found is None or found[0] != FORMAT:
        return None
    _, capacity, _, slots = found
    for slot, number, length, checksum in slots:
        start = _BEFORE_MESSAGES + slot * capacity
        message = data[start : start + length]
        if _checksum(number, message) == checksum:
            return number, message
    return None


_Slots = list[tuple[int, int, int, int]]


def _described(data: bytes) -> tuple[int, int, int, _Slots] | None:
    """Return format, capacity, beats and slots (which, number, length, checksum), the last message first."""
    if len(data) < _BEFORE_MESSAGES or not data.startswith(_MAGIC):
        return None
    _, version, capacity, beats = _HEADER.unpack_from(data)
    slots = [(slot, *_SLOT.unpack_from(data, _HEADER.size + slot * _SLOT.size)) for slot in range(2)]
    written = [one for one in slots if one[1] and one[2] <= capacity]
    return version, capacity, beats, sorted(written, key=lambda one: -one[1])


class SharedStateReader:
    """A reading process's side. One thread at a time."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / SHARED
        self._descriptor = -1
        self._file: tuple[int, int] | None = None
        self._number = 0
        self._message = b""

    def read(self) -> Heard | None:
        """Return what the owner said last; ``None`` where there is no such file.

        Raises ``PermissionError`` where this user may not read it.
        """
        try:
            self._open()
            found = _described(os.pread(self._descriptor, _BEFORE_MESSAGES, 0))
            for _ in range(_TRIES):
                if found is None or found[0] != FORMAT or self._take(found[1], found[3]):
                    break
                found = _described(os.pread(self._descriptor, _BEFORE_MESSAGES, 0))
        except PermissionError:
            raise
        except OSError:
            return None
        if found is None or self._file is None:
            return None
        return Heard(self._file, found[0], found[2], self._number, self._message)

    def _open(self) -> None:
        """Open the file in place, unless it is the one that is open."""
        status = self._path.stat()
        if self._file == (status.st_dev, status.st_ino):
            return
        self.close()
        self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        status = os.fstat(self._descriptor)
        self._file = status.st_dev, status.st_ino
        self._number, self._message = 0, b""

    def _take(self, capacity: int, slots: _Slots) -> bool:
        """Take the last message; tell whether the one we have now is it, or it was replaced meanwhile."""
        for slot, number, length, checksum in slots:
            if number <= self._number:
                return True
            message = os.pread(self._descriptor, length, _BEFORE_MESSAGES + slot * capacity)
            if len(message) == length and _checksum(number, message) == checksum:
                self._number, self._message = number, message
                return True
        return not slots

    def close(self) -> None:
        """Close the file. Idempotent."""
        descriptor, self._descriptor, self._file = self._descriptor, -1, None
        if descriptor >= 0:
            os.close(descriptor)
