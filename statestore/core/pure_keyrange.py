"""The twin of ``_native/keyrange.pxi``: ranges of keys."""

from __future__ import annotations

from typing import NoReturn, final

from statestore.core.common import must_be_bytes


@final
class KeyRange:
    """The keys from ``start`` (included) to ``stop`` (excluded) that begin with ``prefix``; a value.

    ``None`` is open. With a ``namespace`` it is the range of these keys with the namespace in front of each.
    Prefix and namespace are folded into ``start`` and ``stop``, which say all of the range. A range with
    ``start >= stop`` is empty, not an error. Raises ``TypeError`` for a bound that is not ``bytes``.
    """

    __slots__ = ("start", "stop")

    start: bytes | None
    stop: bytes | None

    def __init__(
        self,
        start: bytes | None = None,
        stop: bytes | None = None,
        prefix: bytes | None = None,
        namespace: bytes | None = None,
    ) -> None:
        for name, bound in (("start", start), ("stop", stop), ("prefix", prefix)):
            if bound is not None and not isinstance(bound, bytes):
                raise must_be_bytes(name, bound)
        if prefix:
            end = _end_of_prefix(prefix)
            start = prefix if start is None or start < prefix else start
            if end is not None and (stop is None or stop > end):
                stop = end
        if namespace is not None:
            start = namespace if start is None else namespace + start
            stop = _end_of_prefix(namespace) if stop is None else namespace + stop
        set_attribute = super().__setattr__
        set_attribute("start", start if start is None else bytes(start))
        set_attribute("stop", stop if stop is None else bytes(stop))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a KeyRange is immutable: {name} cannot be set")

    def __eq__(self, other: object) -> bool:
        if type(other) is not KeyRange:
            return NotImplemented
        return self.start == other.start and self.stop == other.stop

    def __hash__(self) -> int:
        return hash((self.start, self.stop))

    def __repr__(self) -> str:
        return f"KeyRange(start={self.start!r}, stop={self.stop!r})"


def _end_of_prefix(prefix: bytes) -> bytes | None:
    """Return the first key after every key with ``prefix``, or None."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1]) if stem else None
