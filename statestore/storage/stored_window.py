"""What ``store.json`` keeps of a store of windows or sessions."""

from __future__ import annotations

from datetime import timedelta
from typing import TypedDict

from statestore.fields.windows import label_of_size
from statestore.storage.layout import LEAST_SEGMENT

_MILLISECOND = timedelta(milliseconds=1)
SEGMENTS = 2
"""Segments in a retention: a fetch reads one more at most, and a third of the rows on disk have ended."""


class StoredWindow(TypedDict):
    """Times in milliseconds."""

    size_ms: int | None
    """The size of the windows; ``None``: sessions, which have each their own."""
    retention_ms: int
    segment_ms: int
    """How much time the rows of a segment span, for as long as the store exists."""


def stored_window(size: timedelta | None, retention: timedelta) -> StoredWindow:
    """Return what a new store is like: of windows, without ``size`` of sessions."""
    size_ms = None if size is None else size // _MILLISECOND
    retention_ms = retention // _MILLISECOND
    segment_ms = max(retention_ms // SEGMENTS, size_ms or 0, LEAST_SEGMENT)
    return {"size_ms": size_ms, "retention_ms": retention_ms, "segment_ms": segment_ms}


def continued_window(old: StoredWindow | None, new: StoredWindow | None) -> StoredWindow | None:
    """Return what a store is like that was made as ``old`` and goes on as ``new``, with the same size."""
    return None if old is None or new is None else {**new, "segment_ms": old["segment_ms"]}


def label_of(window: StoredWindow | None) -> str | None:
    """Return the label of the size of windows, ``None`` for what has none."""
    size = None if window is None else window["size_ms"]
    return None if size is None else label_of_size(size * _MILLISECOND)


def described_window(window: StoredWindow | None) -> str:
    """Return in words what a store without a topic is."""
    if window is None:
        return "a store of keys and values"
    kept = f"retention={label_of_size(window['retention_ms'] * _MILLISECOND)!r}"
    size = label_of(window)
    return f"sessions with {kept}" if size is None else f"windows with size={size!r}, {kept}"
