"""Tables over stores and scans that are filled without Kafka, and what their columns are compared with."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Annotated, Any, cast
from uuid import UUID

import pyarrow as pa

from statestore import Key, entity
from statestore.core import WriteRun
from statestore.entity import model_of
from statestore.fields.attributes import Float32, Int16, Int32, MaxLength, Precision
from statestore.serde.entities import EntityCodec
from statestore.storage.changelog_store import ChangelogStore
from statestore.storage.layout import DATA, HEADER, Position
from statestore.tables.table import Table

SPACE = HEADER * b"\0"


@entity(topic="wide")
@dataclass(frozen=True, slots=True)
class Wide:
    """All scalars, as fields of the key and of the value."""

    number: Annotated[int, Key]
    text: Annotated[str, Key]
    good: bool
    count: int
    ratio: float
    price: Annotated[Decimal, Precision(9, 3)]
    whole: Annotated[Decimal, Precision(38, 0)]
    free: Decimal
    name: str
    raw: bytes
    at: datetime
    day: date
    uuid: UUID
    short: Annotated[int, Int16]
    half: Annotated[int, Int32]
    single: Annotated[float, Float32]
    bounded: Annotated[str, MaxLength(4)]
    data: Annotated[bytes, Key]
    time: Annotated[datetime, Key]
    born: Annotated[date, Key]
    id: Annotated[UUID, Key]
    last: Annotated[str, Key]


@entity(topic="sparse")
@dataclass(frozen=True, slots=True)
class Sparse:
    number: Annotated[int, Key]
    good: bool | None = None
    count: int | None = None
    ratio: float | None = None
    price: Annotated[Decimal, Precision(9, 3)] | None = None
    name: str | None = None
    raw: bytes | None = None
    at: datetime | None = None
    day: date | None = None
    uuid: UUID | None = None
    short: Annotated[int, Int16] | None = None


OPTIONAL = [field.name for field in dataclasses.fields(Sparse)[1:]]


class Bound:
    """As much of a binding as reading takes."""

    def __init__(self, store: Any) -> None:
        self.readable: Any = store
        self.name = "rows"
        self.mirror = SimpleNamespace(counts=SimpleNamespace(decode_errors=0))


def put(store: ChangelogStore, *pairs: tuple[bytes, bytes]) -> None:
    run = WriteRun(DATA)
    for key, payload in pairs:
        run.write(key, payload, 1_234)
    store.apply(run, {0: Position(1)})


def table_of(store: Any, cls: type, way: str = "native") -> Table[Any]:
    codec: EntityCodec[Any] = EntityCodec(model_of(cls))
    if way == "rows":
        codec.decoder = None
    return Table(cast("Any", Bound(store)), codec, cls, cast("Any", None))


class Pairs:
    """A scan of these pairs, and a store that has no other."""

    indexes = ()

    def __init__(self, *pairs: tuple[bytes, bytes]) -> None:
        self._left = iter([(DATA + key, SPACE + payload) for key, payload in pairs])
        self.taken = 0
        self.closed = False

    def scan_stored(self, *_: Any) -> Pairs:
        return self

    def get_with_timestamp(self, key: bytes) -> tuple[int, bytes]:
        return 1_234, b""

    def __iter__(self) -> Pairs:
        return self

    def __next__(self) -> tuple[bytes, bytes]:
        pair = next(self._left)
        self.taken += 1
        return pair

    def close(self) -> None:
        self.closed = True


def pairs_of(rows: list[Any]) -> Pairs:
    return Pairs(*map(EntityCodec(model_of(type(rows[0]))).encode, rows))


def plain(value: Any) -> Any:
    """Return what ``to_pylist`` makes of a value."""
    if dataclasses.is_dataclass(value):
        return {one.name: plain(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, dict):
        return [(key, plain(one)) for key, one in value.items()]
    if isinstance(value, list):
        return [plain(one) for one in value]
    return value


def checked(made: pa.Table) -> list[dict[str, Any]]:
    """Return the rows of a table whose buffers are what Arrow says they must be."""
    made.validate(full=True)
    rows: list[dict[str, Any]] = made.to_pylist()
    return rows


def same(table: Table[Any]) -> pa.Table:
    """Check the columns of a table against its rows."""
    made = table.to_arrow()
    assert checked(made) == [plain(row) for row in table.to_list()]
    return made


def wide(number: int) -> Wide:
    at = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=number)
    uuid = UUID(int=number)
    return Wide(
        number, f"text {number}", number % 2 == 0, number, number / 7, Decimal(number), Decimal(number),
        Decimal(number) / 4, f"name {number}", b"x" * (number % 9), at, at.date(), uuid, number % 99, number,
        0.5, "ab", b"\0", at, at.date(), uuid, "€" * (number % 3),
    )  # fmt: skip
