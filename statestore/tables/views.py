"""Keys, values and items of a table, as a ``dict`` has them."""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterator, KeysView, ValuesView
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Viewed(Generic[R]):
    """What a view asks its table, or a snapshot of one."""

    table: object
    """What the ``repr`` of the view shows."""
    rows: Callable[[bool], Iterator[R]]
    """Reads what the view shows, reversed or not."""
    count: Callable[[], int]
    find: Callable[[Any], Any]
    """Returns the value of a key, ``None`` where there is none."""


class TableKeys(KeysView[K]):
    """The keys of a table in their order. Each iteration shows one instant, and decodes no value."""

    def __init__(self, viewed: Viewed[K]) -> None:
        self._viewed = viewed
        self._mapping: Any = viewed.table  # for repr

    def __len__(self) -> int:
        return self._viewed.count()

    def __contains__(self, key: object) -> bool:
        return self._viewed.find(key) is not None

    def __iter__(self) -> Iterator[K]:
        return self._viewed.rows(False)

    def __reversed__(self) -> Iterator[K]:
        return self._viewed.rows(True)


class TableValues(ValuesView[V]):
    """The values of a table in the order of their keys. Each iteration shows one instant."""

    def __init__(self, viewed: Viewed[V]) -> None:
        self._viewed = viewed
        self._mapping: Any = viewed.table

    def __len__(self) -> int:
        return self._viewed.count()

    def __contains__(self, value: object) -> bool:
        return any(value == one for one in self)

    def __iter__(self) -> Iterator[V]:
        return self._viewed.rows(False)

    def __reversed__(self) -> Iterator[V]:
        return self._viewed.rows(True)


class TableItems(ItemsView[K, V]):
    """The pairs of key and value of a table, in the order of the keys. Each iteration shows one instant."""

    def __init__(self, viewed: Viewed[tuple[K, V]]) -> None:
        self._viewed = viewed
        self._mapping: Any = viewed.table

    def __len__(self) -> int:
        return self._viewed.count()

    def __contains__(self, item: object) -> bool:
        if not isinstance(item, tuple) or len(item) != 2:
            return False
        value = self._viewed.find(item[0])
        return value is not None and bool(value == item[1])

    def __iter__(self) -> Iterator[tuple[K, V]]:
        return self._viewed.rows(False)

    def __reversed__(self) -> Iterator[tuple[K, V]]:
        return self._viewed.rows(True)
