"""Tables of every key format, over stores that are written without Kafka, and dicts with the same rows."""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, cast
from uuid import UUID

from statestore import Key, Query, Table, entity
from statestore.backends import StoreOptions, find_engine
from statestore.changelog.counts import Counts
from statestore.core import Readable, WriteRun
from statestore.entity import model_of
from statestore.errors import StoreNotReadyError
from statestore.expressions.evaluation import evaluate
from statestore.expressions.expr import Expr
from statestore.fields.attributes import Format, Int32
from statestore.serde.entities import EntityCodec
from statestore.serde.formats import FormatContext
from statestore.serde.indexes import EntityIndexes
from statestore.settings import RegistrySettings
from statestore.storage.changelog_store import ChangelogStore
from statestore.storage.layout import DATA, Position

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLIS = "epoch_ms"
HUGE = Decimal("1E+300000")
"""As an int it would have 300,001 digits, and take seconds to make."""
POOLS: dict[Any, list[Any]] = {
    int: [-(2**63), -2, -1, 0, 1, 2, 3, 2**63 - 1],
    Int32: [-(2**31), -1, 0, 1, 2, 2**31 - 1],
    str: ["", "\0", "a", "a\0", "ab", "b", "ß", "\ud7ff", "\ue000", "\U0010ffff"],
    bytes: [b"", b"\0", b"a", b"ab", b"\xff", b"\xff\xff"],
    UUID: [UUID(int=number) for number in (0, 1, 2, 2**128 - 1)],
    datetime: [EPOCH + timedelta(microseconds=number) for number in (-1000, 0, 1000, 2000)],
    MILLIS: [EPOCH + timedelta(milliseconds=number) for number in (-1, 0, 1, 2)],
    date: [date(1, 1, 1), date(1970, 1, 1), date(1970, 1, 2), date(9999, 12, 31)],
}
TYPES: dict[Any, Any] = {
    Int32: Annotated[int, Key, Int32],
    MILLIS: Annotated[datetime, Key, Format("epoch_ms")],
}
KEYS: list[tuple[str, tuple[Any, ...]]] = [
    ("ordered", (int,)),
    ("ordered", (str, int)),
    ("ordered", (date, str, int)),
    ("ordered", (bytes, datetime)),
    ("ordered", (UUID, bytes)),
    ("kafka", (Int32,)),
    ("kafka", (UUID,)),
    ("json", (int, str)),
    ("json", (MILLIS,)),
    ("avro", (str, datetime)),
]
CONTEXT = FormatContext(RegistrySettings(url="mock://queries"))


@cache
def entity_of(key_format: str, kinds: tuple[Any, ...]) -> type[Any]:
    """Return an entity with key fields ``k0``, ``k1``, … and values of every sort."""
    keys: list[Any] = [
        (f"k{place}", TYPES.get(kind) or Annotated[kind, Key]) for place, kind in enumerate(kinds)
    ]
    values = [("n", int | None), ("d", Decimal), ("w", float | None), ("s", str), ("ok", bool)]
    made = dataclasses.make_dataclass("Thing", [*keys, *values], frozen=True, slots=True)
    return entity(made, topic="things", key_format=key_format)


@dataclass
class Filled:
    """A table over a store that is written without Kafka, and a dict that must have the same rows."""

    store: ChangelogStore
    cls: type[Any]
    kinds: tuple[Any, ...]

    def __post_init__(self) -> None:
        self.codec: EntityCodec[Any] = EntityCodec(model_of(self.cls), CONTEXT)
        self.table: Table[Any] = Table(
            cast("Any", Bound(self.store)), self.codec, self.cls, cast("Any", None)
        )
        self.names = list(self.codec.key_types)
        self.rows: dict[tuple[Any, ...], Any] = {}

    def change(self, changes: list[Any]) -> None:
        """Write each row, or delete the row of a key."""
        run = WriteRun(DATA)
        for change in changes:
            if isinstance(change, tuple):
                run.write(self.codec.encode_key(change), None, 1)
                self.rows.pop(change, None)
            else:
                run.write(*self.codec.encode(change), 1)
                self.rows[tuple(getattr(change, name) for name in self.names)] = change
        self.store.apply(run, {0: Position(1)})

    def naive(self) -> list[Any]:
        return [self.rows[key] for key in sorted(self.rows)]


class Bound(Readable):
    def __init__(self, store: ChangelogStore) -> None:
        self.readable: Any = store.view
        self.name = "things"
        self.mirror = SimpleNamespace(counts=Counts())

    def reading(self, allow_stale: bool) -> Any:
        raise StoreNotReadyError("not ready", lag=1)


@contextmanager
def filled(key_format: str, kinds: tuple[Any, ...], backend: str, path: Path) -> Iterator[Filled]:
    with store_of(backend, path) as store:
        yield Filled(store, entity_of(key_format, kinds), kinds)


@contextmanager
def store_of(backend: str, path: Path, cls: type | None = None) -> Iterator[ChangelogStore]:
    """Open a store, with all that a table of ``cls`` keeps beside its rows."""
    engine = find_engine(backend)(64 << 20)
    opened = engine.open(path / "store", StoreOptions(changelog=True))
    model = None if cls is None else model_of(cls)
    with closing(
        ChangelogStore(
            "things",
            opened,
            engine.max_key_size,
            spellings=None if model is None else EntityCodec(model, CONTEXT).spellings,
            indexes=None if model is None else EntityIndexes(model),
        )
    ) as store:
        yield store
    engine.close()


COMPARE = [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]


def constants_of(kind: Any) -> list[Any]:
    """Return the values of a key field's type that there are, and others that can be compared with them."""
    found = POOLS[kind]
    if kind in (int, Int32):
        decimals = [Decimal("0.5"), Decimal(2), HUGE, HUGE.copy_negate()]
        return [*found, 1.5, 1.0, *decimals, 2**64, -(2**64), 1e300, math.inf]
    if kind in (datetime, MILLIS):
        ends = [datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)]
        return [*found, EPOCH + timedelta(microseconds=1), *ends]
    return [*found, "\ud800", "a\U0010ffff"] if kind is str else found


def in_order(query: Query[Any], rows: list[Any]) -> list[Any]:
    """Return rows, which are in the order of the key, in that of the query."""
    reverse = query.keys is None and query.order and all(term.descending for term in query.order)
    rows = list(reversed(rows)) if reverse else rows
    for term in query.order[::-1]:
        values = [(evaluate(Expr(term.value), row), row) for row in rows]
        known = [pair for pair in values if pair[0] is not None]
        known.sort(key=lambda pair: pair[0], reverse=term.descending)
        rows = [row for _, row in known] + [row for value, row in values if value is None]
    return rows
