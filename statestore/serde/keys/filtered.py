"""Ranges of keys whose bytes say nothing of the order of their values."""

from __future__ import annotations

from typing import Any

from statestore.serde.formats import KeyPlan

Values = tuple[Any, ...]


def filtered(count: int, start: Values | None, stop: Values | None, prefix: Values | None) -> KeyPlan:
    """Return how to find a range among keys of ``count`` fields: look at all of them.

    The bounds are as decoding gives them.
    """

    def accepts(key: Values) -> bool:
        return (
            (start is None or key[: len(start)] >= start)
            and (stop is None or key[: len(stop)] < stop)
            and (not prefix or _begins(key, prefix, count))
        )

    return KeyPlan([(None, None, None)], accepts, "full scan, filtered and sorted into key order")


def _begins(key: Values, prefix: Values, count: int) -> bool:
    # As with ordered keys: text may go on behind a prefix.
    if len(prefix) == count and isinstance(prefix[-1], str | bytes):
        return bool(key[:-1] == prefix[:-1] and key[-1].startswith(prefix[-1]))
    return key[: len(prefix)] == prefix
