"""Which classes the native decoder (``_native/decode.pxi``) can decode, and how it is set up for a class.

It decodes payloads as this library writes them, of scalar fields. It leaves all others to
:mod:`statestore.serde.entities`, and must give the same entities.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from statestore import core
from statestore.core.common import has_only_slots
from statestore.entity import EntityModel, WindowKeyForm
from statestore.fields.attributes import WindowEnd, WindowSize, WindowStart
from statestore.fields.types import Field, Nullable, Scalar
from statestore.serde.scalars import DECIMAL_CONTEXT

if TYPE_CHECKING:
    from statestore._native import Decoder

_MOST_FIELDS = 64


def native_decoder(model: EntityModel, keys: Any) -> Decoder | None:
    """Return the decoder of a class with the native key codec ``keys``, ``None`` if it cannot decode it."""
    record = model.record_type
    if core.IMPLEMENTATION == "pure" or not core.uses("decoder") or len(record.fields) > _MOST_FIELDS:
        return None
    if record.extra is not None or model.key_in_value:
        return None
    plain = only_sets_fields(model.cls) and len(dataclasses.fields(model.cls)) == len(record.fields)
    is_of_window = model.window is not None
    described = [
        known for field in record.fields if (known := _described(model.cls, field, of_window=is_of_window))
    ]
    if len(described) < len(record.fields) or not (plain or record.positional):
        return None
    from statestore._native import Decoder

    acyclic = plain and in_no_cycle(model.cls, len(record.fields))
    form = model.window
    if form is None:
        return Decoder(model.cls, keys, described, plain, acyclic, DECIMAL_CONTEXT)
    of_window = _of_window(record.fields, form)
    return Decoder(
        model.cls, keys, described, plain, acyclic, DECIMAL_CONTEXT, len(form.parts), form.size, of_window
    )


def _of_window(fields: Sequence[Field], form: WindowKeyForm) -> list[tuple[int, int, int, int, str]]:
    """Return how each field of the window is made of the times in a key, as ``Decoder`` takes it."""
    start, end = form.parts.index(WindowStart), form.parts[0]
    size = form.window.size_ms if end is WindowStart else 0
    made = {WindowStart: (start, -1, 0), WindowEnd: (0, -1, size), WindowSize: (0, start, size)}
    return [
        (place, *made[field.window], kind_name(field.type))
        for place, field in enumerate(fields)
        if field.window is not None and isinstance(field.type, Scalar)
    ]


def _described(
    cls: type, field: Field, *, of_window: bool
) -> tuple[str, bytes, str | None, bool, int, int, Any] | None:
    nullable = isinstance(field.type, Nullable)
    type_ = field.type.item if isinstance(field.type, Nullable) else field.type
    if not isinstance(type_, Scalar) or (field.window and (nullable or not of_window)):
        return None
    if field.is_key and type_.max_length is not None:  # longer keys are counted
        return None
    return (
        field.name,
        msgspec.msgpack.encode(field.wire_name),
        None if field.is_key or field.window else kind_name(type_),
        nullable,
        type_.precision.digits if type_.precision else type_.max_length or 0,
        type_.precision.scale if type_.precision else 0,
        inspect.getattr_static(cls, field.name, None),
    )


def kind_name(type_: Scalar) -> str:
    """Return the name that the native core has for values of ``type_``."""
    return type_.type.__name__.lower() + ("16" if type_.is_16_bits else "32" if type_.is_32_bits else "")


@lru_cache(maxsize=1000)  # a class is compiled for it, which takes a quarter of what a test driver takes
def only_sets_fields(cls: Any) -> bool:
    """Whether calling the dataclass ``cls`` does nothing but set its fields to the arguments.

    That is so if ``dataclass`` wrote its ``__init__`` and nothing else is called on the way. The code of
    ``__init__`` is compared with that of a dataclass with the same fields.
    """
    parameters = cls.__dataclass_params__
    if (
        hasattr(cls, "__post_init__")
        or cls.__new__ is not object.__new__
        or type(cls).__call__ is not type.__call__
        or not (parameters.frozen or cls.__setattr__ is object.__setattr__)
    ):
        return False
    fields = [(field.name, object, _copied(field)) for field in dataclasses.fields(cls)]
    twin: Any = dataclasses.make_dataclass(cls.__name__, fields, frozen=parameters.frozen)
    return bool(getattr(cls.__init__, "__code__", None) == twin.__init__.__code__)


def in_no_cycle(cls: Any, fields: int) -> bool:
    """Whether an object of ``cls`` with scalars in its ``fields`` can be in no cycle, now and later.

    Then it need not be tracked by the garbage collector, which looks at all that it tracks again and again.
    That is so of a frozen dataclass with slots for its fields and nothing else: what is not frozen, or has a
    ``__dict__``, can be given a list that holds the object. Who writes past the freezing
    (``object.__setattr__``) can make a cycle, which then is never freed.
    """
    return (
        "__dataclass_params__" in vars(cls)  # not those of a base: a subclass may thaw
        and cls.__dataclass_params__.frozen
        and has_only_slots(cls, fields)
    )


def _copied(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return dataclasses.field(default_factory=field.default_factory, kw_only=field.kw_only)
    return dataclasses.field(default=field.default, kw_only=field.kw_only)
