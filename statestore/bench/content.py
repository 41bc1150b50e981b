"""The keys and values that are written."""

from __future__ import annotations

import string
from pathlib import Path
from random import Random

from statestore.errors import ConfigError

SMALLEST_KEY = 8
LARGEST_KEY = 500
"""Bytes: LMDB takes 511, of which one is the library's."""
LARGEST_VALUE = 16 << 20
_POOL = 1 << 20


class Content:
    """Makes keys and values; the same ones for the same arguments.

    A key is a decimal number with zeros in front, so that keys have the order of their numbers. Each second
    number is left out: ``absent`` gives keys between those that there are. ``values`` is a number of bytes, a
    range such as ``100..2000`` whose sizes are equally likely, or the path of a file whose lines are taken in
    turn. Values that are made are printable text, which LZ4 hardly compresses.

    Raises ``ConfigError`` for sizes that cannot be, and for a file without lines.
    """

    def __init__(self, key_size: int, values: str, seed: int) -> None:
        if not SMALLEST_KEY <= key_size <= LARGEST_KEY:
            raise ConfigError(
                f"--key-size {key_size}: a key has {SMALLEST_KEY} to {LARGEST_KEY} bytes; choose such a size"
            )
        self._key_form = f"%0{key_size}d".encode()
        self._random = random = Random(seed)
        self._lines: list[bytes] = []
        self._taken = 0
        self._least, self._most = sizes_of(values)
        if self._most < 0:
            self._lines = lines_of(values)
        else:
            letters = (string.ascii_letters + string.digits + "+/").encode()
            pool = random.randbytes(max(_POOL, 2 * self._most)).translate(
                bytes(letters[i & 63] for i in range(256))
            )
            self._pool = pool

    def key(self, number: int) -> bytes:
        """Return the key of a record."""
        return self._key_form % (2 * number)

    def absent(self, number: int) -> bytes:
        """Return a key that no record has, right after that of record ``number``."""
        return self._key_form % (2 * number + 1)

    @property
    def mean(self) -> float:
        """Bytes of a record on average, key and value."""
        lines = self._lines
        values = sum(map(len, lines)) / len(lines) if lines else (self._least + self._most) / 2
        return len(self.key(0)) + values

    def value(self) -> bytes:
        """Return the next value."""
        if self._lines:
            self._taken += 1
            return self._lines[self._taken % len(self._lines)]
        size = self._least + int(self._random.random() * (self._most - self._least + 1))
        start = int(self._random.random() * (len(self._pool) - size))
        return self._pool[start : start + size]


def sizes_of(values: str) -> tuple[int, int]:
    """Return the least and the most bytes of a value; -1 for both where ``values`` is no size, but a path."""
    least, dots, most = values.partition("..")
    if not least.isdecimal() or (dots and not most.isdecimal()):
        return -1, -1
    sizes = int(least), int(most or least)
    if not sizes[0] <= sizes[1] <= LARGEST_VALUE:
        raise ConfigError(
            f"--value-size {values}: sizes are bytes, the least first, up to {LARGEST_VALUE}; "
            "give one such as 100 or 100..2000"
        )
    return sizes


def lines_of(path: str) -> list[bytes]:
    """Return the lines of a file, the empty ones left out. Raises ``ConfigError`` where there are none."""
    try:
        lines = [line for line in Path(path).read_bytes().splitlines() if line]
    except OSError as error:
        raise ConfigError(
            f"--value-size {path or repr(path)}: neither a size in bytes nor a file that can be read "
            f"({error.strerror}); give 100, 100..2000 or the path of a file whose lines are values"
        ) from error
    if not lines:
        raise ConfigError(f"--value-size {path}: the file has no lines; each line is taken as a value")
    return lines
