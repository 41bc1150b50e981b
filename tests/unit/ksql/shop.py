"""Entities of a shop, as ksqlDB reads and writes them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Annotated

from statestore import (
    EventTime,
    F,
    Format,
    Ignored,
    Int32,
    Key,
    Name,
    Precision,
    WindowEnd,
    WindowStart,
    agg,
    entity,
)


@entity(topic="shop-orders", kind="stream", ksql=True, ksql_name="ORDERS", key_format="kafka",
        value_format="json", partitions=6)  # fmt: skip
@dataclass(frozen=True)
class Order:
    number: Annotated[int, Key]
    customer: str
    country: str
    price: Annotated[Decimal, Precision(9, 2)]
    pieces: Annotated[int, Int32]
    placed: Annotated[datetime, EventTime]
    coupon: str | None = None
    seen: Annotated[bool, Ignored("of this process")] = False


@entity(topic="payments", kind="stream", ksql=True, key_format="kafka", value_format="avro")
@dataclass(frozen=True)
class Payment:
    order: Annotated[int, Key]
    amount: Annotated[Decimal, Precision(9, 2)]
    at: Annotated[datetime, EventTime]


@entity(topic="customers", ksql=True, key_format="ordered", value_format="json", key_in_value=True)
@dataclass(frozen=True)
class Customer:
    id: Annotated[str, Key, Name("CUSTOMER_ID")]
    name: str
    city: str | None
    since: Annotated[datetime, EventTime, Format("%d.%m.%Y %H:%M:%S%z")]


@entity(topic="cities", ksql=True, key_format="kafka", value_format="json")
@dataclass(frozen=True)
class City:
    name: Annotated[str, Key]
    people: int


@entity(topic="totals", ksql=True, key_format="json", value_format="json")
@dataclass(frozen=True)
class Total:
    country: Annotated[str, Key]
    customer: Annotated[str, Key]
    orders: int


@entity(topic="by_customer", ksql=True, key_format="kafka", value_format="json")
@dataclass(frozen=True)
class ByCustomer:
    customer: Annotated[str, Key]
    orders: int


@entity(topic="shipped", kind="stream", ksql=True, key_format="kafka", value_format="json")
@dataclass(frozen=True)
class Shipped:
    customer: Annotated[str, Key]
    number: int
    city: str | None


@entity(topic="paid", kind="stream", ksql=True, key_format="kafka", value_format="json")
@dataclass(frozen=True)
class Paid:
    number: Annotated[int, Key]
    customer: str
    amount: Annotated[Decimal, Precision(9, 2)]


@entity(topic="living", ksql=True, key_format="kafka", value_format="json")
@dataclass(frozen=True)
class Living:
    """Customers with their cities: a join by a foreign key."""

    id: Annotated[str, Key]
    people: int


@entity(topic="counts", windows=[5], window_layout="sink", ksql=True, key_format="kafka", value_format="json")
@dataclass(frozen=True)
class Counted:
    customer: Annotated[str, Key]
    start: Annotated[datetime, WindowStart]
    orders: int
    opened: datetime


@entity(topic="visits", windows="sessions", window_layout="sink", ksql=True, key_format="kafka",
        value_format="json")  # fmt: skip
@dataclass(frozen=True)
class Visit:
    customer: Annotated[str, Key]
    start: Annotated[datetime, WindowStart]
    end: Annotated[datetime, WindowEnd]
    orders: int


@entity(topic="ticks", kind="stream", ksql=True, key_format="kafka", value_format="json")
@dataclass(frozen=True)
class Tick:
    symbol: Annotated[str, Key]
    price: Annotated[Decimal, Precision(9, 2)]
    quantity: int
    at: Annotated[datetime, EventTime]


@entity(topic="candles", source=Tick, windows=[1, 5], grace=3, ksql=True, key_format="kafka",
        value_format="json")  # fmt: skip
@dataclass(frozen=True)
class Candle:
    symbol: Annotated[str, Key]
    start: Annotated[datetime, WindowStart]
    first: Annotated[Decimal, Precision(9, 2), agg.first(F.price)]
    highest: Annotated[Decimal, Precision(9, 2), agg.max(F.price)]
    lowest: Annotated[Decimal, Precision(9, 2), agg.min(F.price)]
    last: Annotated[Decimal, Precision(9, 2), agg.last(F.price)]
    ticks: Annotated[int, agg.count()]


@dataclass(frozen=True)
class Prices:
    open: Annotated[Decimal, Precision(9, 2)]
    high: Annotated[Decimal, Precision(9, 2)]
    low: Annotated[Decimal, Precision(9, 2)]
    close: Annotated[Decimal, Precision(9, 2)]


@entity(topic="quotes", source=Tick, windows=["1h"], ksql=True, key_format="kafka", value_format="json")
@dataclass(frozen=True)
class Quote:
    symbol: Annotated[str, Key]
    price: Annotated[Prices, agg.ohlc(F.price)]
