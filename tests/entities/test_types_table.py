"""Each row of the table in docs/types.md, checked."""

from dataclasses import dataclass, make_dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import msgspec
import pytest

from statestore.entity import Key, entity, model_of
from statestore.errors import ConfigError
from statestore.fields import SCALAR_TYPES
from statestore.serde.entities import EntityCodec

DOCUMENT = Path(__file__).parents[2] / "docs" / "types.md"


@dataclass
class Point:
    x: int
    y: int | None


NAMES = {"Decimal": Decimal, "datetime": datetime, "date": date, "UUID": UUID, "UTC": UTC, "Point": Point}
EXAMPLES = NAMES | {"T": int, "K": str, "a dataclass": Point}
"""What stands for the placeholders of the first column."""


def rows() -> list[list[str]]:
    lines = DOCUMENT.read_text().splitlines()
    table = [line for line in lines if line.startswith("| ")][1:]
    return [
        [cell.strip().strip("`") for cell in line.replace(r"\|", "¦").strip("|").split("|")] for line in table
    ]


def meaning(text: str) -> Any:
    return EXAMPLES.get(text) or eval(text.replace("¦", "|"), EXAMPLES.copy())


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_row(row: list[str]) -> None:
    type_text, example, key_text, key_bytes, _, value_bytes = row
    type_, value = meaning(type_text), meaning(example)
    as_field = make_dataclass("AsField", [("id", Annotated[int, Key]), ("field", type_)])
    values: EntityCodec[Any] = EntityCodec(model_of(entity(as_field, topic="t")))
    key, payload = values.encode(as_field(1, value))
    assert payload == b"\x81\xa5field" + bytes.fromhex(value_bytes)
    assert values.decode(key, payload) == as_field(1, value)

    as_key = make_dataclass("AsKey", [("id", Annotated[type_, Key])])
    if key_text == "refused":
        with pytest.raises(ConfigError, match="cannot be a key"):
            entity(as_key, topic="t")
    else:
        keys: EntityCodec[Any] = EntityCodec(model_of(entity(as_key, topic="t")))
        assert keys.encode_key((value,)) == bytes.fromhex(key_bytes)
        assert keys.decode(bytes.fromhex(key_bytes), msgspec.msgpack.encode({})) == as_key(value)


def test_no_type_is_left_out() -> None:
    named = [row[0] for row in rows()]
    assert named[: len(SCALAR_TYPES)] == [scalar.__name__ for scalar in SCALAR_TYPES]
    assert named[len(SCALAR_TYPES) :] == ["T ¦ None", "list[T]", "dict[K, T]", "a dataclass"]
