"""What a condition says of key fields and indexed ones: which values, or which range, each can have.

All types of key fields are discrete, and floats are, so that every range is one from a value that is included
to one that is not: ``F.id > 5`` is the range from 6 on. Decimals are not: their ranges may have a little more
than what the condition says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal
from typing import Any, Final
from uuid import UUID

from statestore.expressions.nodes import (
    COMPARISONS,
    Between,
    Binary,
    Constant,
    FieldPath,
    In,
    Logic,
    Node,
    TextTest,
)

_FLIPPED: Final = {"==": "==", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_LEAST_INT, _GREATEST_INT = -(2**63), 2**63 - 1


class _NoValueError(Exception):
    """No value fulfils the condition."""


@dataclass(slots=True)
class FieldRange:
    """The values that conditions leave to one key field."""

    values: set[Any] | None = None
    """The field is one of these; ``None``: not limited in this way."""
    start: Any = None
    """The least value, ``None`` for any."""
    stop: Any = None
    """The value past the greatest, ``None`` for any."""
    is_empty: bool = False
    is_exact: bool = True
    """Whether the range has nothing more than what the conditions say."""
    parts: list[int] = field(default_factory=list)
    """Which parts of the condition said this."""

    def equal(self, values: Iterable[Any]) -> None:
        """Leave only ``values``."""
        given = set(values)
        self.values = given if self.values is None else self.values & given

    def at_least(self, value: Any) -> None:
        """Leave what is not below ``value``."""
        self.start = value if self.start is None else max(self.start, value)

    def below(self, value: Any | None) -> None:
        """Leave what is below ``value``; ``None``: leave all."""
        if value is not None:
            self.stop = value if self.stop is None else min(self.stop, value)

    def settle(self) -> None:
        """Join the values and the range, when all parts were told."""
        if self.values is not None:
            self.values = {one for one in self.values if self._includes(one)}
            self.is_empty = self.is_empty or not self.values
        elif self.start is not None and self.stop is not None:
            self.is_empty = self.is_empty or self.start >= self.stop
        if self.is_empty:
            self.values = set()

    def _includes(self, value: Any) -> bool:
        return (self.start is None or value >= self.start) and (self.stop is None or value < self.stop)


def key_ranges(parts: Sequence[Node], kinds: Mapping[str, type]) -> dict[str, FieldRange]:
    """Return what ``parts``, which must all be true, say of the key fields, whose types are ``kinds``."""
    found: dict[str, FieldRange] = {}
    for number, part in enumerate(parts):
        name, tell = _read(part)
        if name not in kinds or tell is None:
            continue
        told = FieldRange()
        try:
            tell(told, kinds[name])
        except _NoValueError:
            told.is_empty = True
        except OverflowError:  # an infinite number
            continue
        before = found.get(name)
        if before is None:
            found[name] = told
        else:
            _join(before, told)
        found[name].parts.append(number)
    for range_ in found.values():
        range_.settle()
    return found


def _join(range_: FieldRange, told: FieldRange) -> None:
    range_.is_empty = range_.is_empty or told.is_empty
    if told.values is not None:
        range_.equal(told.values)
    if told.start is not None:
        range_.at_least(told.start)
    range_.below(told.stop)
    range_.is_exact = range_.is_exact and told.is_exact


_Tell = Callable[[FieldRange, type], None]


def _read(part: Node) -> tuple[str, _Tell | None]:
    """Return the field that a condition is about and what it says of it; nothing if it is about no field."""
    if isinstance(part, Binary):
        return _read_comparison(part)
    match part:
        case Between(FieldPath(_, (str(name),)), Constant(low), Constant(high)):

            def between(told: FieldRange, kind: type) -> None:
                _compare(told, kind, ">=", low)
                _compare(told, kind, "<=", high)

            return name, between
        case In(FieldPath(_, (str(name),)), constants):
            return name, lambda told, kind: told.equal(_values(kind, [one.value for one in constants]))
        case TextTest("startswith", FieldPath(_, (str(name),)), text):

            def begins(told: FieldRange, _kind: type) -> None:
                told.at_least(text)
                told.below(_past_prefix(text))

            return name, begins
        case Logic("|", operands):
            return _read_either(operands)
    return "", None


def _read_comparison(part: Binary) -> tuple[str, _Tell | None]:
    op, path, constant = part.op, part.left, part.right
    if isinstance(path, Constant):
        op, path, constant = _FLIPPED.get(op, ""), constant, path
    if not isinstance(path, FieldPath) or not isinstance(constant, Constant) or op not in _FLIPPED:
        return "", None
    name, *others = path.steps
    if others or not isinstance(name, str):
        return "", None
    value = constant.value
    return name, lambda told, kind: _compare(told, kind, op, value)


def _read_either(operands: Sequence[Node]) -> tuple[str, _Tell | None]:
    """The same for ``(F.id == 1) | (F.id == 2)``, which is ``F.id.in_([1, 2])``."""
    names: set[str] = set()
    constants: list[Any] = []
    for one in operands:
        match one:
            case Binary("==", FieldPath(_, (str(name),)), Constant(value)):
                constants.append(value)
            case Binary("==", Constant(value), FieldPath(_, (str(name),))):
                constants.append(value)
            case In(FieldPath(_, (str(name),)), values):
                constants += [constant.value for constant in values]
            case _:
                return "", None
        names.add(name)
    if len(names) > 1:
        return "", None
    return names.pop(), lambda told, kind: told.equal(_values(kind, constants))


def _values(kind: type, constants: Iterable[Any]) -> list[Any]:
    """Return those of ``constants`` that a field of type ``kind`` can have."""
    return [_exact(kind, one) for one in constants if _is_possible(kind, one)]


def _is_possible(kind: type, value: Any) -> bool:
    if kind is float:
        return bool(float(value) == value)  # not so for an int that no float equals
    if kind is not int:
        return True
    # The bounds first: 1E+999999999 as an int has a billion digits.
    finite = isinstance(value, int) or math.isfinite(value)
    return bool(finite and _LEAST_INT <= value <= _GREATEST_INT and value == math.floor(value))


def _exact(kind: type, value: Any) -> Any:
    if kind in (int, float, Decimal):
        return kind(value)
    return value.astimezone(UTC) if kind is datetime else value


def _compare(told: FieldRange, kind: type, op: str, value: Any) -> None:
    if op == "==":
        told.equal(_values(kind, [value]))
        return
    if kind is int:
        _compare_int(told, op, value)
        return
    if kind is float:
        _compare_float(told, op, value)
        return
    if kind is Decimal:
        _compare_decimal(told, op, Decimal(value))
        return
    value = _exact(kind, value)
    if op in ("<", ">="):
        (told.below if op == "<" else told.at_least)(value)
        return
    after = _after(value)
    if op == "<=":
        told.below(after)
    elif after is None:
        raise _NoValueError
    else:
        told.at_least(after)


def _compare_int(told: FieldRange, op: str, value: int | float | Decimal) -> None:
    if isinstance(value, Decimal):  # 1E+999999999 as an int has a billion digits
        value = min(max(value, Decimal(_LEAST_INT - 1)), Decimal(_GREATEST_INT + 1))
    bound = math.floor(value) + 1 if op in (">", "<=") else math.ceil(value)
    if op in (">", ">="):
        if bound > _GREATEST_INT:
            raise _NoValueError
        if bound > _LEAST_INT:
            told.at_least(bound)
    else:
        if bound <= _LEAST_INT:
            raise _NoValueError
        if bound <= _GREATEST_INT:
            told.below(bound)


def _compare_float(told: FieldRange, op: str, value: int | float) -> None:
    bound = float(value)
    if bound < value or (bound == value and op in (">", "<=")):  # an int may lie between two floats
        if bound == math.inf:
            if op == "<=":
                return  # NaN is past all ranges of floats
            raise _NoValueError
        bound = math.nextafter(bound, math.inf)
    (told.at_least if op in (">", ">=") else told.below)(bound)


def _compare_decimal(told: FieldRange, op: str, value: Decimal) -> None:
    told.is_exact = False
    if op in (">", ">="):
        told.at_least(value)
    elif value.is_finite():
        digits = len(value.as_tuple().digits)
        told.below(Context(prec=digits + 2, traps=[]).next_plus(value))


def _after(value: Any) -> Any | None:
    """Return the value that follows ``value``, ``None`` if there is none."""
    match value:
        case str():
            return value + "\0"
        case bytes():
            return value + b"\0"
        case UUID():
            return UUID(int=value.int + 1) if value.int < 2**128 - 1 else None
        case _:
            assert isinstance(value, date)
            try:
                return value + timedelta.resolution if isinstance(value, datetime) else value + timedelta(1)
            except OverflowError:
                return None


def _past_prefix(text: str) -> str | None:
    """Return the first text after all that begin with ``text``, ``None`` if there is none."""
    stem = text.rstrip("\U0010ffff")
    if not stem:
        return None
    next_one = ord(stem[-1]) + 1
    return stem[:-1] + chr(0xE000 if next_one == 0xD800 else next_one)


assert set(_FLIPPED) == COMPARISONS - {"!="}
