"""A class that has changed since its store was written: what it still reads, and what it is refused."""

from __future__ import annotations

import json
import logging
from dataclasses import field, make_dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statestore import Key, entity
from statestore.entity import EntityModel, model_of
from statestore.errors import StoreIdentityError
from statestore.fields.attributes import Alias, Float32, Format, Int32, Name, Precision
from statestore.fields.stored_schema import conflicts, merged, unreadable
from statestore.fields.types import SCALAR_TYPES
from statestore.serde.entities import EntityCodec
from statestore.storage.directory import DataDirectory, StoreFile

Street = make_dataclass("Street", [("name", str), ("number", int)])
Road = make_dataclass("Road", [("name", str), ("number", float), ("lanes", int, 2)])


def model(*fields: Any, key: Any = int, **declared: Any) -> EntityModel:
    cls = make_dataclass("Row", [("id", Annotated[key, Key]), *fields], kw_only=True)
    return model_of(entity(cls, topic="rows", **declared))


def found(old: Any, new: Any) -> list[str]:
    """Return the conflicts of a field whose type was ``old`` and is ``new``."""
    return conflicts(model(("x", old)).stored_schema, model(("x", new)).stored_schema)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (int, int | None),
        (int, float),
        (Annotated[int, Int32], int),
        (Annotated[float, Float32], float),
        (Annotated[int, Int32], float | None),
        (list[int], list[float]),
        (dict[str, int], dict[str, int | None]),
        (Annotated[Decimal, Precision(9, 2)], Decimal),
        (Annotated[Decimal, Precision(9, 2)], Annotated[Decimal, Precision(12, 4)]),
        (Street, Road),
    ],
)
def test_a_wider_type_reads_old_records(old: Any, new: Any) -> None:
    assert found(old, new) == []


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (int, str, "field x is int, but in the class str"),
        (int | None, int, "field x is int | None, but in the class int"),
        (int, Annotated[int, Int32], "field x is int, but in the class Int32"),
        (float, int, "field x is float, but in the class int"),
        (list[int], list[str], "field x is list[int], but in the class list[str]"),
        (dict[str, int], dict[bytes, int], "field x is dict[str, int], but in the class dict[bytes, int]"),
        (Decimal, Annotated[Decimal, Precision(9, 2)], "field x is Decimal, but in the class Decimal(9, 2)"),
        (
            Annotated[Decimal, Precision(9, 2)],
            Annotated[Decimal, Precision(10, 4)],
            "field x is Decimal(9, 2), but in the class Decimal(10, 4)",
        ),
        (
            Road,
            Street,
            "field x is Road(name: str, number: float, lanes: int), "
            "but in the class Street(name: str, number: int)",
        ),
    ],
)
def test_another_type_is_told_with_the_field_and_both_types(old: Any, new: Any, told: str) -> None:
    assert found(old, new) == [told]


def test_every_conflict_is_told() -> None:
    old, new = model(("x", int), ("y", str)), model(("x", str), ("y", int))
    assert len(conflicts(old.stored_schema, new.stored_schema)) == 2


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (model(key=int), model(key=str), ["key field id: int, but in the class id: str"]),
        (model(), model(("second", Annotated[int, Key])), None),
        (model(key_format="json"), model(), ["its keys have key_format='json', but the class has 'ordered'"]),
    ],
)
def test_another_key_is_told(old: EntityModel, new: EntityModel, told: list[str] | None) -> None:
    assert conflicts(old.stored_schema, new.stored_schema) == (
        told or ["its key is (id: int), but the key of the class is (id: int, second: int)"]
    )


@pytest.mark.parametrize("key_format", ["ordered", "kafka", "json", "avro"])
def test_a_single_key_field_is_renamed_since_its_name_is_not_written(key_format: str) -> None:
    old = model(key=Annotated[int, Name("number")], key_format=key_format)
    assert conflicts(old.stored_schema, model(key_format=key_format).stored_schema) == []


@pytest.mark.parametrize(("key_format", "refused"), [("ordered", False), ("json", True), ("avro", True)])
def test_one_of_several_key_fields_is_renamed_by_its_alias_where_names_are_written(
    key_format: str, refused: bool
) -> None:
    def of(second: Any) -> EntityModel:
        return model(("second", Annotated[second, Key]), key_format=key_format)

    old = of(Annotated[int, Name("number")])
    assert bool(conflicts(old.stored_schema, of(int).stored_schema)) is refused
    assert conflicts(old.stored_schema, of(Annotated[int, Alias("number")]).stored_schema) == []


def keyed(*names: Any, value: str = "text", **declared: Any) -> EntityModel:
    """Return a model with int key fields of these names, or ``(name, attribute)``, and one value field."""
    pairs = [(one, None) if isinstance(one, str) else one for one in names]
    fields: list[Any] = [(name, Annotated[int, Key, attribute]) for name, attribute in pairs]
    return model_of(entity(make_dataclass("Row", [*fields, (value, int)]), topic="rows", **declared))


@pytest.mark.parametrize("key_format", ["ordered", "json", "avro"])
@pytest.mark.parametrize(
    "new",
    [
        ("number", "shop", "line"),
        ("shop", "line", "number"),
        ("line", "shop", "number"),
        ("number", "store", "line"),
        ("store", "line", "number"),
        (("number", Name("shop")), ("shop", Name("number")), "line"),
        ("a", "b", "line"),
    ],
)
def test_key_fields_of_one_type_that_changed_places_are_told(key_format: str, new: Any) -> None:
    old = keyed("shop", "number", "line", key_format=key_format)
    keeps_names_in_records = not isinstance(new[0], str)
    told = conflicts(old.stored_schema, keyed(*new, key_format=key_format).stored_schema)
    assert bool(told) is not keeps_names_in_records


@pytest.mark.parametrize(
    "new",
    [
        ("shop", "number", "line"),
        ("shop", "no", "line"),
        (("a", Alias("shop")), ("b", Alias("number")), "line"),
        (("a", Name("shop")), ("b", Name("number")), "line"),
        (("shop", Name("SHOP")), ("number", Name("NUMBER")), ("line", Name("LINE"))),
    ],
)
def test_key_fields_are_renamed_where_each_is_known_by_its_name_or_alone(new: Any) -> None:
    assert conflicts(keyed("shop", "number", "line").stored_schema, keyed(*new).stored_schema) == []


@pytest.mark.parametrize("key_format", ["ordered", "kafka", "json", "avro"])
@pytest.mark.parametrize("new", [("number", "shop"), ("number", "text"), ("other", "id")])
def test_a_key_field_that_changed_places_with_a_value_is_told(key_format: str, new: Any) -> None:
    key, value = new
    old = keyed("id", value="number", key_format=key_format)
    changed = keyed(key, value=value, key_format=key_format)
    (told,) = conflicts(old.stored_schema, changed.stored_schema)
    assert f"key field id is {key} in the class, and a field of the value" in told


def test_a_field_is_renamed_by_its_alias() -> None:
    old, new = model(("qty", int)), model(("amount", Annotated[int, Alias("qty")]))
    assert (
        conflicts(old.stored_schema, new.stored_schema)
        == unreadable(old.stored_schema, new.stored_schema)
        == []
    )
    wrong = model(("amount", Annotated[str, Alias("qty")]))
    assert conflicts(old.stored_schema, wrong.stored_schema) == ["field qty is int, but in the class str"]


def test_a_format_is_of_the_type_where_it_has_an_effect() -> None:
    def of(type_: Any, **declared: Any) -> EntityModel:
        return model(("at", type_), **declared)

    day = Annotated[datetime, Format("%Y-%m-%d")]
    for form in ("msgpack", "avro"):
        old, new = of(datetime, value_format=form), of(day, value_format=form)
        assert conflicts(old.stored_schema, new.stored_schema) == []
    old, new = of(datetime, value_format="json"), of(day, value_format="json")
    assert conflicts(old.stored_schema, new.stored_schema) == [
        "field at is datetime, but in the class datetime as '%Y-%m-%d'"
    ]


def test_ksqldb_has_another_json() -> None:
    fields = (("at", Annotated[datetime, Name("AT")]), ("day", Annotated[list[date], Name("DAY")]))
    old = model(*fields, key=Annotated[datetime, Name("ID")], key_format="json", value_format="json")
    new = model(*fields, key=datetime, key_format="json", value_format="json", ksql=True)
    assert conflicts(old.stored_schema, new.stored_schema) == [
        "key field ID: datetime, but in the class ID: datetime as 'epoch_ms'",
        "field AT is datetime, but in the class datetime as 'epoch_ms'",
        "field DAY is list[date], but in the class list[date as 'epoch_days']",
    ]
    spelt = [("second", Annotated[str, Key])]
    lower = model(*spelt, key_format="json", value_format="json")
    upper = model(
        *spelt, key_format="json", value_format="json", ksql=True
    )  # would find the keys by scans only
    assert len(conflicts(lower.stored_schema, upper.stored_schema)) == 2


def test_names_of_ksqldb_are_the_same_in_upper_and_lower_case() -> None:
    ksql: dict[str, Any] = {"ksql": True, "value_format": "json"}
    old = model(("qty", int), ("at", date), **ksql)
    new = model(("amount", Annotated[int, Alias("qty")]), ("at", date), **ksql)
    assert (
        conflicts(old.stored_schema, new.stored_schema)
        == unreadable(old.stored_schema, new.stored_schema)
        == []
    )
    wrong = model(("day", Annotated[datetime, Alias("at")]), **ksql)  # days would be read as milliseconds
    assert conflicts(old.stored_schema, wrong.stored_schema) == [
        "field AT is date as 'epoch_days', but in the class datetime as 'epoch_ms'"
    ]
    lower = model(("qty", str), value_format="json")
    assert conflicts(lower.stored_schema, old.stored_schema) == ["field qty is str, but in the class int"]


def test_a_removed_field_that_comes_back_is_what_it_was() -> None:
    without = merged(model(("x", int)).stored_schema, model().stored_schema)
    assert conflicts(without, model(("x", str)).stored_schema) == ["field x is int, but in the class str"]
    assert conflicts(without, model(("x", int)).stored_schema) == []


SCALARS = st.sampled_from(SCALAR_TYPES)
TYPES: st.SearchStrategy[Any] = st.recursive(
    SCALARS | st.sampled_from([Annotated[int, Int32], Annotated[float, Float32]]),
    lambda inner: (
        inner.map(lambda item: item | None)
        | inner.map(lambda item: list[item])  # type: ignore[valid-type]
        | inner.map(lambda item: dict[str, item])  # type: ignore[valid-type]
    ),
    max_leaves=3,
)
VALUES: dict[Any, Any] = {
    bool: True,
    int: -7,
    float: 1.5,
    Decimal: Decimal("1.25"),
    str: "text",
    bytes: b"\xff",
    datetime: datetime.fromisoformat("2024-05-06T07:08:09.123456+00:00"),
    date: date(2024, 5, 6),
    UUID: UUID(int=7),
}


def value_of(type_: Any) -> Any:
    """Return a value of a type that ``TYPES`` gives."""
    arguments: Any = getattr(type_, "__args__", ())
    if type_ in VALUES:
        return VALUES[type_]
    if getattr(type_, "__origin__", None) is list:
        return [value_of(arguments[0])]
    if getattr(type_, "__origin__", None) is dict:
        return {"k": value_of(arguments[1])}
    return value_of(arguments[0])  # of Annotated, and of T | None


PAIRS = TYPES.flatmap(
    lambda old: st.tuples(
        st.just(old), st.sampled_from([old, old | None, float, float | None, list[float]]) | TYPES
    )
)


@given(PAIRS)
def test_what_is_not_refused_reads_what_the_older_class_wrote(types: tuple[Any, Any]) -> None:
    old, new = types
    before, after = model(("x", old)), model(("x", new))
    if conflicts(before.stored_schema, after.stored_schema):
        return
    key, payload = EntityCodec[Any](before).encode(before.cls(id=1, x=value_of(old)))
    assert EntityCodec[Any](after).decode(key, payload).x == value_of(old)


# In the directory


def open_store(path: Path, model: EntityModel) -> dict[str, Any]:
    data = DataDirectory(path)
    try:
        wanted = StoreFile(
            "Row_Store", "memory", "timestamped", "x", topic="rows", schema=model.stored_schema
        )
        data.store("row_store", wanted)
    finally:
        data.close()
    schema: dict[str, Any] = json.loads((path / "row_store" / "store.json").read_text())["schema"]
    return schema


def test_the_store_keeps_what_it_was_written_with(tmp_path: Path) -> None:
    assert open_store(tmp_path, model(("x", int))) == model(("x", int)).stored_schema
    kept = open_store(tmp_path, model(("y", int | None, None)))
    assert [field["name"] for field in kept["value"]] == ["y", "x"]
    with pytest.raises(StoreIdentityError, match=r"field x is int, but in the class str; change it"):
        open_store(tmp_path, model(("x", str)))
    assert kept == open_store(tmp_path, model(("y", int | None, None)))


def test_a_store_from_before_schemas_takes_the_first(tmp_path: Path) -> None:
    open_store(tmp_path, model())
    path = tmp_path / "row_store" / "store.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": None}))
    assert open_store(tmp_path, model(("x", int))) == model(("x", int)).stored_schema


def test_an_added_field_without_a_default_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    open_store(tmp_path, model())
    with caplog.at_level(logging.WARNING, "statestore.store"):
        open_store(tmp_path, model(("x", int), ("y", int, field(default=1))))
    (message,) = [record.message for record in caplog.records if "row_store" in record.message]
    assert "from before x was added" in message
