"""Is a data file as long as what it holds? LMDB maps the file unseen, and a missing page kills the process.

A file may be shorter than its meta page says and still be whole: LMDB does not write pages that were given up
again within their transaction, and these may be the last ones. So a short file is whole if all that it lacks
is free, or at least not in use. Pages are read as LMDB 0.9 writes them on 64-bit machines.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_META = struct.Struct("=16x2I16x")  # page header; magic, version; address and size of the map
_DB = struct.Struct("=I2H5Q")  # pad (page size), flags, depth, branch, leaf, overflow pages, entries, root
_LAST = struct.Struct("=2Q")  # last page, transaction
_META_SIZE = _META.size + 2 * _DB.size + _LAST.size
_MAGIC = 0xBEEFC0DE
_VERSION = 1
_HEADER = struct.Struct("=10x3H")  # page number, padding; flags, lower, upper (an overflow page: its count)
_NODE = struct.Struct("=4H")  # low and high half of a size or page, flags, size of the key
_BRANCH, _LEAF, _BIG = 0x01, 0x02, 0x01
_NO_PAGE = 2**64 - 1


class _Meta(NamedTuple):
    page_size: int
    transaction: int
    last_page: int
    free_root: int
    main_root: int


def lacking(file: Path) -> str | None:
    """Return what ``file`` lacks; ``None`` if it is whole, or is none of LMDB's, as LMDB finds out itself.

    Raises ``OSError``.
    """
    if struct.calcsize("P") != 8:
        return None
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _Pages(descriptor).lacking()
    finally:
        os.close(descriptor)


class _BrokenTreeError(Exception):
    """A page that is in use is not in the file, or is not one of a tree."""


class _Pages:
    """The pages of a data file, read without mapping it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._size = os.fstat(descriptor).st_size

    def lacking(self) -> str | None:
        first = self._meta(0)
        if first is None:
            return f"data.mdb has only {self._size} bytes" if self._size < _META_SIZE else None
        second = self._meta(first.page_size)
        self._page_size = first.page_size
        self._count = self._size // self._page_size
        if self._count < 2:
            return f"data.mdb has only {self._size} bytes"
        if second is None:
            return None
        meta = max(first, second, key=lambda one: one.transaction)
        self._claimed = meta.last_page + 1
        if self._count >= self._claimed:
            return None
        try:
            if not self._is_free(meta.free_root):
                for _ in (*self._leaves(meta.free_root), *self._leaves(meta.main_root)):
                    pass
        except (_BrokenTreeError, struct.error) as error:
            return f"data.mdb was cut short to {self._count} of {self._claimed} pages: {error}"
        return None

    def _meta(self, offset: int) -> _Meta | None:
        raw = os.pread(self._descriptor, _META_SIZE, offset)
        if len(raw) < _META_SIZE:
            return None
        magic, version = _META.unpack_from(raw)
        if (magic, version) != (_MAGIC, _VERSION):
            return None
        page_size, *_, free_root = _DB.unpack_from(raw, _META.size)
        *_, main_root = _DB.unpack_from(raw, _META.size + _DB.size)
        last_page, transaction = _LAST.unpack_from(raw, _META.size + 2 * _DB.size)
        if page_size < 256 or page_size & (page_size - 1):
            return None
        return _Meta(page_size, transaction, last_page, free_root, main_root)

    def _is_free(self, root: int) -> bool:
        """Whether all pages that the file lacks are in the tree of free pages below ``root``."""
        wanted = set(range(self._count, min(self._claimed, self._count + 100_000)))
        for value in self._leaves(root):
            wanted.difference_update(struct.unpack(f"={len(value) // 8}Q", value[: len(value) // 8 * 8])[1:])
        return not wanted and self._claimed - self._count <= 100_000

    def _leaves(self, root: int) -> Iterator[bytes]:
        """Give the values of the tree below ``root``: their bytes where they have pages of their own."""
        left, seen = [] if root == _NO_PAGE else [root], 0
        while left:
            seen += 1
            if seen > self._count:
                raise _BrokenTreeError("its pages are in a circle")
            page = self._page(left.pop())
            flags, lower, _ = _HEADER.unpack_from(page)
            if not flags & (_BRANCH | _LEAF):
                raise _BrokenTreeError("a page of a tree holds something else")
            for at in struct.unpack_from(f"={max(0, lower - 16) // 2}H", page, 16):
                low, high, kind, key_size = _NODE.unpack_from(page, at)
                if flags & _BRANCH:
                    left.append(low | high << 16 | kind << 32)
                elif kind & _BIG:
                    (number,) = struct.unpack_from("=Q", page, at + 8 + key_size)
                    yield self._big(number, low | high << 16)
                else:
                    start = at + 8 + key_size
                    yield page[start : start + (low | high << 16)]

    def _page(self, number: int) -> bytes:
        if number >= self._count:
            raise _BrokenTreeError(f"page {number} is in use")
        return os.pread(self._descriptor, self._page_size, number * self._page_size)

    def _big(self, number: int, size: int) -> bytes:
        end = number * self._page_size + 16 + size
        if number >= self._count or end > self._count * self._page_size:
            raise _BrokenTreeError(f"page {number} is in use")
        return os.pread(self._descriptor, size, number * self._page_size + 16)
