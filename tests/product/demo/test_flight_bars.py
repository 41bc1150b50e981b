"""Delays of real flights by airport, as bars of five sizes: as pandas has them, and kept in stores."""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from flights_bars import Delays, delays
from flights_data import Flight, read_flights

from statestore import StoreManager
from statestore.windowing import Closed

RULES = {"15min": "15min", "60min": "1h", "240min": "4h", "1d": "1D", "1w": "W-MON"}
"""How pandas names the windows."""


@pytest.fixture(scope="module")
def flights() -> list[Flight]:
    return read_flights(1)


@pytest.fixture(scope="module")
def bars(flights: list[Flight]) -> list[Closed[Delays]]:
    return delays(flights)


@pytest.mark.slow
@pytest.mark.parametrize("label", RULES)
def test_bars_of_flights_equal_those_of_pandas(
    flights: list[Flight], bars: list[Closed[Delays]], label: str
) -> None:
    rows = [(one.origin, one.delay, one.departure) for one in flights]
    frame = pd.DataFrame(rows, columns=["origin", "delay", "at"])
    frame["delay"] = frame["delay"].astype("Float64")
    windows = frame.set_index("at").groupby("origin")["delay"]
    found = windows.resample(RULES[label], closed="left", label="left").agg(
        ["size", "count", "sum", "mean", "min", "max", "first", "last"]
    )
    wanted = {
        (origin, start.to_pydatetime()): [None if pd.isna(value) else value for value in row]
        for (origin, start), row in zip(found.index, found.itertuples(index=False), strict=True)
        if row[0]
    }
    ours = {
        (one.bar.origin, one.bar.start): list(astuple(one.bar)[2:])
        for one in bars
        if one.window.label == label
    }
    assert ours.keys() == wanted.keys()
    for window, values in ours.items():
        assert values == pytest.approx(wanted[window]), window


@pytest.mark.parametrize("backend", ["rocksdb", "lmdb"])
def test_bars_of_flights_are_read_after_a_restart(
    bars: list[Closed[Delays]], tmp_path: Path, backend: str
) -> None:
    kept: dict[str, list[Any]] = {}
    for one in bars:
        row = (one.bar.origin.encode(), int(one.start.timestamp()) * 1000, repr(one.bar).encode())
        kept.setdefault(one.window.label, []).append(row)
    with StoreManager(tmp_path, backend=backend) as stores:
        for label, rows in kept.items():
            with stores.open_window(f"Delays_{label}_Store", label, "60d").batch() as batch:
                for row in rows:
                    batch.put(*row)
    with StoreManager(tmp_path, backend=backend) as stores:
        for label, rows in kept.items():
            store = stores.open_window(f"Delays_{label}_Store", label, "60d")
            assert list(store.fetch_all()) == sorted(rows)
            newark = [(start, value) for key, start, value in rows if key == b"EWR"]
            assert list(store.fetch(b"EWR", newark[1][0], newark[3][0])) == newark[1:3]
