"""Joins: the partners of each row in another table, looked up, or found in a hash table of its rows.

Where ``on`` gives the leading fields of the other table's key, or of one of its indexes, partners are looked
up, each value of ``on`` once. When that has taken so many lookups that reading the table once is less work,
its rows go into a hash table after all. So nobody needs to know before how many rows there are to join.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, Final

from statestore.core import KeyRange
from statestore.errors import EncodeError
from statestore.expressions.evaluation import compiled
from statestore.expressions.expr import Expr
from statestore.expressions.nodes import FieldPath, Node, all_of
from statestore.expressions.type_checking import Rows, expression_type
from statestore.fields.types import scalar_type
from statestore.query.index_rows import rows_of_index
from statestore.query.nans import nan_test
from statestore.query.reading import TableRead
from statestore.query.rows import find, stored_pairs
from statestore.query.source import Source
from statestore.query.table_rows import opened, table_rows
from statestore.relational.values import Join, Query
from statestore.serde.entities import EntityCodec
from statestore.storage.indexes import ReadyIndex
from statestore.storage.layout import DATA, HEADER

Values = tuple[Any, ...]
"""What a row has on one side of each equality of ``on``."""

BY_KEY: Final = 2
"""To look up a row by its key is as much work as reading so many rows one after the other, …"""
BY_SEEK: Final = 8
"""… and to look up rows by an index, or by a part of the key."""
FEWEST_LOOKUPS: Final = 100
"""So many lookups are made in any case, where it is not known how many rows would be read instead."""
FIRST_ROWS: Final = 16
"""How many rows are looked up together at first; then ever more, …"""
MOST_ROWS: Final = 1000
"""… up to so many."""


@dataclass(frozen=True, slots=True)
class Lookup:
    """How the partners of a row are looked up."""

    index: ReadyIndex | None
    """In which index; ``None``: by the key."""
    names: tuple[str, ...]
    """The leading fields of the key or of the index that ``on`` gives."""
    places: tuple[int, ...]
    """Which equality of ``on`` gives each of them."""
    is_whole_key: bool
    """Whether there is one partner at most, since these are all fields of the key."""


@dataclass(frozen=True)
class JoinPlan:
    """How a table is joined with the rows of those before it. Any number of threads may share one."""

    join: Join
    before: tuple[Rows, ...]
    """What the rows of the tables before it are."""
    is_outer: bool
    """Whether rows without a partner stay. Not those that a condition on the partner would drop."""
    lookup: Lookup | None
    """How partners are looked up; ``None``: in no way."""
    read: TableRead
    """How all rows that can be partners are read, into a hash table."""

    @cached_property
    def values_before(self) -> list[Callable[[Any], Any]]:
        """What a row of those before has on its side of each equality of ``on``."""
        return [_joinable(node, *self.before) for node in self.join.left]

    @cached_property
    def values_of_partner(self) -> list[Callable[[Any], Any]]:
        """What a row of the table has on its side."""
        return [_joinable(node, self.read.record) for node in self.join.right]

    @cached_property
    def accepts(self) -> Callable[[Any], Any] | None:
        """What tells whether a row of the table fulfils the conditions on it; ``None``: there are none."""
        parts = self.read.parts
        return compiled(Expr(all_of(parts)), self.read.record) if parts else None

    def most_lookups(self, rows: int) -> int:
        """Return after how many lookups the hash table is less work, in a table of about ``rows`` rows."""
        if self.lookup is None:
            return 0
        most = self.read.expected(rows) // (BY_KEY if self.lookup.is_whole_key else BY_SEEK)
        return most if self.read.is_counted else max(FEWEST_LOOKUPS, most)


def join_plan(
    join: Join,
    rows: Sequence[Rows],
    read: TableRead,
    indexes: Sequence[ReadyIndex],
    *,
    is_outer: bool,
) -> JoinPlan:
    """Return how a table is joined: the last of ``rows``, which ``read`` finds and which has ``indexes``."""
    *before, _ = rows
    given = {
        right.steps[0]: place
        for place, (left, right) in reversed(list(enumerate(zip(join.left, join.right, strict=True))))
        if isinstance(right, FieldPath) and len(right.steps) == 1 and _same_type(left, before, right, read)
    }
    key_names = list(read.codec.key_types)
    found = [_lookup(None, key_names, given)]
    if read.codec.key_plan().accepts is not None and len(found[0].names) < len(key_names):
        found = []  # its bytes tell nothing of a part of such a key
    found += [_lookup(one, one.codec.names, given) for one in indexes]
    best = max(found, key=lambda one: (one.is_whole_key, len(one.names)), default=None)
    return JoinPlan(join, tuple(before), is_outer, best if best is not None and best.names else None, read)


def _lookup(index: ReadyIndex | None, names: Sequence[str], given: Mapping[Any, int]) -> Lookup:
    places: list[int] = []
    for name in names:
        if name not in given:
            break
        places.append(given[name])
    is_whole_key = index is None and len(places) == len(names)
    return Lookup(index, tuple(names[: len(places)]), tuple(places), is_whole_key)


def _same_type(left: Node, before: Sequence[Rows], right: Node, read: TableRead) -> bool:
    """Whether bytes tell that both sides are equal: a float may equal an int, whose bytes are others."""
    kind = scalar_type(expression_type(Expr(left), *before))
    return kind is not None and kind is scalar_type(expression_type(Expr(right), read.record))


def joined(
    rows: Iterable[Any], plan: JoinPlan, query: Query[Any], place: int, source: Source[Any]
) -> Iterator[Any]:
    """Give each row with each of its partners in ``source``, table ``place`` of the query, a snapshot.

    The partners of one row are in the order of their keys.
    """
    values_of = plan.values_before
    nobody: Sequence[Any] = (None,) if plan.is_outer else ()
    is_first = place == 1
    partners = _Partners(plan, query, source)
    for some in _chunks(rows):
        asked = [tuple([value_of(row) for value_of in values_of]) for row in some]
        found = partners.of(asked)
        for row, values in zip(some, asked, strict=True):
            head = (row,) if is_first else row
            for partner in found.get(values, ()) or nobody:
                yield (*head, partner)


def _chunks(rows: Iterable[Any]) -> Iterator[list[Any]]:
    left, count = iter(rows), FIRST_ROWS
    while some := list(islice(left, count)):
        yield some
        count = min(2 * count, MOST_ROWS)


def _joinable(node: Node, *types: Rows) -> Callable[[Any], Any]:
    """Return what gives a row's value of ``node``: ``None``, which equals none, for NaN, too."""
    value_of = compiled(Expr(node), *types)
    is_nan = nan_test(expression_type(Expr(node), *types))
    if is_nan is None:
        return value_of

    def joinable(row: Any) -> Any:
        value = value_of(row)
        return None if value is None or is_nan(value) else value

    return joinable


class _Partners:
    """The rows of a table by their values on the right side of a join: those looked up so far, or all."""

    def __init__(self, plan: JoinPlan, query: Query[Any], source: Source[Any]) -> None:
        self._read = plan.read
        self._query = query
        self._source = source
        self._codec: EntityCodec[Any] = source.codec
        self._found: dict[Values, list[Any]] = {}
        self._wanted_lookup = plan.lookup
        self._lookup = _usable(plan.lookup, source)
        self._lookups = 0
        self._most = plan.most_lookups(source.approximate_count())
        self._keeps = plan.read.reads_all and source.refuses_scan(query)
        """Whether partners are looked up however many lookups that takes."""
        self._is_whole = False
        self._values_of = plan.values_of_partner
        self._accepts = plan.accepts

    def of(self, asked: Sequence[Values]) -> Mapping[Values, Sequence[Any]]:
        """Return the partners of all of ``asked``, and of others."""
        if self._is_whole:
            return self._found
        new = dict.fromkeys(one for one in asked if one not in self._found and None not in one)
        if not new:
            return self._found
        self._lookups += len(new)
        if self._lookup is None or (self._lookups > self._most and not self._keeps):
            self._read_all()
        else:
            self._found.update((one, []) for one in new)
            for entity in self._looked_up(self._lookup, list(new)):
                values = self._values(entity)
                if values in new and (self._accepts is None or self._accepts(entity)):
                    self._found[values].append(entity)
        return self._found

    def _values(self, entity: Any) -> Values:
        return tuple([value_of(entity) for value_of in self._values_of])

    def _read_all(self) -> None:
        self._found = {}
        self._is_whole = True
        if self._read.reads_all and self._wanted_lookup is not None:
            self._source.check_scan(self._query, self._why_not(self._wanted_lookup))
        read, access = opened(self._read, self._source, self._query)
        for entity in table_rows(read, access, self._source).rows:
            values = self._values(entity)
            if None not in values:
                self._found.setdefault(values, []).append(entity)

    def _why_not(self, lookup: Lookup) -> str:
        """Return why all rows are read although they can be looked up."""
        if self._lookup is None and lookup.index is not None:
            return f"the index ({lookup.index.codec.name}) is not there at the moment"
        names = ", ".join(lookup.names)
        return f"a join has so many values of {names} to look up that reading the table once is less work"

    def _looked_up(self, lookup: Lookup, asked: Sequence[Values]) -> Iterator[Any]:
        """Give the rows that have the values of the fields that are looked up, in the order of their keys."""
        prefixes = dict.fromkeys(tuple([values[place] for place in lookup.places]) for values in asked)
        stored: Iterable[tuple[bytes, bytes]]
        if lookup.index is not None:
            pairs = rows_of_index(lookup.index, self._suffixes(lookup.index, prefixes), self._source)
            stored = ((key[len(DATA) :], value[HEADER:]) for key, value in pairs)
        elif lookup.is_whole_key:
            stored = self._by_key(prefixes)
        else:
            stored = self._by_prefix(prefixes)
        for key, payload in stored:
            yield self._source.decode(self._source.store, key, payload)

    def _suffixes(
        self, index: ReadyIndex, prefixes: Iterable[Values]
    ) -> Iterator[tuple[bytes, bytes | None]]:
        for values in prefixes:
            try:
                start = index.codec.prefix(values)
            except EncodeError:  # no row has such a value
                continue
            yield start, KeyRange(prefix=start).stop

    def _by_key(self, keys: Iterable[Values]) -> Iterator[tuple[bytes, bytes]]:
        store = self._source.store
        single = self._codec.has_one_key  # else there may be several for the same values
        encoded: list[bytes] = []
        found: dict[bytes, bytes] = {}  # each once: a key may have one text for several times, cut to seconds
        for values in keys:
            try:
                if single:
                    encoded.append(self._codec.encode_key(values))
                elif (pair := find(store, self._codec, self._source.counts, values)) is not None:
                    found[pair[0]] = pair[1]
            except EncodeError:  # no key has such a value
                continue
        yield from found.items()
        for key, payload in zip(encoded, store.get_many(encoded), strict=True):
            if payload is not None:
                yield key, payload

    def _by_prefix(self, prefixes: Iterable[Values]) -> Iterator[tuple[bytes, bytes]]:
        for values in prefixes:
            try:
                plan = self._codec.key_plan(prefix=values)
            except EncodeError:
                continue
            for key, value in stored_pairs(self._source.store, plan, reverse=False, limit=None):
                yield key[len(DATA) :], value[HEADER:]


def _usable(lookup: Lookup | None, source: Source[Any]) -> Lookup | None:
    """Return ``lookup`` if the snapshot has its index: it may have changed since it was chosen."""
    if lookup is None or lookup.index is None:
        return lookup
    prefix = lookup.index.prefix
    return lookup if any(one.prefix == prefix for one in source.store.indexes) else None
