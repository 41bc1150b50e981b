"""An entity with every type that an expression can be of, its rows, and these as ksqlDB has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Final
from uuid import UUID

from hypothesis import strategies as st

from statestore import Format, Int32, Key, Precision, entity
from statestore.entity import model_of
from statestore.ksql.scope import Scope


@dataclass(frozen=True)
class Address:
    city: str
    floor: int | None = None


@entity(topic="ORDERS", key_format="kafka", value_format="json", ksql=True)
@dataclass(frozen=True)
class Order:
    id: Annotated[int, Key]
    small: Annotated[int, Int32]
    count: int
    maybe: int | None
    amount: Annotated[Decimal, Precision(9, 2)]
    fee: Annotated[Decimal, Precision(12, 4)] | None
    rate: float
    ratio: float | None
    name: str
    note: str | None
    paid: bool
    seen: bool | None
    at: datetime
    until: datetime | None
    sent: Annotated[datetime, Format("epoch_s")]
    written: Annotated[datetime, Format("%Y-%m-%d %H:%M")]
    day: date
    ref: UUID
    raw: bytes
    address: Address | None
    tags: dict[str, int]
    prices: list[float]


RECORD: Final = model_of(Order).record_type
TYPES: Final[Mapping[str, Any]] = {
    "ID": "BIGINT",
    "SMALL": "INT",
    "COUNT": "BIGINT",
    "MAYBE": "BIGINT",
    "AMOUNT": ("DECIMAL", 9, 2),
    "FEE": ("DECIMAL", 12, 4),
    "RATE": "DOUBLE",
    "RATIO": "DOUBLE",
    "NAME": "VARCHAR",
    "NOTE": "VARCHAR",
    "PAID": "BOOLEAN",
    "SEEN": "BOOLEAN",
    "AT": "TIMESTAMP",
    "UNTIL": "TIMESTAMP",
    "SENT": "BIGINT",
    "WRITTEN": "VARCHAR",
    "DAY": "DATE",
    "REF": "VARCHAR",
    "RAW": "BYTES",
    "ADDRESS": ("STRUCT", {"CITY": "VARCHAR", "FLOOR": "BIGINT"}),
    "TAGS": ("MAP", "BIGINT"),
    "PRICES": ("ARRAY", "DOUBLE"),
}
"""The types of its columns."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def order_with(**given: Any) -> Order:
    """Return an order with these fields, all others plain or None."""
    fields: dict[str, Any] = {
        "id": 1,
        "small": 1,
        "count": 1,
        "maybe": None,
        "amount": Decimal("1.00"),
        "fee": None,
        "rate": 1.0,
        "ratio": None,
        "name": "a",
        "note": None,
        "paid": True,
        "seen": None,
        "at": datetime(2024, 1, 1, tzinfo=UTC),
        "until": None,
        "sent": datetime(2024, 1, 1, tzinfo=UTC),
        "written": datetime(2024, 1, 1, tzinfo=UTC),
        "day": datetime(2024, 1, 1, tzinfo=UTC).date(),
        "ref": UUID(int=0),
        "raw": b"",
        "address": None,
        "tags": {},
        "prices": [],
    }
    return Order(**{**fields, **given})


def scope_of_orders(alias: str | None = None) -> Scope:
    """Return a scope over the class."""
    return Scope((RECORD,), (alias,), (True,))


def stored(order: Order) -> dict[str, Any]:
    """Return the row of an order in ksqlDB."""
    row = {name.upper(): getattr(order, name) for name in Order.__dataclass_fields__}
    row["AT"], row["UNTIL"] = _milliseconds(order.at), _milliseconds(order.until)
    row["SENT"] = (_milliseconds(order.sent) or 0) // 1000
    row["WRITTEN"] = order.written.strftime("%Y-%m-%d %H:%M")
    row["DAY"] = (order.day - _EPOCH.date()).days
    row["REF"] = str(order.ref)
    if order.address is not None:
        row["ADDRESS"] = {"CITY": order.address.city, "FLOOR": order.address.floor}
    return row


def _milliseconds(at: datetime | None) -> int | None:
    return None if at is None else (at - _EPOCH) // timedelta(milliseconds=1)


# Values near each other, so that they are often equal, and at the ends of their types.

ints32 = st.sampled_from([0, 1, -1, 2, 3, 7, -7, 100, 2**31 - 1, -(2**31)])
ints = st.sampled_from([0, 1, -1, 2, 3, 7, -7, 100, 2**31, 2**53, 2**53 + 1, 2**62, 2**63 - 1, -(2**63)])
floats = st.sampled_from([0.0, -0.0, 1.0, -1.0, 1.5, 2.0, 3.0, 7.0, 1e-3, 1e300, -1e300, 5e-324])
texts = st.text(st.sampled_from(list("ab%_\\'é\n\r\u2028\ue000\uffff😀𐀀.*[")), max_size=4)
instants = st.sampled_from([0, 1, -1, 999, 1000, 1001, 1_500_000, 1_704_067_200_000]).map(
    lambda ms: _EPOCH + timedelta(milliseconds=ms)
)
days = st.sampled_from([date(1, 1, 1), date(1970, 1, 1), date(2024, 2, 29), date(9999, 12, 31)])
refs = st.integers(0, 3).map(lambda number: UUID(int=number << 64))
raws = st.binary(max_size=2)


def decimals(digits: int, scale: int) -> st.SearchStrategy[Decimal]:
    """Return Decimals of a precision, as they are read."""
    most = 10**digits - 1
    numbers = st.sampled_from([0, 1, -1, 10**scale, 3 * 10**scale, 15 * 10 ** (scale - 1), most, -most])
    return numbers.map(lambda number: Decimal((int(number < 0), tuple(map(int, str(abs(number)))), -scale)))


def or_none(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return the same, or None."""
    return st.none() | values


orders: Final = st.builds(
    Order,
    id=ints,
    small=ints32,
    count=ints,
    maybe=or_none(ints),
    amount=decimals(9, 2),
    fee=or_none(decimals(12, 4)),
    rate=floats,
    ratio=or_none(floats),
    name=texts,
    note=or_none(texts),
    paid=st.booleans(),
    seen=or_none(st.booleans()),
    at=instants,
    until=or_none(instants),
    sent=instants.map(lambda at: at.replace(microsecond=0)),
    written=st.just(_EPOCH),
    day=days,
    ref=refs,
    raw=raws,
    address=or_none(st.builds(Address, city=texts, floor=or_none(ints))),
    tags=st.dictionaries(st.sampled_from(["a", "b'c"]), ints, max_size=2),
    prices=st.lists(floats, max_size=2),
)
