"""Delays of real flights by airport, in bars of five sizes: as pandas has them, kept in stores, mirrored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from confluent_kafka import Producer
from flights_bars import Delays, Departure
from flights_data import read_flights

from statestore import F, StoreManager, WindowTable, agg
from statestore.entity import model_of
from statestore.serde.entities import EntityCodec
from statestore.testing import run_windows

LIMIT = 60.0
RULES = {"15min": "15min", "60min": "1h", "240min": "4h", "1d": "1D", "1w": "W-MON"}
"""How pandas names the windows."""
COLUMNS = ["flights", "arrived", "total", "mean", "least", "most", "first", "last"]
MIDDLE = datetime(2013, 1, 14, tzinfo=UTC)
"""A Monday."""

Bars = dict[str, list[Delays]]
"""The bars of each window by its label, in the order of airport and start."""
Answers = dict[str, list[Any]]
"""What the bars of one window answer to some questions."""


@pytest.fixture(scope="module")
def departures() -> list[Departure]:
    """The flights of January from two airports."""
    flights = (one for one in read_flights(1) if one.origin != "LGA")
    return [Departure(one.origin, one.delay, one.departure) for one in flights]


@pytest.fixture(scope="module")
def bars(departures: list[Departure]) -> Bars:
    found: Bars = {label: [] for label in RULES}
    for one in run_windows(Delays, departures):
        found[one.window.label].append(one.bar)
    return {label: sorted(of, key=lambda bar: (bar.origin, bar.start)) for label, of in found.items()}


@pytest.fixture(scope="module")
def wanted(departures: list[Departure]) -> dict[str, Answers]:
    """What pandas makes of the same flights, and answers, by the label of the window."""
    frame = pd.DataFrame([astuple(one) for one in departures], columns=["origin", "delay", "at"])
    frame["delay"] = frame["delay"].astype("Float64")
    flown = frame.set_index("at").groupby("origin")["delay"]
    found: dict[str, Answers] = {}
    for label, rule in RULES.items():
        windows = flown.resample(rule, closed="left", label="left")
        rows = windows.agg(["size", "count", "sum", "mean", "min", "max", "first", "last"])
        rows.columns = pd.Index(COLUMNS)
        rows.index.names = ["origin", "start"]
        found[label] = answers_of_pandas(rows[rows["flights"] > 0].reset_index())
    return found


@pytest.fixture(scope="module")
def broker(bars: Bars) -> Iterator[str]:
    """The address of librdkafka's mock broker, with the bars of each window in the topic of the window."""
    producer = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0})
    (found,) = producer.list_topics(timeout=LIMIT).brokers.values()
    for window in model_of(Delays).windows:
        model = model_of(Delays).of_window(window)
        codec: EntityCodec[Delays] = EntityCodec(model)
        for bar in sorted(bars[window.label], key=lambda bar: bar.start):
            key, value = codec.encode(bar)
            producer.produce(model.topic, value, key, timestamp=milliseconds(bar.start))
    assert producer.flush(LIMIT) == 0
    yield f"{found.host}:{found.port}"
    del producer  # the broker lives as long as this


@pytest.mark.slow
@pytest.mark.parametrize("label", RULES)
def test_bars_of_flights_equal_those_of_pandas(bars: Bars, wanted: dict[str, Answers], label: str) -> None:
    assert [rounded(bar) for bar in bars[label]] == wanted[label]["all"]


@pytest.mark.parametrize("backend", ["rocksdb", "lmdb"])
def test_bars_of_flights_are_read_after_a_restart(bars: Bars, tmp_path: Path, backend: str) -> None:
    kept = {
        label: [(bar.origin.encode(), milliseconds(bar.start), repr(bar).encode()) for bar in of]
        for label, of in bars.items()
    }
    with StoreManager(tmp_path, backend=backend) as stores:
        for label, rows in kept.items():
            with stores.open_window(f"Delays_{label}_Store", label, "60d").batch() as batch:
                for row in rows:
                    batch.put(*row)
    with StoreManager(tmp_path, backend=backend) as stores:
        for label, rows in kept.items():
            store = stores.open_window(f"Delays_{label}_Store", label, "60d")
            assert list(store.fetch_all()) == rows
            newark = [(start, value) for key, start, value in rows if key == b"EWR"]
            assert list(store.fetch(b"EWR", newark[1][0], newark[3][0])) == newark[1:3]


@pytest.mark.slow(seconds=2)
@pytest.mark.parametrize("backend", ["memory", "rocksdb", "lmdb"])
def test_mirrors_have_the_bars_and_answer_as_pandas_does_after_a_restart_too(
    backend: str, broker: str, bars: Bars, wanted: dict[str, Answers], tmp_path: Path
) -> None:
    for is_restart in (False, True):
        with StoreManager(tmp_path, broker, backend) as stores:
            delays = stores.bind(Delays)
            delays.wait_until_ready(LIMIT)
            for label, expected in bars.items():
                table = delays.window(label)
                replays = backend == "memory" or not is_restart
                assert table.health().records == (len(expected) if replays else 0)
                rows = table.to_list()
                assert rows == expected
                check_reads(table, expected)
                assert {"all": [rounded(bar) for bar in rows], **answers(table)} == wanted[label], label


def check_reads(table: WindowTable[Delays], bars: list[Delays]) -> None:
    """The reads by key and time, and of what is not there."""
    newark = [bar for bar in bars if bar.origin == "EWR"]
    assert list(table.fetch("EWR")) == newark
    before = [bar for bar in reversed(newark) if bar.start < MIDDLE]
    assert list(table.fetch("EWR", stop=MIDDLE, reverse=True)) == before
    week = [bar for bar in bars if MIDDLE <= bar.start < MIDDLE + timedelta(days=7)]
    assert list(table.fetch_all(MIDDLE, MIDDLE + timedelta(days=7))) == week
    assert table.latest("EWR") == newark[-1]
    for bar in newark[:: max(1, len(newark) // 50)]:
        assert table.get("EWR", start=bar.start) == bar
    assert table.get("ORD", start=MIDDLE) is table.latest("ORD") is None


def answers(table: WindowTable[Delays]) -> Answers:
    """Ask the table of one window."""
    late = table.where(F.start >= MIDDLE, F.total > 0)
    before = table.where(F.origin == "JFK", F.start < MIDDLE)
    sums = {"flights": agg.sum(F.flights), "total": agg.sum(F.total), "most": agg.max(F.most)}
    of_airports = table.where(F.start >= MIDDLE).group_by(F.origin).aggregate(**sums)
    return {
        "latest": [rounded(bar) for bar in late.order_by(F.total.desc(), F.start).take(100)],
        "last before": [rounded(bar) for bar in before.order_by(F.start.desc()).take(5)],
        "airports": list(map(tuple, of_airports.order_by(F.origin))),
        "starts": list(map(tuple, table.group_by(F.start).aggregate(n=agg.sum(F.flights)).order_by(F.start))),
    }


def answers_of_pandas(frame: pd.DataFrame) -> Answers:
    """Ask pandas the same; its frame has a row for each bar."""
    late = frame[(frame["start"] >= MIDDLE) & (frame["total"] > 0)]
    before = frame[(frame["origin"] == "JFK") & (frame["start"] < MIDDLE)]
    of_airports = frame[frame["start"] >= MIDDLE].groupby("origin")
    return {
        "all": bars_of(frame),
        "latest": bars_of(late.sort_values(["total", "start"], ascending=[False, True]).head(100)),
        "last before": bars_of(before[::-1].head(5)),
        "airports": list(
            of_airports.agg({"flights": "sum", "total": "sum", "most": "max"}).itertuples(name=None)
        ),
        "starts": list(frame.groupby("start")["flights"].sum().items()),
    }


def bars_of(frame: pd.DataFrame) -> list[Delays]:
    rows = frame[["origin", "start", *COLUMNS]].astype(object)
    return [rounded(Delays(*row)) for row in rows.where(rows.notna(), None).itertuples(index=False)]


def rounded(bar: Delays) -> Delays:
    """Return the bar with its mean to nine digits: pandas adds up in another order."""
    return bar if bar.mean is None else replace(bar, mean=round(bar.mean, 9))


def milliseconds(time: datetime) -> int:
    return int(time.timestamp()) * 1000
