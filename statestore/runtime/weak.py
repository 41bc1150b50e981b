"""Objects that are known for as long as somebody else has them.

Unlike the collections of ``weakref`` these run no Python where an object dies. An exception of a signal
handler would be lost there, and could leave an entry that nothing removes.
"""

from __future__ import annotations

import weakref
from collections.abc import Hashable, Iterator
from functools import partial
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")
V = TypeVar("V")


class Living(Generic[T]):
    """A set of objects that does not keep them alive. Thread-safe."""

    def __init__(self) -> None:
        self._known: set[weakref.ref[T]] = set()

    def add(self, one: T) -> None:
        self._known.add(weakref.ref(one, self._known.discard))

    def __iter__(self) -> Iterator[T]:
        """Iterate over those that live now; others may be added meanwhile."""
        found = (known() for known in list(self._known))
        return (one for one in found if one is not None)


class LivingKeys(Generic[T, V]):
    """Values of objects, which it does not keep alive. Thread-safe."""

    def __init__(self) -> None:
        self._values: dict[weakref.ref[T], V] = {}

    def put(self, one: T, value: V) -> None:
        self._values[weakref.ref(one, self._values.pop)] = value

    def __iter__(self) -> Iterator[V]:
        """Iterate over the values of those that live now."""
        return iter(list(self._values.values()))


class LivingValues(Generic[K, T]):
    """Objects by keys, which it does not keep alive. Thread-safe."""

    def __init__(self) -> None:
        self._known: dict[K, weakref.ref[T]] = {}

    def get(self, key: K) -> T | None:
        """Return the object of ``key``, if it lives."""
        known = self._known.get(key)
        return None if known is None else known()

    def put(self, key: K, one: T) -> None:
        # The reference to an earlier object of the key is gone with this, and so is what it would call.
        self._known[key] = weakref.ref(one, partial(self._known.pop, key))

    def remove(self, key: K) -> None:
        """Know the object of ``key`` no more. It is fine where there is none."""
        self._known.pop(key, None)
