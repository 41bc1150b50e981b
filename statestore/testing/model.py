"""The model a backend is compared with: a plain dict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from statestore.backends.contract import Batch

Pairs = list[tuple[bytes, bytes]]


class Range(NamedTuple):
    """The arguments of ``scan``, in their order."""

    start: bytes | None
    stop: bytes | None
    prefix: bytes | None
    reverse: bool
    limit: int | None


def select(
    content: Mapping[bytes, bytes],
    start: bytes | None = None,
    stop: bytes | None = None,
    prefix: bytes | None = None,
    reverse: bool = False,
    limit: int | None = None,
) -> Pairs:
    """Return what ``scan`` with these arguments must yield from ``content``."""
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
