"""The bytes of the keys of windows, which Kafka Streams and ksqlDB write, too: they must never change."""

from __future__ import annotations

from dataclasses import make_dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest

from statestore import DecodeError, Key, WindowEnd, WindowStart, entity
from statestore.entity import model_of
from statestore.serde.entities import EntityCodec

DOCUMENT = Path(__file__).parents[3] / "docs" / "key-format.md"
TABLE = (
    DOCUMENT.read_text(encoding="utf-8").split("| layout | key_format | values | key |")[1].split("\n\n")[0]
)
VECTORS = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in TABLE.splitlines()[2:]]


def codec(layout: str, key_format: str, kinds: list[type]) -> EntityCodec[Any]:
    fields: list[Any] = [(f"key{place}", Annotated[kind, Key]) for place, kind in enumerate(kinds)]
    fields += [("start", Annotated[int, WindowStart]), ("end", Annotated[int, WindowEnd])]
    arguments: dict[str, Any] = {
        "windows": "sessions" if layout == "sessions" else [5],
        "key_format": key_format,
    }
    if layout != "sessions":
        arguments["window_layout"] = layout
    model = model_of(entity(make_dataclass("Row", fields), topic="rows", **arguments))
    return EntityCodec(model.of_window(model.windows[0]))


@pytest.mark.parametrize(("layout", "key_format", "text", "key"), VECTORS)
def test_vector(layout: str, key_format: str, text: str, key: str) -> None:
    values = eval(text)
    of_window = 2 if layout == "sessions" else 1
    one = codec(layout, key_format, [type(value) for value in values[:-of_window]])
    assert one.encode_key(values) == bytes.fromhex(key)
    assert one.decode_key(bytes.fromhex(key)) == values


def test_there_is_a_vector_of_each_layout() -> None:
    assert {layout for layout, *_ in VECTORS} == {"final", "sink", "changelog", "sessions"}


@pytest.mark.parametrize("key", ["", "41", "4180000000000000000", "41000150000000000000"])
def test_what_does_not_end_with_a_window_is_no_key(key: str) -> None:
    with pytest.raises(DecodeError, match="not a key of"):
        codec("sink", "kafka", [str]).decode_key(bytes.fromhex(key[: len(key) // 2 * 2]))
