"""An immutable sorted map of bytes to bytes: a sorted list of small sorted blocks.

A change makes the next content and shares every block that it does not touch.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

_BLOCK_PAIRS = 512
"""A block is split above this many pairs: a single put copies one block and one reference per block."""


class _Block(NamedTuple):
    keys: tuple[bytes, ...]
    values: tuple[bytes, ...]


class Content:
    """An immutable sorted map of bytes to bytes."""

    __slots__ = ("_blocks", "_firsts", "count", "size")

    def __init__(self, blocks: list[_Block], firsts: list[bytes], count: int, size: int) -> None:
        self._blocks = blocks
        self._firsts = firsts  # the first key of each block
        self.count = count
        self.size = size  # bytes of all keys and values

    def get(self, key: bytes) -> bytes | None:
        index = bisect_right(self._firsts, key) - 1
        if index < 0:
            return None
        keys, values = self._blocks[index]
        at = bisect_left(keys, key)
        return values[at] if at < len(keys) and keys[at] == key else None

    def pairs(self, start: bytes | None, stop: bytes | None, reverse: bool) -> Iterator[tuple[bytes, bytes]]:
        low = 0 if start is None else max(bisect_right(self._firsts, start) - 1, 0)
        high = len(self._firsts) if stop is None else bisect_left(self._firsts, stop)
        blocks = (self._blocks[index] for index in range(low, high))
        if reverse:
            blocks = (self._blocks[index] for index in range(high - 1, low - 1, -1))
        return chain.from_iterable(_pairs_of(block, start, stop, reverse) for block in blocks)

    def changed(self, changes: Mapping[bytes, bytes | None]) -> Content:
        """Return this content after ``changes``, in which ``None`` deletes a key."""
        keys = sorted(changes)
        blocks: list[_Block] = []
        firsts: list[bytes] = []
        count, size = self.count, self.size
        done = at = 0  # blocks before `done` and changes before `at` are in the result
        while at < len(keys):
            index = max(bisect_right(self._firsts, keys[at]) - 1, 0)
            if index + 1 < len(self._firsts):
                end = bisect_left(keys, self._firsts[index + 1], at)
            else:
                end = len(keys)
            blocks += self._blocks[done:index]
            firsts += self._firsts[done:index]
            old = self._blocks[index] if self._blocks else _Block((), ())
            new, more_count, more_size = _merge(old, keys[at:end], changes)
            if blocks and new and len(blocks[-1].keys) + len(new[0].keys) <= _BLOCK_PAIRS // 2:
                left = blocks.pop()  # deletes leave small blocks: join them again
                firsts.pop()
                new[0] = _Block(left.keys + new[0].keys, left.values + new[0].values)
            blocks += new
            firsts += [block.keys[0] for block in new]
            count += more_count
            size += more_size
            done, at = index + 1, end
        blocks += self._blocks[done:]
        firsts += self._firsts[done:]
        return Content(blocks, firsts, count, size)


EMPTY = Content([], [], 0, 0)


def _pairs_of(
    block: _Block, start: bytes | None, stop: bytes | None, reverse: bool
) -> Iterator[tuple[bytes, bytes]]:
    low = 0 if start is None else bisect_left(block.keys, start)
    high = len(block.keys) if stop is None else bisect_left(block.keys, stop)
    keys, values = block.keys[low:high], block.values[low:high]
    if reverse:
        return zip(reversed(keys), reversed(values), strict=True)
    return zip(keys, values, strict=True)


def _merge(
    block: _Block, changed: Sequence[bytes], changes: Mapping[bytes, bytes | None]
) -> tuple[list[_Block], int, int]:
    """Return the blocks that replace ``block``, and how many pairs and bytes more they hold."""
    keys, values = list(block.keys), list(block.values)
    more_size = 0
    for key in changed:
        value = changes[key]
        at = bisect_left(keys, key)
        if at < len(keys) and keys[at] == key:
            more_size -= len(key) + len(values[at])
            if value is None:
                del keys[at], values[at]
                continue
            values[at] = value
        elif value is None:
            continue
        else:
            keys.insert(at, key)
            values.insert(at, value)
        more_size += len(key) + len(value)
    size = len(keys)
    if size > _BLOCK_PAIRS:
        # Half-full ones rather than a full one and a remnant, so that the next put does not split again.
        size = -(-size // (2 * size // _BLOCK_PAIRS))
    blocks = [
        _Block(tuple(keys[at : at + size]), tuple(values[at : at + size]))
        for at in range(0, len(keys), size or 1)
    ]
    return blocks, len(keys) - len(block.keys), more_size
