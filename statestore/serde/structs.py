"""The value codec of formats that ``msgspec`` writes and reads; its errors name the field at fault."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from statestore.entity import EntityModel
from statestore.fields.types import DictOf, Field, FieldType, ListOf, Nullable, RecordType
from statestore.runtime.text import bounded_repr
from statestore.serde.extra import ExtraMembers, MemberFormat
from statestore.serde.field_codecs import ABSENT_WITHOUT_DEFAULT, RecordCodec, TypeMapping
from statestore.serde.formats import ABSENT, FieldValueError

_MESSAGE = re.compile(r"(?P<problem>.+?)(?: - at `(?P<key>key` in `)?\$(?P<path>.*)`)?")
_MISSING = re.compile(r"Object missing required field `(?P<name>.+)`")
_INDEX = re.compile(r"\[(\d+|\.\.\.)\]")


class StructCodec:
    """A ``ValueCodec`` of maps by field name. Any number of threads may share one.

    ``encode`` and ``decode`` are the format's functions in ``msgspec``, ``decoder`` is its class of decoders,
    ``members`` is how the format holds values of no declared type. ``surrogate`` finds a text with a lone
    surrogate in a payload that does not decode: the steps to it, and the text.
    """

    def __init__(
        self,
        model: EntityModel,
        mapping: TypeMapping,
        encode: Callable[[Any], bytes],
        decode: Callable[..., Any],
        decoder: Callable[..., Any],
        members: MemberFormat,
        surrogate: Callable[[bytes], tuple[list[str | int], str] | None] = lambda _payload: None,
    ) -> None:
        self._record = RecordCodec(
            model.record_type,
            mapping,
            outside=[field.name for field in model.key_fields],
            event_time=None if model.event_time is None else model.event_time.name,
            writes_all=model.key_in_value,
        )
        self._keys = [model.record_type.fields.index(field) for field in model.key_fields]
        self._encode = encode
        self._decode = decode
        self._decode_struct = decoder(self._record.struct).decode
        self._mapping = mapping
        extra = model.record_type.extra
        declared = frozenset(name for names in self._record.names for name in names)
        self._whole, self._surrogate = members.whole, surrogate
        self._extra = None if extra is None else ExtraMembers(extra, declared, members)

    def encode(self, entity: Any) -> bytes:
        """Return the payload of ``entity``. Raises ``FieldValueError``."""
        written = self._record.write(entity)
        if self._extra is not None:
            written |= self._extra.written(entity)
        return self._encode(written)

    def normalise(self, entity: Any) -> list[Any]:
        """Return the normalised values of all fields, in their order. Raises ``FieldValueError``."""
        values = self._record.normalise(entity)
        return values if self._extra is None else [*values, self._extra.normalised(entity)]

    def decode(self, payload: bytes) -> list[Any]:
        """Return the values of all fields in their order, ``ABSENT`` for a key field that is not there.

        A key field whose value is not of its type is returned undecoded. Raises ``FieldValueError``.
        """
        try:
            values = self._record.values(self._decode_struct(payload))
        except msgspec.MsgspecError as error:
            raise self._explain(error, payload) from None
        for index in self._keys:
            if values[index] is not ABSENT:
                values[index] = self._key_field(index, values[index])
        if self._extra is not None:
            values.append(self._extra.read(payload))
        return values

    def _key_field(self, index: int, stored: msgspec.Raw) -> Any:
        codec = self._record.codecs[index]
        try:
            value = self._decode(stored, type=codec.type)
            return codec.read(value) if codec.read else value
        except (msgspec.MsgspecError, FieldValueError, UnicodeDecodeError):
            return stored

    def _explain(self, error: msgspec.MsgspecError, payload: bytes) -> FieldValueError:
        if (found := self._surrogate(payload)) is not None:
            (name, *steps), text = found
            return FieldValueError(
                f"a lone surrogate, half of a character, in {bounded_repr(text)}; correct the record "
                'where it is written, or leave such records out: @entity(on_undecodable="skip")',
                self._path_of(name) + "".join(f"[{bounded_repr(step)}]" for step in steps),
            )
        try:
            whole = self._whole(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TypeError):
            whole = payload
        return explain(error, self._record.record_type, self._mapping, whole)

    def _path_of(self, name: str | int) -> str:
        """Return where a member of the payload is in the class."""
        fields = zip(self._record.record_type.fields, self._record.names, strict=True)
        field = next((field.name for field, names in fields if name in names), None)
        if field is not None:
            return f".{field}"
        extra = self._record.record_type.extra
        return f"{'' if extra is None else f'.{extra}'}[{bounded_repr(name)}]"


def explain(error: Exception, record_type: RecordType, mapping: TypeMapping, whole: Any) -> FieldValueError:
    """Return the ``error`` of ``msgspec`` with the field it is about and the value found there.

    ``whole`` is the map, decoded without types. An error about no field keeps its text.
    """
    matched = _MESSAGE.fullmatch(str(error)) if isinstance(error, msgspec.ValidationError) else None
    if matched is None:
        return FieldValueError(f"{type(error).__name__}: {error}")
    problem = matched["problem"]
    path, inner, found = _follow(record_type, mapping, matched["path"] or "", whole)
    missing = _MISSING.fullmatch(problem)
    if missing and isinstance(inner, RecordType):
        names = (field.name for field in inner.fields if field.wire_name == missing["name"])
        return FieldValueError(ABSENT_WITHOUT_DEFAULT, f"{path}.{next(names, missing['name'])}")
    if matched["key"]:
        return FieldValueError(f"a key of the map: {problem}", path)
    return FieldValueError(f"{problem}: {bounded_repr(found)}", path)


def _follow(type_: FieldType, mapping: TypeMapping, path: str, found: Any) -> tuple[str, FieldType, Any]:
    """Return ``path`` in the classes' names, the type at its end, and the value that ``found`` has there.

    ``msgspec`` does not name the key of a map. The value returned is then the whole map.
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
        elif isinstance(type_, RecordType) and (name := _first_name(type_, mapping, path)):
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


def _first_name(record_type: RecordType, mapping: TypeMapping, path: str) -> tuple[Field, str] | None:
    """Return the field that ``path`` begins with and its name there. A name may contain any character."""
    matching = [
        (field, name)
        for field, names in zip(record_type.fields, mapping.names(record_type), strict=True)
        for name in names
        if path.startswith(f".{name}") and path[1 + len(name) :][:1] in {"", ".", "["}
    ]
    return max(matching, key=lambda one: len(one[1]), default=None)
