"""How the rows of one table are found: its keys and indexes become seeks and reads of single rows.

A :class:`TableRead` says how rows are read (its *access*), what is left of the condition to filter them by,
and whether they come in the order that is asked for. It depends on no rows, and reads nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any, Final

from statestore.expressions.evaluation import compiled
from statestore.expressions.expr import Expr
from statestore.expressions.nodes import FieldPath, Node, all_of, node_text
from statestore.expressions.type_checking import Rows, place_of
from statestore.fields.types import RecordType
from statestore.query.by_index import IndexScan, index_scans
from statestore.query.compile import Filter, compile_filter
from statestore.query.key_ranges import FieldRange, key_ranges
from statestore.relational.checking import OrderTerm, paths_of
from statestore.serde.entities import EntityCodec
from statestore.serde.formats import KeyPlan
from statestore.storage.indexes import ReadyIndex

MOST_SEEKS: Final = 1_000
"""More ranges than these are not looked for one by one, …"""
MOST_KEYS: Final = 1_000_000
"""… and more keys not read one by one."""
SOUGHT: Final = 10
"""Conditions that seek are expected to find one of so many rows."""
NO_SCAN: Final = "rows are not read in one scan"
"""Why Python filters or groups rows that are not read as stored pairs."""

Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class NoRows:
    """No row can fulfil the condition; nothing is read."""

    reason: str


@dataclass(frozen=True, slots=True)
class PointReads:
    """The rows of these keys, in their order."""

    keys: Sequence[Key]


@dataclass(frozen=True, slots=True)
class KeyScan:
    """The rows of ranges of keys, in the order of the keys' values."""

    keys: KeyPlan
    bounds: tuple[Node, ...]
    """The conditions that the ranges are made of; empty: all keys."""
    seeks: bool
    """Whether only the rows of the ranges are read, and not all keys."""


Access = NoRows | PointReads | KeyScan | IndexScan


@dataclass(frozen=True, slots=True)
class Order:
    """The order in which the rows of a table are wanted. Without terms any order will do."""

    terms: tuple[OrderTerm, ...] = ()
    rows: tuple[Rows, ...] = ()
    """What the terms are over: the table, and those that are joined with it."""
    saves_sorting: bool = False
    """Whether the order alone is worth an index: the first few of all rows are wanted."""

    @property
    def descends(self) -> bool:
        """Whether rows that are equal in all terms come in the reversed order of the key."""
        return bool(self.terms) and all(term.descending for term in self.terms)

    @property
    def is_of_table(self) -> bool:
        """Whether all terms are over the table alone."""
        return len(self.rows) < 2 or all(is_of(term.value, 0, self.rows) for term in self.terms)


@dataclass(frozen=True)
class TableRead:
    """How the rows of one table are found and filtered. Any number of threads may share one."""

    codec: EntityCodec[Any]
    record: RecordType
    parts: tuple[Node, ...]
    """The conditions on the table."""
    order: Order
    access: Access
    condition: Node | None
    """What is left to filter rows by."""
    reverse: bool
    """Whether rows are read from the last to the first."""
    sorted: bool
    """Whether rows are read in the order that is asked for."""

    @property
    def reads_all(self) -> bool:
        """Whether all keys of the table are read."""
        return isinstance(self.access, KeyScan) and not self.access.seeks

    @property
    def reads_pairs(self) -> bool:
        """Whether rows are read as stored pairs, in order."""
        return isinstance(self.access, KeyScan) and self.access.keys.accepts is None

    @property
    def is_counted(self) -> bool:
        """Whether it is known how many rows are read at most, whatever there is."""
        return isinstance(self.access, NoRows | PointReads)

    def expected(self, rows: int) -> int:
        """Return how many rows of a table of about ``rows`` are expected to be read."""
        match self.access:
            case NoRows():
                return 0
            case PointReads(keys):
                return len(keys)
        return rows if self.reads_all else rows // SOUGHT

    @cached_property
    def without_index(self) -> TableRead:
        """The same where an index is not worth reading."""
        return table_read(self.parts, self.order, self.codec, self.record)

    @cached_property
    def accepts(self) -> Callable[[Any], Any]:
        """What tells whether an entity fulfils the condition."""
        assert self.condition is not None
        return compiled(Expr(self.condition), self.record)

    @cached_property
    def filter(self) -> Filter | str | None:
        """What filters stored pairs, or why Python filters rows; ``None``: nothing does."""
        if self.condition is None:
            return None
        if not self.reads_pairs:
            return NO_SCAN
        return compile_filter(self.condition, self.codec, self.record)


def table_read(
    parts: Sequence[Node],
    order: Order,
    codec: EntityCodec[Any],
    record: RecordType,
    indexes: Sequence[ReadyIndex] = (),
) -> TableRead:
    """Return how the rows of a table are found of which all of ``parts`` are true.

    ``indexes`` are the secondary indexes that may be read.
    """
    ranges = key_ranges(parts, codec.key_types)
    access, used = _by_key(ranges, parts, codec)
    fixed = {name for name, one in ranges.items() if one.values is not None and len(one.values) == 1}
    key_order = _key_order(order, [name for name in codec.key_types if name not in fixed], fixed)
    reverse, is_sorted = (order.descends, False) if key_order is None else (key_order, True)
    if not _is_one_row(access):
        terms = order.terms if order.is_of_table else None
        for best in index_scans(indexes, parts, terms, fixed, codec)[:1]:
            rank = _rank(access, ranges, codec)
            sorts_less = order.saves_sorting and best.in_order and not is_sorted
            if best.rank > rank or (best.rank == rank == (0, False) and sorts_less):
                access, used = best, set(best.used)
                if best.in_order:
                    reverse, is_sorted = best.reverse, True
    left = [part for number, part in enumerate(parts) if number not in used]
    condition = all_of(left) if left else None
    return TableRead(codec, record, tuple(parts), order, access, condition, reverse, is_sorted)


def is_of(node: Node, place: int, rows: Sequence[Rows]) -> bool:
    """Whether all fields in an expression over ``rows`` are of one of them, that at ``place``."""
    return all(place_of(path, rows) == place for path in paths_of(node))


def why_all(parts: Sequence[Node], codec: EntityCodec[Any], indexes: Sequence[ReadyIndex]) -> str:
    """Return why conditions on a table find its rows by no key and no index."""
    ranges = key_ranges(parts, codec.key_types)
    names = list(codec.key_types)
    first = names[0]
    if ranges and codec.key_plan().accepts is not None:
        return (
            f'keys of key_format="{codec.key_format}" do not sort as their values do; a condition == or in_ '
            f"on all of {', '.join(names)} reads single rows"
        )
    if first in ranges:
        return f"the values in the condition on {first} cannot be keys of this format, or are too many"
    others = f", not on {', '.join(sorted(ranges))} alone" if ranges else ""
    firsts = " or ".join(dict.fromkeys(one.codec.names[0] for one in indexes))
    by_index = f" or on {firsts}, the first of an index," if firsts else ""
    return (
        f"no condition that can seek: those on {first}, the first key field,{by_index} can{others} "
        "(==, in_, between, <, <=, >, >=, startswith, joined by &)"
    )


def _is_one_row(access: Access) -> bool:
    return isinstance(access, NoRows) or (isinstance(access, PointReads) and len(access.keys) == 1)


def _rank(access: Access, ranges: dict[str, FieldRange], codec: EntityCodec[Any]) -> tuple[int, bool]:
    """Return how many leading key fields have one or a few values, and whether the next one has a range."""
    if not isinstance(access, KeyScan):
        return len(codec.key_types) + 1, True  # single rows, or none
    if not access.seeks:
        return 0, False
    leading = len(_choices(ranges, codec))
    return leading, leading < len(codec.key_types) and list(codec.key_types)[leading] in ranges


def _by_key(
    ranges: dict[str, FieldRange], parts: Sequence[Node], codec: EntityCodec[Any]
) -> tuple[Access, set[int]]:
    """Return how rows are found by their keys, and which parts of the condition that makes true."""
    for name, range_ in ranges.items():
        if range_.is_empty:
            told = " & ".join(node_text(parts[number]) for number in range_.parts)
            return NoRows(f"no {name} fulfils {told}"), set(range(len(parts)))
    choices = _choices(ranges, codec)
    names = list(codec.key_types)
    used = {part for name in names[: len(choices)] for part in ranges[name].parts}
    if len(choices) == len(names) and not codec.numbers_rows:
        return PointReads(list(product(*choices))), used
    last = ranges.get(names[len(choices)]) if len(choices) < len(names) else None
    if last is not None:
        bounds = [bound for bound in (last.start, last.stop) if bound is not None]
        before = tuple(one[0] for one in choices)
        if last.values is None and all(codec.is_bound((*before, bound)) for bound in bounds):
            used.update(last.parts)
        else:
            last = None
    bound_by = tuple([parts[one] for one in sorted(used)])
    return _scan(list(product(*choices)), last, codec, bound_by), used


def _choices(ranges: dict[str, FieldRange], codec: EntityCodec[Any]) -> list[list[Any]]:
    """Return the values of the leading key fields that have a few, sorted, as far as a key can have them."""
    choices: list[list[Any]] = []
    count = 1
    for name in codec.key_types:
        range_ = ranges.get(name)
        if range_ is None or range_.values is None:
            break
        count *= len(range_.values)
        makes_whole = len(choices) + 1 == len(codec.key_types)
        if count > (MOST_KEYS if makes_whole else MOST_SEEKS):
            break
        if not _are_exact(codec, choices, range_.values):
            break
        choices.append(sorted(range_.values))
    return choices


def _are_exact(codec: EntityCodec[Any], choices: Sequence[Sequence[Any]], values: Any) -> bool:
    before = tuple(one[0] for one in choices)
    return all(codec.is_exact((*before, value)) for value in values)


def _scan(
    prefixes: Sequence[Key], last: FieldRange | None, codec: EntityCodec[Any], bounds: tuple[Node, ...]
) -> KeyScan:
    plans = [codec.key_plan(*bound) for bound in _bounds(prefixes, last)]
    if len(plans) == 1:
        (plan,) = plans
        return KeyScan(plan, bounds, bool(bounds) and plan.accepts is None)
    if plans[0].accepts is None:
        ranges = [one for plan in plans for one in plan.ranges]
        filters = [one for plan in plans for one in plan.filters]
        note = f"{len(ranges)} seeks, in key order"
        return KeyScan(KeyPlan(ranges, None, note, filters), bounds, seeks=True)
    accepts = [plan.accepts for plan in plans if plan.accepts is not None]
    joined = KeyPlan(plans[0].ranges, lambda key: any(one(key) for one in accepts), plans[0].note)
    return KeyScan(joined, bounds, seeks=False)


def _bounds(prefixes: Sequence[Key], last: FieldRange | None) -> Iterator[tuple[Key | None, ...]]:
    for prefix in prefixes:
        start = None if last is None or last.start is None else (*prefix, last.start)
        stop = None if last is None or last.stop is None else (*prefix, last.stop)
        yield start, stop, prefix or None


def _key_order(order: Order, key: Sequence[str], fixed: set[str]) -> bool | None:
    """Return whether to read in reverse for the rows to come in ``order``; ``None``: they cannot.

    ``key`` are the key fields that are not ``fixed``, to one value.
    """
    place = 0
    direction: bool | None = None
    for term in order.terms:
        path = term.value
        name = None
        if isinstance(path, FieldPath) and len(path.steps) == 1 and place_of(path, order.rows) == 0:
            name = path.steps[0]
        if name is not None and name in fixed:
            continue
        if place == len(key) and len(order.rows) == 1:  # the rows before this differ already
            break
        if place == len(key) or name != key[place] or direction not in (None, term.descending):
            return None
        direction = term.descending
        place += 1
    if direction is None:
        return order.descends
    return direction if place == len(key) or direction == order.descends else None
