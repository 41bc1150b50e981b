"""Secondary indexes in a plan: which conditions one makes a seek of, and in which order its rows come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

from statestore.core import KeyRange
from statestore.errors import EncodeError
from statestore.expressions.nodes import FieldPath, IsNull, Node, Not
from statestore.fields.types import Field, Nullable, scalar_type
from statestore.query.key_ranges import FieldRange, key_ranges
from statestore.relational.checking import OrderTerm
from statestore.serde.entities import EntityCodec
from statestore.storage.indexes import ReadyIndex
from statestore.storage.view import StoredPairs, StoreReader

MOST_SEEKS: Final = 1_000
"""More ranges than these are not looked for one by one."""

SuffixRange = tuple[bytes, bytes | None]
"""From which suffix of an index to before which."""


@dataclass(frozen=True, slots=True)
class IndexScan:
    """The rows that ranges of a secondary index name, in the order of the index or of their keys."""

    index: ReadyIndex
    ranges: tuple[SuffixRange, ...]
    bounds: tuple[Node, ...]
    """The conditions that the ranges are made of; empty: all rows."""
    in_order: bool
    """Whether rows are read in the order of the index; otherwise in that of their keys."""
    reverse: bool
    """Whether they are read from the last to the first."""
    rank: tuple[int, bool]
    """How many leading fields have one or a few values, and whether the next one has a range."""
    used: frozenset[int]
    """Which parts of the condition the ranges make true."""


@dataclass(frozen=True, slots=True)
class OpenIndex:
    """What an :class:`IndexScan` finds in one snapshot, not read yet."""

    snapshot: StoreReader
    pairs: StoredPairs
    """The stored pairs. Closing them releases the snapshot, too."""


def index_scans(
    indexes: Sequence[ReadyIndex],
    parts: Sequence[Node],
    order: Sequence[OrderTerm] | None,
    fixed: set[str],
    codec: EntityCodec[Any],
) -> list[IndexScan]:
    """Return how each of ``indexes`` finds the rows of a query, the best one first.

    ``parts`` must all be true; ``fixed`` are key fields that have one value then. ``order`` ``None``: it is
    not one of the rows' own fields.
    """
    if not indexes or not (parts or order):
        return []
    fields = [field for one in indexes for field in one.codec.fields]
    ranges = key_ranges(parts, _kinds(fields))
    nulls = _null_tests(parts, {one.name for one in fields if isinstance(one.type, Nullable)})
    told = _Told(ranges, nulls, {*fixed, *(name for name, one in ranges.items() if _is_single(one))})
    found = [
        _Reading(one, told, parts, order, codec).scan()
        for one in indexes
        if order or told.is_of(one.codec.names[0])
    ]
    scans = [one for one in found if one is not None]
    return sorted(scans, key=lambda one: (one.rank, one.in_order), reverse=True)


@dataclass(frozen=True, slots=True)
class _Told:
    """What the conditions say of indexed fields."""

    ranges: Mapping[str, FieldRange]
    nulls: Mapping[tuple[str, bool], int]
    """Which part says that a field is ``None`` (True), or is not (False)."""
    fixed: set[str]
    """Fields that have one value."""

    def is_of(self, name: str) -> bool:
        return name in self.ranges or (name, True) in self.nulls or (name, False) in self.nulls


class _Reading:
    """One index, and what the conditions say of its fields."""

    def __init__(
        self,
        index: ReadyIndex,
        told: _Told,
        parts: Sequence[Node],
        order: Sequence[OrderTerm] | None,
        codec: EntityCodec[Any],
    ) -> None:
        self._index = index
        self._fields = index.codec.fields
        self._parts = parts
        self._order = order
        self._codec = codec
        self._ranges = told.ranges
        self._nulls = told.nulls
        self._fixed = set(told.fixed)
        self._choices: list[Sequence[Any]] = []
        self._used: set[int] = set()

    def scan(self) -> IndexScan | None:
        """Return how rows are read; ``None`` where a value of the condition has no bytes."""
        self._choose()
        try:
            last, has_range = self._last()
            direction = self._direction(has_range)
            ranges = [
                one for prefix in product(*self._choices) for one in self._ranges_of(prefix, last, direction)
            ]
        except EncodeError:
            return None
        bounds = tuple([self._parts[one] for one in sorted(self._used)])
        exact = {one for one in self._used if not self._is_inexact(one)}
        return IndexScan(
            self._index,
            tuple(ranges),
            bounds,
            direction is not None,
            bool(direction),
            (len(self._choices), has_range),
            frozenset(exact),
        )

    def _choose(self) -> None:
        """Take the values of the leading fields that have a few."""
        count = 1
        for field in self._fields:
            range_ = self._ranges.get(field.name)
            null = self._nulls.get((field.name, True))
            if range_ is not None and range_.values is not None:
                count *= len(range_.values)
                if count > MOST_SEEKS:
                    return
                self._choices.append(sorted(range_.values))
                self._used.update(range_.parts)
            elif null is not None and range_ is None:
                self._choices.append([None])
                self._fixed.add(field.name)
                self._used.add(null)
            else:
                return

    def _last(self) -> tuple[FieldRange | None, bool]:
        """Return what is said of the field after the chosen ones, and whether that is anything."""
        if len(self._choices) == len(self._fields):
            return None, False
        field = self._fields[len(self._choices)]
        range_ = self._ranges.get(field.name)
        not_null = self._nulls.get((field.name, False))
        if not_null is not None:
            self._used.add(not_null)
        if range_ is not None and (range_.start is not None or range_.stop is not None):
            self._used.update(range_.parts)
            return range_, True
        return (FieldRange(), True) if not_null is not None else (None, False)

    def _is_inexact(self, part: int) -> bool:
        return any(part in one.parts and not one.is_exact for one in self._ranges.values())

    def _ranges_of(
        self, prefix: Sequence[Any], last: FieldRange | None, direction: bool | None
    ) -> list[SuffixRange]:
        encode = self._index.codec.prefix
        begin = encode(prefix)
        end = KeyRange(prefix=begin).stop
        if last is None:
            if direction is False and self._may_be_null(len(prefix)):  # None comes last in both directions
                some = self._index.codec.after_null(prefix)
                return [(some, end), (begin, some)]
            return [(begin, end)]
        start = self._index.codec.after_null(prefix) if last.start is None else encode((*prefix, last.start))
        if last.stop is not None:
            end = encode((*prefix, last.stop))
        elif scalar_type(self._fields[len(prefix)].type) is float and last.start is not None:
            end = encode((*prefix, float("nan")))  # which is in no range
        return [(start, end)]

    def _may_be_null(self, at: int) -> bool:
        if at >= len(self._fields):
            return False
        field = self._fields[at]
        return (
            isinstance(field.type, Nullable)
            and field.name not in self._ranges
            and (field.name, False) not in self._nulls
        )

    def _direction(self, has_range: bool) -> bool | None:
        """Return whether to read in reverse for the order that is asked for; ``None``: it is another one.

        Rows that are equal in all terms are in the order of the key.
        """
        if self._order is None:
            return None
        if not self._codec.key_plan().sorts_as_bytes:
            return None  # the bytes of keys, which come last in the index, do not sort as their values do
        names = [one.name for one in self._fields]
        keys = [name for name in self._codec.key_types if name not in self._fixed]
        rest = [name for name in names if name not in self._fixed]
        rest += [name for name in keys if name not in rest]
        place = 0
        direction: bool | None = None
        for term in self._order:
            match term.value:
                case FieldPath(_, (str(name),)) if name in self._fixed:
                    continue
                case FieldPath(_, (str(name),)) if place < len(rest) and name == rest[place]:
                    if direction is not None and term.descending != direction:
                        return None
                    direction = term.descending
                    place += 1
                case _ if place == len(rest):
                    break
                case _:
                    return None
        ties = bool(self._order) and all(term.descending for term in self._order)
        left = [name for name in keys if name not in rest[:place]]
        if rest[place:] != left or (left and direction is not None and direction != ties):
            return None
        direction = ties if direction is None else direction
        first = len(self._choices)
        nulls = [at for at in range(first, len(names)) if names[at] in rest and self._may_be_null(at)]
        if not direction and any(at > first or has_range for at in nulls):
            return None
        return direction


def _is_single(range_: FieldRange) -> bool:
    return range_.values is not None and len(range_.values) == 1


def _kinds(fields: Sequence[Field]) -> Mapping[str, type]:
    return {one.name: kind for one in fields if (kind := scalar_type(one.type)) is not None}


def _null_tests(parts: Sequence[Node], nullable: set[str]) -> dict[tuple[str, bool], int]:
    """Return ``_Told.nulls``. Fields that are not ``nullable`` have no bytes for ``None`` in an index."""
    found = {}
    for number, part in enumerate(parts):
        match part:
            case IsNull(FieldPath(_, (str(name),))) if name in nullable:
                found[name, True] = number
            case Not(IsNull(FieldPath(_, (str(name),)))) if name in nullable:
                found[name, False] = number
    return found
