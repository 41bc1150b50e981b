"""Three questions to the tables of the demonstration, each a query. Shown are its plan and its answer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from flights_data import Flight
from nyc_tables import Weather
from rich import box, table
from rich.console import Console
from rich.markup import escape

from statestore import F, Row, Table, TableQuery, agg


def ask(flights: Table[Flight], weather: Table[Weather], console: Console) -> None:
    """Ask the questions, and draw the answer of the last."""
    boston = (
        flights.where(F.destination == "BOS")
        .order_by(F.departure.desc())
        .take(3)
        .select(F.tail_number, F.carrier, F.departure)
    )
    show_plan("Which aircraft were the last to fly to Boston?", boston, console)
    show_rows(boston, console)

    same_hour = (F[Flight].origin == F[Weather].origin) & (F[Flight].hour == F[Weather].hour)
    storm = (
        flights.join(weather, on=same_hour)
        .where(~F.wind_gust.is_null())
        .order_by(F.wind_gust.desc(), F.delay.desc())
        .take(3)
        .select(F.wind_gust, F[Flight].origin, F.destination, F.carrier, F.number, F.delay)
    )
    show_plan("Which flights of the windiest hour were the latest?", storm, console)
    show_rows(storm, console)

    late = (
        flights.group_by(F.carrier)
        .aggregate(delay=agg.avg(F.delay), aircraft=agg.count())
        .having(F.aircraft > 1)
        .order_by(F.delay.desc())
    )
    show_plan("How late was each carrier?", late, console)
    draw(late.to_list(), console)


def show_plan(question: str, query: TableQuery[Row], console: Console) -> None:
    console.print(f"\n  [bold]{question}[/]")
    for line in query.explain().splitlines():
        console.print(f"    [dim]{escape(line)}[/]")


def show_rows(query: TableQuery[Row], console: Console) -> None:
    rows = query.to_dicts()
    shown = table.Table(*rows[0], box=box.SIMPLE_HEAD)
    for row in rows:
        shown.add_row(*(text_of(value) for value in row.values()))
    console.print(shown)


def text_of(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%d %b %Y %H:%M} UTC"
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def draw(rows: Sequence[Row], console: Console) -> None:
    """Draw a bar for each row: how late its carrier was."""
    import plotext  # only the last step needs it

    plot = plotext.figure
    plot.draw(plot.bar([row.carrier for row in rows], [row.delay for row in rows], width=0.6))
    plot.title("Mean delay of the latest flight of each aircraft, minutes")
    plot.plot_size(min(console.width, 80), 16)
    plot.show(colorless=True)
