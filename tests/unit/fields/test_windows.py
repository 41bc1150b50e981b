"""Sizes of windows and their labels."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statestore.errors import ConfigError
from statestore.fields.windows import Window, read_windows, window


@pytest.mark.parametrize(
    ("spec", "label", "seconds"),
    [
        (1, "1min", 60),
        (240, "240min", 14_400),
        ("30s", "30s", 30),
        ("90s", "90s", 90),
        ("120s", "2min", 120),
        ("5min", "5min", 300),
        ("5 min", "5min", 300),
        ("1h", "60min", 3600),
        ("1d", "1d", 86_400),
        ("2d", "2880min", 172_800),
        ("1w", "1w", 604_800),
        (1440, "1d", 86_400),
        (timedelta(weeks=1), "1w", 604_800),
        (timedelta(minutes=5, seconds=1), "301s", 301),
    ],
)
def test_labels(spec: Any, label: str, seconds: int) -> None:
    assert window(spec) == Window(timedelta(seconds=seconds), label)


@given(st.integers(1, 10**7).map(lambda seconds: timedelta(seconds=seconds)))
def test_a_label_is_another_spelling_of_the_size(size: timedelta) -> None:
    assert window(window(size).label) == window(size)


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        (0, "must be positive"),
        (-5, "must be positive"),
        ("0s", "must be positive"),
        (timedelta(seconds=-1), "must be positive"),
        (timedelta(milliseconds=1500), "whole seconds"),
        (1.5, "not a size"),
        (True, "not a size"),
        (None, "not a size"),
        ("", "not a size"),
        ("5", "not a size"),
        ("five", "not a size"),
        ("1.5h", "not a size"),
        ("5m", "minutes are 'min'"),
        ("1mo", "months differ in length"),
        ("1 month", "months differ in length"),
        (10**20, "longer than a timedelta can be"),
        (f"{10**20}w", "longer than a timedelta can be"),
        ("9" * 30 + "s", "longer than a timedelta can be"),
        (timedelta.max - timedelta.resolution * 999_999, "no window is longer than the years 1970 to 9999"),
        ("500000w", "no window is longer than the years 1970 to 9999"),
    ],
)
def test_what_is_no_size(spec: Any, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        window(spec)
    assert repr(spec) in str(caught.value)


def test_a_number_of_any_length_is_no_size() -> None:
    """Python refuses to read the digits of such a number."""
    with pytest.raises(ConfigError, match="longer than a timedelta can be"):
        window("9" * 5000 + "min")


def test_all_windows_of_a_declaration_come_by_size() -> None:
    faults: list[str] = []
    labels = [one.label for one in read_windows([60, "30s", timedelta(days=1), 5], faults)]
    assert (labels, faults) == (["30s", "5min", "60min", "1d"], [])


def test_every_fault_of_a_list_of_windows() -> None:
    faults: list[str] = []
    read_windows([1, "1h", 0, 60, "3600s", "60s"], faults)
    assert faults[0].startswith("window 0: ")
    assert faults[1:] == [
        "windows: 1, '60s' are the same size, '1min': give it once",
        "windows: '1h', 60, '3600s' are the same size, '60min': give it once",
    ]
    for specs, problem in (([], "at least one"), ("5min", "give a list"), (5, "give a list")):
        faults = []
        assert read_windows(specs, faults) == ()
        assert problem in faults[0]
