"""Members of a value that no field of the class declares: kept in its ``Extra`` field, and written back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from math import isfinite
from typing import Any

import msgspec

from statestore.runtime.text import bounded_repr
from statestore.serde.formats import FieldValueError, expected


@dataclass(frozen=True, slots=True)
class MemberFormat:
    """How a format holds values of no declared type."""

    members: Callable[[bytes], dict[str, msgspec.Raw]]
    """Takes a payload apart into its members."""
    whole: Callable[[bytes], Any]
    """Reads a payload for messages: a number looks as it is written."""
    decode: Callable[[Any], Any]
    """Reads the value of one member."""
    encode: Callable[[Any], bytes]
    shown: str
    """The types of values, for messages."""
    scalars: Mapping[type, Callable[[Any], bool]]
    """The types that the format has, besides ``None``, lists and dicts, with what a value must satisfy."""
    key_types: Collection[type]
    """The types of the keys of dicts inside a member."""

    def check(self, value: Any) -> None:
        """Raise ``FieldValueError`` for a value that the format lacks, or gives back as something else."""
        kind = type(value)
        if kind is dict:
            for key, item in value.items():
                if type(key) not in self.key_types or not self._fits(key):
                    kinds = " or ".join(one.__name__ for one in self.key_types)
                    raise expected(f"a key of type {kinds}, a str without lone surrogates", key)
                self._check_part(item, f"[{bounded_repr(key)}]")
        elif kind is list:
            for index, item in enumerate(value):
                self._check_part(item, f"[{index}]")
        elif value is not None and not self._fits(value):
            raise expected(self.shown, value)

    def _check_part(self, value: Any, step: str) -> None:
        try:
            self.check(value)
        except FieldValueError as fault:
            raise fault.within(step) from None

    def _fits(self, value: Any) -> bool:
        test = self.scalars.get(type(value))
        return test is not None and test(value)


class ExtraMembers:
    """The ``Extra`` field of one class. ``declared`` are the names of its other fields in records."""

    def __init__(self, field: str, declared: Collection[str], form: MemberFormat) -> None:
        self._field = field
        self._declared = declared
        self._form = form

    def read(self, payload: bytes) -> dict[str, Any]:
        """Return the members of ``payload`` that no field declares. Raises ``FieldValueError``."""
        found = {}
        for name, value in self._form.members(payload).items():
            if name in self._declared:
                continue
            try:
                found[name] = self._form.decode(value)
            except (msgspec.MsgspecError, ValueError, ArithmeticError, RecursionError) as error:
                why = f"{type(error).__name__}: {error}"
                if isinstance(error, ArithmeticError):
                    why = "its exponent is beyond what a Decimal holds"
                raise FieldValueError(
                    f"no value that can be kept ({why}): {bounded_repr(bytes(value))}; correct the record "
                    "where it is written, or remove the Extra field: without one, such members are left out",
                    f".{self._field}[{bounded_repr(name)}]",
                ) from None
        return found

    def written(self, entity: Any) -> dict[str, Any]:
        """Return the members of ``entity`` to write. Raises ``FieldValueError``."""
        members = getattr(entity, self._field)
        try:
            if type(members) is not dict:
                raise expected("dict", members)
            for name in members:
                if type(name) is not str:
                    raise expected("a str as the name of a member", name)
                if name in self._declared:
                    raise FieldValueError(
                        f"{bounded_repr(name)} is the name of a declared field: set that, and remove it here"
                    )
            self._form.check(members)
        except RecursionError:
            raise FieldValueError("nested too deeply, or contains itself", f".{self._field}") from None
        except FieldValueError as fault:
            raise fault.within(f".{self._field}") from None
        return members

    def normalised(self, entity: Any) -> dict[str, Any]:
        """Return the members of ``entity`` as they are after writing and reading. Raises as ``written``."""
        return self.read(self._form.encode(self.written(entity)))


def _any(_value: Any) -> bool:
    return True


def _is_unicode(text: str) -> bool:
    """Whether UTF-8 has bytes for ``text``: not for a lone surrogate."""
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


class _AsWritten(str):
    """The text of a number."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


JSON_MEMBERS = MemberFormat(
    msgspec.json.Decoder(dict[str, msgspec.Raw]).decode,
    msgspec.json.Decoder(float_hook=_AsWritten).decode,
    msgspec.json.Decoder(float_hook=Decimal).decode,
    msgspec.json.Encoder(decimal_format="number").encode,
    "None, bool, int, a finite float or Decimal, str without lone surrogates, list or dict",
    {bool: _any, int: _any, float: isfinite, Decimal: Decimal.is_finite, str: _is_unicode},
    (str,),
)
MSGPACK_MEMBERS = MemberFormat(
    msgspec.msgpack.Decoder(dict[str, msgspec.Raw]).decode,
    msgspec.msgpack.decode,
    msgspec.msgpack.Decoder().decode,
    msgspec.msgpack.encode,
    "None, bool, int of 64 bits, float, str without lone surrogates, bytes, a datetime with a time zone, "
    "list or dict",
    {
        bool: _any,
        int: lambda value: -(2**63) <= value < 2**64,
        float: _any,
        str: _is_unicode,
        bytes: _any,
        datetime: lambda value: value.tzinfo is not None,
        msgspec.msgpack.Ext: _any,
    },
    (str, bytes, int, bool, float),
)
