"""Bars of a minute that ksqlDB makes: the declarations, from which ``minute_bars.plan.json`` is written.

::

    statestore ksql plan print minute_bars --application trading --out minute_bars.plan.json
    statestore ksql apply minute_bars.plan.json          # a dry run
    statestore ksql apply minute_bars.plan.json --yes
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Annotated

from statestore import EventTime, F, Key, Precision, WindowStart, agg, entity

Price = Annotated[Decimal, Precision(12, 4)]


@entity(topic="trades", kind="stream", ksql=True, key_format="kafka", value_format="json")
@dataclass(frozen=True, slots=True)
class Trade:
    """One trade, written by others."""

    symbol: Annotated[str, Key]
    price: Price
    quantity: int
    traded: Annotated[datetime, EventTime]


@entity(
    source=Trade,
    windows=[1],
    grace=1,
    gap="skip",
    ksql=True,
    key_format="kafka",
    value_format="json",
)
@dataclass(frozen=True, slots=True)
class Candle:
    """What a symbol's trades of one minute add up to."""

    symbol: Annotated[str, Key]
    start: Annotated[datetime, WindowStart]
    high: Annotated[Price, agg.max(F.price)]
    low: Annotated[Price, agg.min(F.price)]
    close: Annotated[Price, agg.last(F.price)]
    volume: Annotated[int, agg.sum(F.quantity)]
