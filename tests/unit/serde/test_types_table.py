"""Each row of the tables in docs/types.md, checked."""

from __future__ import annotations

from dataclasses import dataclass, make_dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, get_args
from uuid import UUID

import msgspec
import pytest

from statestore.entity import EntityModel, Key, entity, model_of
from statestore.errors import ConfigError
from statestore.fields import attributes
from statestore.fields.ksql_types import column_type
from statestore.fields.types import KEY_TYPES, SCALAR_TYPES
from statestore.serde.avro.mapping import type_mapping
from statestore.serde.avro.schema import value_schema
from statestore.serde.entities import EntityCodec
from statestore.serde.formats import FormatContext, value_codec

DOCUMENT = Path(__file__).parents[3] / "docs" / "types.md"


@dataclass
class Point:
    x: int
    y: int | None


NAMES = {
    "Annotated": Annotated,
    "Decimal": Decimal,
    "datetime": datetime,
    "date": date,
    "UUID": UUID,
    "UTC": UTC,
    "Point": Point,
    **{name: getattr(attributes, name) for name in ("Int32", "Int16", "Float32", "Precision", "Format")},
}
EXAMPLES = NAMES | {"T": int, "K": str, "a dataclass": Point}
"""What stands for the placeholders of the first column."""


def code(cell: str) -> str:
    """Return a cell without the marks of code, which are two where one is in it."""
    for mark in ("``", "`"):
        if cell.startswith(mark):
            return cell.removeprefix(mark).removesuffix(mark)
    return cell


def tables() -> list[list[list[str]]]:
    """Return the rows of each table of the document."""
    found: list[list[list[str]]] = []
    for line in DOCUMENT.read_text().replace(r"\|", "¦").splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if cells[:1] == ["Python"]:
            found.append([])
        elif cells and cells[0].strip("-"):
            found[-1].append([code(cell) for cell in cells])
    return found


VALUES, KEYS = tables()


def meaning(text: str) -> Any:
    return EXAMPLES.get(text) or eval(text.replace("¦", "|"), EXAMPLES.copy())


def model(type_: Any, value_format: str, *, ksql: bool = False) -> EntityModel:
    cls = make_dataclass("AsField", [("id", Annotated[int, Key]), ("field", type_)])
    return model_of(entity(cls, topic="t", value_format=value_format, ksql=ksql))


def written(type_: Any, example: str, value_format: str, *, ksql: bool = False) -> bytes:
    """Return the payload of an entity whose one field is the example; it comes back."""
    declared = model(type_, value_format, ksql=ksql)
    codec: EntityCodec[Any] = EntityCodec(declared)
    one = declared.cls(1, meaning(example))
    key, payload = codec.encode(one)
    assert codec.decode(key, payload) == one
    return payload


def avro(schema: Any) -> str:
    """Return a schema as the table has it."""
    match schema:
        case str():
            return schema
        case list():
            return " or ".join(map(avro, schema))
        case {"type": kind, "logicalType": "decimal", "precision": digits, "scale": scale}:
            return f"{kind} decimal({digits}, {scale})"
        case {"type": kind, "logicalType": logical}:
            return f"{kind} {logical}"
        case {"type": "array", "items": item} | {"type": "map", "values": item}:
            return f"{schema['type']} of {avro(item)}"
        case _:
            return f"{schema['type']} {schema['name']}"


@pytest.mark.parametrize("row", VALUES, ids=lambda row: row[0])
def test_a_value(row: list[str]) -> None:
    type_text, example, _, packed, text, schema, column, ksql_text, java = row
    type_ = meaning(type_text)
    assert written(type_, example, "msgpack") == b"\x81\xa5field" + bytes.fromhex(packed)
    assert written(type_, example, "json").decode() == f'{{"field":{text}}}'

    declared = model(type_, "avro")
    if schema == "refused":
        with pytest.raises(ConfigError, match=r"AsField\.field.*Precision"):
            value_codec(declared, FormatContext())
    else:
        (field,) = value_schema(declared, type_mapping(declared))["fields"]
        assert avro(field["type"]) == schema

    if column == "refused":
        with pytest.raises(ConfigError, match=r"AsField\.field.*Precision"):
            model(type_, "json", ksql=True)
    else:
        mapped = model(type_, "json", ksql=True)
        assert column_type(mapped.value_fields[0].type, "", [], is_json=True) == column
        assert written(type_, example, "json", ksql=True).decode() == f'{{"FIELD":{ksql_text}}}'

    if java == "refused":
        with pytest.raises(ConfigError, match=r'AsField\.field: value_format="kafka" cannot write'):
            value_codec(model(type_, "kafka"), FormatContext())
    else:
        assert written(type_, example, "kafka") == bytes.fromhex(java)


@pytest.mark.parametrize("row", KEYS, ids=lambda row: row[0])
def test_a_key(row: list[str]) -> None:
    type_text, example, _, packed = row
    as_key = make_dataclass("AsKey", [("id", Annotated[meaning(type_text), Key])])
    keys: EntityCodec[Any] = EntityCodec(model_of(entity(as_key, topic="t")))
    assert keys.encode_key((meaning(example),)) == bytes.fromhex(packed)
    assert keys.decode(bytes.fromhex(packed), msgspec.msgpack.encode({})) == as_key(meaning(example))


def test_no_type_is_left_out() -> None:
    types = [meaning(row[0]) for row in VALUES]
    assert [type_ for type_ in types if type_ in SCALAR_TYPES] == list(SCALAR_TYPES)
    marks = [mark for type_ in types if type_ not in SCALAR_TYPES for mark in get_args(type_)[1:]]
    for mark in (
        attributes.Int32,
        attributes.Int16,
        attributes.Float32,
        attributes.Precision,
        attributes.Format,
    ):
        assert any(one is mark or isinstance(one, mark) for one in marks)
    assert [row[0] for row in VALUES][-4:] == ["T ¦ None", "list[T]", "dict[K, T]", "a dataclass"]
    assert {meaning(row[0]) for row in KEYS} == set(KEY_TYPES)


@pytest.mark.parametrize("row", VALUES, ids=lambda row: row[0])
def test_what_is_no_key(row: list[str]) -> None:
    type_ = meaning(row[0])
    bare = get_args(type_)[0] if row[0].startswith("Annotated") else type_
    if bare not in KEY_TYPES:
        with pytest.raises(ConfigError, match="cannot be a key"):
            entity(make_dataclass("AsKey", [("id", Annotated[type_, Key])]), topic="t")
