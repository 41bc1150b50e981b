"""The secondary indexes of an entity: the fields by which rows are looked up besides by their key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING
from typing import Any, Final

from statestore.expressions.expr import Expr
from statestore.expressions.nodes import FieldPath
from statestore.expressions.type_checking import ORDERED, expression_faults
from statestore.fields.types import Field, Nullable, RecordType, Scalar, type_name
from statestore.runtime.text import bounded_repr

IndexFields = tuple[Field, ...]
"""The fields of one index, the first one first."""

INDEXED_TYPES: Final = (bool, *ORDERED)
"""The types of fields that an index can have."""


def read_indexes(
    record_type: RecordType, given: Any, faults: list[str], *, ordered: bool
) -> tuple[IndexFields, ...]:
    """Return the indexes of a class: those of ``Annotated[…, Index]``, then those ``given``, in their order.

    ``ordered``: rows are stored in the order of their keys' values. Appends each fault to ``faults``.
    """
    where = record_type.cls.__name__
    found: list[tuple[str, IndexFields]] = [
        (f"{one.name}: Index", (one,)) for one in record_type.fields if one.is_indexed
    ]
    for item in _items(given, where, faults):
        label = f"indexes=[{bounded_repr(item)}]"
        fields = _fields(record_type, item, f"{where}: {label}", faults)
        if fields is not None:
            found.append((label, fields))
    taken: dict[tuple[str, ...], str] = {}
    for label, fields in found:
        names = tuple(one.name for one in fields)
        if names in taken:
            faults.append(f"{where}: {label}: the same index is declared by {taken[names]}: keep one of them")
        taken.setdefault(names, label)
        faults += [f"{where}: {label}: {fault}" for fault in _unfit(record_type, fields, ordered)]
    return tuple(fields for _, fields in found)


def same_arguments(one: Any, other: Any) -> bool:
    """Whether the arguments of two declarations are equal; expressions are compared as values."""
    return bool(_plain(one) == _plain(other))


def _plain(value: Any) -> Any:
    match value:
        case Expr(node=node):
            return node
        case dict():
            return {name: _plain(one) for name, one in value.items()}
        case list() | tuple():
            return [_plain(one) for one in value]
    return value


def _items(given: Any, where: str, faults: list[str]) -> Sequence[Any]:
    if isinstance(given, list | tuple):
        return given
    if given is not None:
        faults.append(
            f"{where}: indexes={bounded_repr(given)}: give a list of indexes, each one field or several: "
            "[F.city, (F.country, F.city)]"
        )
    return ()


def _fields(record_type: RecordType, item: Any, where: str, faults: list[str]) -> IndexFields | None:
    """Return the fields that ``item`` of the declaration names; ``None`` where it is at fault."""
    parts = item if isinstance(item, list | tuple) else (item,)
    found: list[Field] = []
    before = len(faults)
    for part in parts:
        if not isinstance(part, Expr) or not isinstance(part.node, FieldPath):
            faults.append(
                f"{where}: {bounded_repr(part)} is no field: write F.city, or (F.country, F.city) for "
                "several fields"
            )
        elif wrong := expression_faults(part, record_type):
            faults += [f"{where}: {fault}" for fault in wrong]
        elif len(part.node.steps) > 1:
            faults.append(f"{where}: {part!r} is a part of a field: an index is of whole fields")
        else:
            found += [one for one in record_type.fields if one.name in part.node.steps]
    if not parts:
        faults.append(f"{where}: an index has one field or more")
    return tuple(found) if len(faults) == before else None


def _unfit(record_type: RecordType, fields: IndexFields, ordered: bool) -> list[str]:
    """Return what is wrong with an index of ``fields``."""
    faults = []
    names = [one.name for one in fields]
    for one in fields:
        bare = one.type.item if isinstance(one.type, Nullable) else one.type
        if not isinstance(bare, Scalar) or bare.type not in INDEXED_TYPES:
            possible = ", ".join(type_.__name__ for type_ in INDEXED_TYPES)
            faults.append(
                f"{one.name} is of type {type_name(one.type)}, which has no order: index fields of {possible}"
            )
        if one.default_factory is not MISSING:
            faults.append(
                f"{one.name} has a default_factory, which may give another value at each reading: give it a "
                "default, or leave it out"
            )
        if one.window is not None:
            faults.append(f"{one.name} is filled from the row's window and is not stored: leave it out")
    faults += [
        f"{name} is in it {names.count(name)} times: once is enough"
        for name in dict.fromkeys(names)
        if names.count(name) > 1
    ]
    keys = [one.name for one in record_type.fields if one.is_key]
    if ordered and keys and (names == keys[: len(names)] or names[: len(keys)] == keys):
        faults.append(
            f"rows are stored in the order of their key ({', '.join(keys)}), which finds the same rows as "
            "fast: remove the index"
        )
    return faults
