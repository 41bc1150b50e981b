"""Defaults that are not what their fields take, all of a class at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING
from typing import Any

from statestore.errors import ConfigError
from statestore.fields.types import DictOf, FieldType, ListOf, Nullable, Record, Scalar
from statestore.serde.misfit import MisfitError
from statestore.serde.scalars import normal
from statestore.serde.wires import Wire, Wiring


def default_faults(record: Record) -> list[str]:
    """Return a fault for each default of ``record``, and of the dataclasses in it, that does not fit.

    What a ``default_factory`` makes is looked at when it is written: making it may be more than that.
    """
    inner = [nested for field in record.fields for nested in _records(field.type)]
    faults = [fault for nested in inner for fault in default_faults(nested)]
    wiring = Wiring(_kept, _kept)
    for field in record.fields:
        if field.default is MISSING:
            continue
        try:
            wiring.wire(field.type).normal(field.default)
        except MisfitError as misfit:
            faults.append(f"{record.cls.__name__}.{field.name}{misfit.path}: its default: {misfit}")
        except ConfigError as error:  # a default inside, which is told already
            faults += error.faults
    return list(dict.fromkeys(faults))


def _kept(scalar: Scalar) -> Wire:
    return Wire(Any, normal(scalar), normal(scalar))


def _records(type_: FieldType) -> Iterator[Record]:
    match type_:
        case Record():
            yield type_
        case Nullable(item) | ListOf(item) | DictOf(_, item):
            yield from _records(item)
