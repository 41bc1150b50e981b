"""The codecs of keys, native, against the pure-Python twins that they must agree with."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest
from conftest import Bench
from harness import Work

from statestore import _pure, core

CALLS = 20_000
WANTED = 10.0
KEYS: list[tuple[Any, ...]] = [
    (42,),
    ("SYM-000042",),
    ("SYM-000042", 42),
    ("Zürich", b"\x00\x01", 42),
    (uuid.UUID(int=42), date(2024, 2, 29)),
    ("SYM-000042", datetime(2024, 2, 29, 12, 30, tzinfo=UTC)),
]


def calls(call: Callable[..., object], times: int, *arguments: Any) -> Work:
    def work() -> None:
        for _ in range(times):
            call(*arguments)

    return Work.of(work)


@pytest.mark.parametrize("direction", ["encode", "decode"])
@pytest.mark.parametrize("values", KEYS, ids=str)
def measure_key(bench: Bench, values: tuple[Any, ...], direction: str) -> None:
    kinds = [type(value).__name__.lower() for value in values]
    native, pure = core.KeyCodec(kinds), _pure.KeyCodec(kinds)
    encoded = native.encode(values)
    assert pure.encode(values) == encoded
    argument = values if direction == "encode" else encoded
    _row(
        bench,
        f"{direction} ({', '.join(kinds)})",
        getattr(native, direction),
        getattr(pure, direction),
        argument,
    )


def measure_window_key(bench: Bench) -> None:
    _row(bench, "window_key", core.window_key, _pure.window_key, b"SYM-000042", 1_709_209_800_000)


def measure_split_window_key(bench: Bench) -> None:
    key = core.window_key(b"SYM-000042", 1_709_209_800_000)
    _row(bench, "split_window_key", core.split_window_key, _pure.split_window_key, key)


def _row(
    bench: Bench, work: str, native: Callable[..., object], pure: Callable[..., object], *key: Any
) -> None:
    times = min(CALLS, bench.sizes.rows)
    bench.speed(
        work,
        "pure-Python twin",
        calls(native, times, *key),
        calls(pure, times, *key),
        items=times,
        of="keys",
        wanted=WANTED,
    )
