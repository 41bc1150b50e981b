"""Window keys: Kafka's bytes, and the way back."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statestore.errors import DecodeError, EncodeError

UNHURRIED = settings(deadline=None)


def test_a_window_key_is_what_kafka_streams_writes(core: ModuleType) -> None:
    """TimeWindowedSerializer appends the start as Java's ByteBuffer.putLong does."""
    assert core.window_key(b"EURUSD", 1_714_564_800_000) == b"EURUSD" + bytes.fromhex("0000018f34069e00")
    assert core.window_key(b"", -1) == b"\xff" * 8


@UNHURRIED
@given(key=st.binary(max_size=40), start=st.integers(-(2**63), 2**63 - 1))
def test_round_trip(core: ModuleType, key: bytes, start: int) -> None:
    assert core.split_window_key(core.window_key(key, start)) == (key, start)


@UNHURRIED
@given(key=st.binary(max_size=10), starts=st.lists(st.integers(0, 2**63 - 1)))
def test_windows_of_one_key_are_in_time_order(core: ModuleType, key: bytes, starts: list[int]) -> None:
    keys = sorted(core.window_key(key, start) for start in starts)
    assert [core.split_window_key(data)[1] for data in keys] == sorted(starts)


@pytest.mark.parametrize("start", [2**63, -(2**63) - 1])
def test_a_start_beyond_64_bits_is_refused(core: ModuleType, start: int) -> None:
    with pytest.raises(EncodeError, match=f"window start does not fit 64 bits of milliseconds: {start}"):
        core.window_key(b"k", start)


@pytest.mark.parametrize("size", [0, 7])
def test_a_key_too_short_to_hold_a_start_is_refused(core: ModuleType, size: int) -> None:
    with pytest.raises(DecodeError, match=rf"ends with 8 bytes of start, this one has {size}: b'x*'"):
        core.split_window_key(b"x" * size)


def test_arguments_of_the_wrong_type_are_type_errors(core: ModuleType) -> None:
    calls: list[tuple[Callable[..., object], tuple[object, ...]]] = [
        (core.window_key, ("k", 1)),
        (core.window_key, (b"k", "1")),
        (core.split_window_key, ("x" * 8,)),
        (core.split_window_key, (None,)),
    ]
    for call, arguments in calls:
        with pytest.raises(TypeError):
            call(*arguments)
