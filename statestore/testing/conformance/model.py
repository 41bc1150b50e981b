"""The model a backend is compared with: a plain dict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from statestore.backends.contract import Batch, KeyRange

Pairs = list[tuple[bytes, bytes]]


class Range(NamedTuple):
    """What a scan is asked for."""

    start: bytes | None = None
    stop: bytes | None = None
    prefix: bytes | None = None
    reverse: bool = False
    limit: int | None = None

    def arguments(self) -> tuple[KeyRange, bool, int | None]:
        """Return it as ``scan`` takes it."""
        return KeyRange(self.start, self.stop, self.prefix), self.reverse, self.limit


def select(
    content: Mapping[bytes, bytes],
    start: bytes | None = None,
    stop: bytes | None = None,
    prefix: bytes | None = None,
    reverse: bool = False,
    limit: int | None = None,
) -> Pairs:
    """Return what a scan of :class:`Range` with these values must yield from ``content``."""
    pairs = [
        (key, content[key])
        for key in sorted(content, reverse=reverse)
        if (start is None or key >= start) and (stop is None or key < stop) and key.startswith(prefix or b"")
    ]
    return pairs[:limit]


def applied(content: Mapping[bytes, bytes], batch: Batch) -> dict[bytes, bytes]:
    """Return ``content`` after ``batch``: deletes first, and of two puts of one key the later wins."""
    kept = {key: value for key, value in content.items() if key not in batch.deletes}
    return kept | dict(batch.puts)
