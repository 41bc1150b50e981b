"""How late flights left the ground by airport, in windows of five sizes: one class of bars, no broker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

from flights_data import Flight
from rich import box, table
from rich.console import Console

from statestore import EventTime, F, Key, WindowStart, agg, entity
from statestore.windowing import Closed, WindowAggregate


@entity(topic="statestore-demo-departures", kind="stream")
@dataclass(frozen=True, slots=True)
class Departure:
    """A flight that left an airport of New York."""

    origin: Annotated[str, Key]
    delay: int | None
    """Minutes late on arrival, or ``None`` for a flight that was cancelled or diverted."""
    at: Annotated[datetime, EventTime]


@entity(source=Departure, windows=[15, "1h", "4h", "1d", "1w"], grace=0, retention=timedelta(days=366))
@dataclass(frozen=True, slots=True)
class Delays:
    """The delays of the flights of one airport in one window."""

    origin: Annotated[str, Key]
    start: Annotated[datetime, WindowStart]
    flights: Annotated[int, agg.count()]
    arrived: Annotated[int, agg.count(F.delay)]
    total: Annotated[int, agg.sum(F.delay)]
    mean: Annotated[float | None, agg.avg(F.delay)]
    least: Annotated[int | None, agg.min(F.delay)]
    most: Annotated[int | None, agg.max(F.delay)]
    first: Annotated[int | None, agg.first(F.delay)]
    last: Annotated[int | None, agg.last(F.delay)]


def delays(flights: Sequence[Flight]) -> list[Closed[Delays]]:
    """Return the bars of the flights, which come in the order of their departures."""
    aggregate = WindowAggregate(Delays)
    closed = aggregate.update_all(Departure(one.origin, one.delay, one.departure) for one in flights)
    end = aggregate.open_until
    return closed if end is None else closed + aggregate.advance(end)


def show_bars(flights: Sequence[Flight], console: Console) -> None:
    """Show the bars of each size: how many there are, and the one with the greatest mean delay."""
    found: dict[str, list[Delays]] = {}
    for one in delays(flights):
        found.setdefault(one.window.label, []).append(one.bar)
    shown = table.Table(
        "window", "bars", "latest on average", "from", "flights", "minutes", box=box.SIMPLE_HEAD
    )
    for label, bars in found.items():
        latest = max(bars, key=lambda bar: (bar.mean or 0.0, bar.flights))
        start = f"{latest.start:%d %b %H:%M}"
        shown.add_row(
            label, f"{len(bars):,}", latest.origin, start, str(latest.flights), f"{latest.mean:.0f}"
        )
    console.print(shown)
