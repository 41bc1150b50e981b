"""The native decoder of rows of windows gives what its twin gives, and leaves to it what is none of ours."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statestore import DecodeError, Key, WindowEnd, WindowSize, WindowStart, entity
from statestore.entity import model_of
from statestore.serde.entities import EntityCodec
from statestore.serde.window_times import END_OF_TIME


@entity(topic="counts", windows=[5])
@dataclass(frozen=True, slots=True)
class Count:
    end: Annotated[datetime, WindowEnd]
    symbol: Annotated[str, Key]
    size: Annotated[int, WindowSize]
    start: Annotated[datetime, WindowStart]
    n: int | None


@entity(topic="joined", windows=[5], window_layout="changelog")
@dataclass
class Joined:
    shop: Annotated[str, Key]
    number: Annotated[int, Key]
    n: int
    start: Annotated[int, WindowStart]
    end: Annotated[int, WindowEnd]


@entity(topic="visits", windows="sessions", window_layout="sink")
@dataclass(frozen=True, slots=True)
class Visit:
    user: Annotated[bytes, Key]
    start: Annotated[datetime, WindowStart]
    end: Annotated[int, WindowEnd]
    size: Annotated[int, WindowSize]
    n: int


def codec_of(cls: type) -> EntityCodec[Any]:
    model = model_of(cls)
    return EntityCodec(model.of_window(model.windows[0]))


CODECS = [(cls, codec_of(cls)) for cls in (Count, Joined, Visit)]


def judged(codec: EntityCodec[Any], key: bytes, payload: bytes) -> Any:
    try:
        return codec._decode(key, payload, lambda _key: None)
    except DecodeError:
        return None


TIMES = st.integers(0, END_OF_TIME - 1) | st.sampled_from(
    [-1, -(2**63), END_OF_TIME - 2, END_OF_TIME, 2**63 - 1]
)


@pytest.mark.skipif(CODECS[0][1].decoder is None, reason="no native decoder here")
@given(
    one=st.sampled_from(CODECS),
    text=st.text(max_size=4),
    number=st.integers(-(2**63), 2**63 - 1),
    times=st.lists(TIMES, min_size=2, max_size=2),
    cut=st.integers(0, 3),
)
def test_rows_of_windows_are_decoded_alike(
    one: tuple[type, EntityCodec[Any]], text: str, number: int, times: list[int], cut: int
) -> None:
    cls, codec = one
    assert codec.decoder is not None
    inner = {Count: (text,), Joined: (text, number), Visit: (text.encode(),)}[cls]
    form = model_of(cls).of_window(model_of(cls).windows[0]).window
    assert codec.window is not None
    assert form is not None
    key = codec.window.inner.encode(inner)
    key += b"".join(time.to_bytes(8, signed=True) for time in times[: len(form.parts)])
    key = (key + bytes(4 * form.has_sequence))[cut:]
    payload = b"\x81\xa1n\x05"
    found, wanted = codec.decoder.decode(key, payload), judged(codec, key, payload)
    assert found is None or (found == wanted and type(found) is cls)
    if cut == 0 and wanted is not None and max(times) < END_OF_TIME - 1_000_000:
        assert found == wanted
