"""Whether concurrent operations could have been made one after the other: :func:`check_history`."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from statestore.runtime.text import bounded_repr


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a client on the value of ``key``, as the client saw it.

    ``value`` was written or read; ``None`` is "no row", so that a deletion writes ``None``. Times are those
    of one clock, such as ``time.monotonic``. ``ended=None`` is for a write without an answer: it may have
    been made at any time since, or never.

    Raises ``ValueError`` for another kind, and where the end is before the beginning.
    """

    key: Hashable
    kind: Literal["read", "write"]
    value: Any
    began: float
    ended: float | None = None
    client: str = ""
    """For messages."""

    def __post_init__(self) -> None:
        if self.kind not in {"read", "write"}:
            raise ValueError(f"kind={self.kind!r}: give 'read' or 'write'; a deletion writes None")
        if not self.began <= self.end:
            raise ValueError(
                f"began={self.began:g}, ended={self.end:g}: an operation ends after it began, and both are "
                "times of one clock"
            )

    @property
    def end(self) -> float:
        return math.inf if self.ended is None else self.ended

    def __str__(self) -> str:
        who = f"{self.client}: " if self.client else ""
        ended = "no answer" if self.ended is None else f"{self.ended:g}"
        return f"{who}{self.kind} {bounded_repr(self.value)} ({self.began:g} to {ended})"


class InconsistentHistoryError(AssertionError):
    """No order of the operations on ``key`` explains what they saw.

    ``unexplained`` is the operation that fits nowhere in the longest order that explains those before it.
    """

    def __init__(self, key: Hashable, unexplained: Operation, before: Sequence[Operation]) -> None:
        self.key = key
        self.unexplained = unexplained
        done = "".join(f"\n  {one}" for one in before) or "\n  nothing"
        super().__init__(
            f"key {bounded_repr(key)} is not linearizable: nothing explains\n  {unexplained}\n"
            f"after the longest order that explains what came before:{done}"
        )


def check_history(log: Iterable[Operation], initial: Mapping[Any, Any] = MappingProxyType({})) -> None:
    """Check that the operations on each key are linearizable: as if each was made at once, while it ran.

    So a read sees the last write that ended before it began, or one that ran beside it, and what one read has
    seen no later one misses. ``initial`` are the values before the first operation, ``None`` by default.

    This is the search of Wing and Gong, with Lowe's memory of what was tried. Its time grows with how many
    operations on one key run at once, not with the log. Raises :class:`InconsistentHistoryError`.
    """
    by_key: dict[Any, list[Operation]] = {}
    for one in log:
        if one.kind == "write" or one.ended is not None:  # a read without an answer says nothing
            by_key.setdefault(one.key, []).append(one)
    for key, operations in by_key.items():
        _check_key(key, sorted(operations, key=lambda one: one.began), initial.get(key))


def _check_key(key: Hashable, operations: list[Operation], initial: Any) -> None:
    answered = sum(1 << number for number, one in enumerate(operations) if one.ended is not None)
    # What is done, as bits, with the number of the last write; and the order in which it was done.
    todo: list[tuple[int, int, tuple[int, ...]]] = [(0, -1, ())]
    tried: set[tuple[int, int]] = set()
    longest: tuple[int, tuple[int, ...]] = (0, ())
    while todo:
        done, last, order = todo.pop()
        if not answered & ~done:
            return
        if (done, last) in tried:
            continue
        tried.add((done, last))
        if len(order) > len(longest[1]):
            longest = done, order
        value = initial if last < 0 else operations[last].value
        for number in reversed(_next(operations, done)):
            one = operations[number]
            if one.kind == "write":
                todo.append((done | 1 << number, number, (*order, number)))
            elif one.value == value:
                todo.append((done | 1 << number, last, (*order, number)))
    done, order = longest
    left = [one for number, one in enumerate(operations) if not done >> number & 1]
    raise InconsistentHistoryError(
        key, min(left, key=lambda one: one.end), [operations[number] for number in order]
    )


def _next(operations: list[Operation], done: int) -> list[int]:
    """Return the operations that may come next: no other one that is left ended before they began."""
    found = []
    first_end = math.inf
    for number, one in enumerate(operations):
        if one.began > first_end:
            break
        if not done >> number & 1:
            found.append(number)
            first_end = min(first_end, one.end)
    return found
