"""Values of formats that ``msgspec`` writes and reads, and where the fault of a payload is."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from statestore.entity import EntityModel
from statestore.fields.types import DictOf, Field, FieldType, ListOf, Nullable, Record
from statestore.serde.formats import ABSENT
from statestore.serde.misfit import MisfitError, show
from statestore.serde.wires import ABSENT_WITHOUT_DEFAULT, RecordWalk, Wiring

_MESSAGE = re.compile(r"(?P<problem>.+?)(?: - at `(?P<key>key` in `)?\$(?P<path>.*)`)?")
_MISSING = re.compile(r"Object missing required field `(?P<name>.+)`")
_INDEX = re.compile(r"\[(\d+|\.\.\.)\]")


class StructCodec:
    """A ``ValueCodec`` of maps by field name. Any number of threads may share one.

    ``encode`` writes such a map, ``decode`` reads bytes as a ``type``, and ``decoder(type)`` has a ``decode``
    that does so for one type.
    """

    def __init__(
        self,
        model: EntityModel,
        wiring: Wiring,
        encode: Callable[[Any], bytes],
        decode: Callable[..., Any],
        decoder: Callable[..., Any],
    ) -> None:
        self._walk = RecordWalk(model.record, wiring, outside=[field.name for field in model.key_fields])
        self._keys = [model.record.fields.index(field) for field in model.key_fields]
        self._encode = encode
        self._decode = decode
        self._decode_struct = decoder(self._walk.struct).decode
        self._wiring = wiring

    def encode(self, entity: Any) -> bytes:
        """Return the payload of ``entity``. Raises ``MisfitError``."""
        return self._encode(self._walk.write(entity))

    def normal(self, entity: Any) -> list[Any]:
        """Return the values of all fields as they come back, in their order. Raises ``MisfitError``."""
        return self._walk.normal(entity)

    def decode(self, payload: bytes) -> list[Any]:
        """Return the values of all fields in their order, ``ABSENT`` for a key field that is not there.

        A key field of another type is given as it is decoded without one. Raises ``MisfitError``.
        """
        try:
            values = self._walk.values(self._decode_struct(payload))
        except msgspec.MsgspecError as error:
            raise self._explain(error, payload) from None
        for index in self._keys:
            if values[index] is not ABSENT:
                values[index] = self._key_field(index, values[index])
        return values

    def _key_field(self, index: int, stored: msgspec.Raw) -> Any:
        wire = self._walk.wires[index]
        try:
            value = self._decode(stored, type=wire.type)
            return wire.read(value) if wire.read else value
        except (msgspec.MsgspecError, MisfitError, UnicodeDecodeError):
            return stored

    def _explain(self, error: msgspec.MsgspecError, payload: bytes) -> MisfitError:
        try:
            whole = self._decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TypeError):
            whole = payload
        return explain(error, self._walk.record, self._wiring, whole)


def explain(error: Exception, record: Record, wiring: Wiring, whole: Any) -> MisfitError:
    """Return what ``msgspec`` says of a map that is no ``record``: which field, and what is there.

    ``whole`` is the map without types. A fault that is of no field is told as it is.
    """
    matched = _MESSAGE.fullmatch(str(error)) if isinstance(error, msgspec.ValidationError) else None
    if matched is None:
        return MisfitError(f"{type(error).__name__}: {error}")
    problem = matched["problem"]
    path, inner, found = _follow(record, wiring, matched["path"] or "", whole)
    missing = _MISSING.fullmatch(problem)
    if missing and isinstance(inner, Record):
        names = (field.name for field in inner.fields if field.wire_name == missing["name"])
        return MisfitError(ABSENT_WITHOUT_DEFAULT, f"{path}.{next(names, missing['name'])}")
    if matched["key"]:
        return MisfitError(f"a key of the map: {problem}", path)
    return MisfitError(f"{problem}: {show(found)}", path)


def _follow(type_: FieldType, wiring: Wiring, path: str, found: Any) -> tuple[str, FieldType, Any]:
    """Return ``path`` by the names of the classes, the type at its end, and what ``found`` has there.

    ``msgspec`` does not tell the key of a map, so what is found is the map then.
    """
    walked, known = "", True
    while path:
        if isinstance(type_, Nullable):
            type_ = type_.item
            continue
        index = _INDEX.match(path)
        if index and isinstance(type_, ListOf | DictOf):
            walked, path, type_ = walked + index[0], path[index.end() :], type_.item
            known = known and index[1] != "..."
            step: Any = int(index[1]) if known else None
        elif isinstance(type_, Record) and (name := _first_name(type_, wiring, path)):
            field, step = name
            walked, path, type_ = f"{walked}.{field.name}", path[1 + len(step) :], field.type
        else:
            return walked + path, type_, found
        if known:
            try:
                found = found[step]
            except (TypeError, LookupError):
                known = False
    return walked, type_.item if isinstance(type_, Nullable) else type_, found


def _first_name(record: Record, wiring: Wiring, path: str) -> tuple[Field, str] | None:
    """Return the field that ``path`` begins with and how it is spelt there; a name may have any character."""
    spelt = [
        (field, spelling)
        for field, spellings in zip(record.fields, wiring.spellings(record), strict=True)
        for spelling in spellings
        if path.startswith(f".{spelling}") and path[1 + len(spelling) :][:1] in {"", ".", "["}
    ]
    return max(spelt, key=lambda one: len(one[1]), default=None)
