"""How ksqlDB computes an expression, as its source says, in Python: for the tests of both meanings.

A row is a dict of columns. A TIMESTAMP is its milliseconds, a DATE its days, a STRUCT a dict. ``ServerError``
is an exception of Java: the whole condition is then false, the whole column null. No translation may rest on
that.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Any, Final

from tests.unit.ksql.parser import COMPARISONS, Tree, parsed

Row = Mapping[str, Any]
Run = Callable[[Row], Any]
Typed = tuple[Any, Run]
"""A type, and what gives the value for a row."""

_EXACT: Final = Context(prec=400, traps=[InvalidOperation])


class ServerError(Exception):
    """An exception in the server."""


def computed(text: str, types: Mapping[str, Any], row: Row) -> Any:
    """Return the value of an expression for a row. Raises ``ServerError`` where the server would."""
    return _typed(parsed(text), types)[1](row)


def type_of(text: str, types: Mapping[str, Any]) -> Any:
    """Return the type of an expression."""
    return _typed(parsed(text), types)[0]


def _typed(tree: Tree, types: Mapping[str, Any]) -> Typed:
    kind, *parts = tree
    if kind in COMPARISONS:
        return _comparison(kind, *(_typed(part, types) for part in parts))
    if kind in ("+", "-", "*", "/", "%"):
        return _arithmetic(kind, *(_typed(part, types) for part in parts))
    if kind in _LITERALS:
        return _literal(kind, parts[0])
    return _RULES[kind](parts, types)


_LITERALS: Final = ("integer", "decimal", "float", "string", "constant")


def _literal(kind: str, value: Any) -> Typed:
    def run(_: Row) -> Any:
        return value

    if kind == "integer":
        assert -(2**63) <= value < 2**63
        return ("INT" if -(2**31) <= value < 2**31 else "BIGINT"), run
    if kind == "decimal":
        assert "E" not in str(value), "the server writes it anew, with an exponent: as a DOUBLE"
        digits, scale = len(value.as_tuple().digits), -value.as_tuple().exponent
        return ("DECIMAL", max(digits, scale + 1), scale), run
    assert kind != "float" or math.isfinite(value)
    return {"float": "DOUBLE", "string": "VARCHAR"}.get(kind, None if value is None else "BOOLEAN"), run


def _column(parts: list[Any], types: Mapping[str, Any]) -> Typed:
    return types[parts[0]], lambda row: row[parts[0]]


def _field(parts: list[Any], types: Mapping[str, Any]) -> Typed:
    (kind, fields), base = _typed(parts[0], types)
    assert kind == "STRUCT"

    def run(row: Row) -> Any:
        value = base(row)
        return None if value is None else value[parts[1]]

    return fields[parts[1]], run


def _part(parts: list[Any], types: Mapping[str, Any]) -> Typed:
    (kind, item), base = _typed(parts[0], types)
    index = _typed(parts[1], types)[1]

    def run(row: Row) -> Any:
        value, place = base(row), index(row)
        if value is None:
            return None
        if kind == "MAP":
            return value.get(place)
        at = place - 1 if place >= 0 else len(value) + place
        return value[at] if 0 <= at < len(value) else None

    return item, run


# Conditions


def _logic(parts: list[Any], types: Mapping[str, Any], decisive: bool) -> Typed:
    left, right = (_boolean(part, types) for part in parts)

    def run(row: Row) -> Any:
        return decisive if left(row) is decisive else right(row)

    return "BOOLEAN", run


def _boolean(tree: Tree, types: Mapping[str, Any]) -> Run:
    """Return what gives a condition that Java takes out of its box: a null fails."""
    type_, inner = _typed(tree, types)
    assert type_ == "BOOLEAN"

    def run(row: Row) -> bool:
        value = inner(row)
        if value is None:
            raise ServerError("NullPointerException")
        assert isinstance(value, bool)
        return value

    return run


def _not(parts: list[Any], types: Mapping[str, Any]) -> Typed:
    inner = _boolean(parts[0], types)
    return "BOOLEAN", lambda row: not inner(row)


def _null_test(parts: list[Any], types: Mapping[str, Any], wanted: bool) -> Typed:
    # Of a computation Java's compiler would refuse it: a primitive number is no null.
    assert parts[0][0] in ("column", "field", "part", "call", "case", "cast"), parts[0]
    inner = _typed(parts[0], types)[1]
    return "BOOLEAN", lambda row: (inner(row) is None) is wanted


def _comparison(op: str, left: Typed, right: Typed) -> Typed:
    kinds = {_name(left[0]), _name(right[0])}
    assert kinds <= _NUMBERS or len(kinds) == 1, f"{left[0]} {op} {right[0]}"
    assert kinds != {"BOOLEAN"} or op in ("=", "<>")
    changed: Callable[[Any], Any] = _AS_COMPARED.get(next(iter(kinds)), lambda value: value)
    if kinds <= _NUMBERS:
        changed = _exact if "DECIMAL" in kinds else float if "DOUBLE" in kinds else int

    def run(row: Row) -> bool:
        one, other = left[1](row), right[1](row)
        if one is None or other is None:
            return False
        return _OPERATORS[op](changed(one), changed(other))

    return "BOOLEAN", run


_NUMBERS: Final = {"INT", "BIGINT", "DECIMAL", "DOUBLE"}
_AS_COMPARED: Final[dict[str, Callable[[Any], Any]]] = {
    "VARCHAR": lambda text: text.encode("utf-16-be", "surrogatepass"),
    "BYTES": lambda value: [byte - 256 if byte > 127 else byte for byte in value],
}
_OPERATORS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "=": lambda a, b: a <= b and a >= b,
    "<>": lambda a, b: a < b or a > b,
    "!=": lambda a, b: a < b or a > b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def _exact(value: Any) -> Decimal:
    return Decimal(repr(value)) if isinstance(value, float) else Decimal(value)


def _name(type_: Any) -> str:
    return type_ if isinstance(type_, str) else "" if type_ is None else type_[0]


def _between(parts: list[Any], types: Mapping[str, Any]) -> Typed:
    value, low, high = (_typed(part, types) for part in parts)
    above, below = _comparison(">=", value, low)[1], _comparison("<=", value, high)[1]
    return "BOOLEAN", lambda row: above(row) and below(row)


def _in(parts: list[Any], types: Mapping[str, Any]) -> Typed:
    value = _typed(parts[0], types)
    items = [_typed(part, types) for part in parts[1]]
    assert _name(value[0]) not in ("DOUBLE", "DECIMAL"), (
        "it would be by equals(), which sees scales and signs"
    )
    tests = [_comparison("=", value, item)[1] for item in items]
    return "BOOLEAN", lambda row: any(test(row) for test in tests)


# Numbers


def _arithmetic(op: str, left: Typed, right: Typed) -> Typed:
    result = _result_type(op, left[0], right[0])
    compute = _COMPUTE.get(_name(result), _whole)
    changed: Callable[[Any], Any] = float if result == "DOUBLE" else lambda value: value

    def run(row: Row) -> Any:
        one, other = left[1](row), right[1](row)
        if one is None or other is None:
            raise ServerError("NullPointerException")
        return compute(op, changed(one), changed(other), result)

    return result, run


def _result_type(op: str, left: Any, right: Any) -> Any:
    names = (_name(left), _name(right))
    assert set(names) <= _NUMBERS, f"{left} {op} {right}"
    if "DOUBLE" in names:
        return "DOUBLE"
    if "DECIMAL" not in names:
        return "BIGINT" if "BIGINT" in names else "INT"
    (p1, s1), (p2, s2) = (_digits(left), _digits(right))
    scale = max(s1, s2)
    if op == "*":
        return ("DECIMAL", p1 + p2 + 1, s1 + s2)
    assert op in ("+", "-"), "the server fails where a DECIMAL's quotient has to be rounded"
    return ("DECIMAL", scale + max(p1 - s1, p2 - s2) + 1, scale)


def _digits(type_: Any) -> tuple[int, int]:
    fixed = {"INT": (10, 0), "BIGINT": (19, 0)}
    return fixed[type_] if type_ in fixed else type_[1:]


def _whole(op: str, one: int, other: int, type_: Any) -> int:
    result: int
    bits = 32 if type_ == "INT" else 64
    if op in ("/", "%") and other == 0:
        raise ServerError("ArithmeticException")
    match op:
        case "/":
            result = abs(one) // abs(other) * (1 if (one < 0) is (other < 0) else -1)
        case "%":
            result = abs(one) % abs(other) * (-1 if one < 0 else 1)
        case _:
            result = {"+": one + other, "-": one - other, "*": one * other}[op]
    half: int = 2 ** (bits - 1)
    return (result + half) % (2 * half) - half


def _double(op: str, one: float, other: float, _: Any) -> float:
    if op != "/" or other:
        return {"+": float.__add__, "-": float.__sub__, "*": float.__mul__, "/": float.__truediv__}[op](
            one, other
        )
    return math.nan if not one or one != one else math.copysign(math.inf, one) * math.copysign(1, other)


def _decimal(op: str, one: Any, other: Any, type_: Any) -> Decimal:
    one, other = Decimal(one), Decimal(other)
    result = {"+": _EXACT.add, "-": _EXACT.subtract, "*": _EXACT.multiply}[op](one, other)
    return _fitted(result, type_[1], type_[2])


def _fitted(value: Decimal, digits: int, scale: int) -> Decimal:
    context = Context(prec=max(digits, 1), traps=[Inexact, InvalidOperation])
    try:
        return context.plus(value).quantize(Decimal((0, (1,), -scale)), context=_EXACT)
    except (Inexact, InvalidOperation):
        raise ServerError("ArithmeticException") from None


_COMPUTE: Final = {"DOUBLE": _double, "DECIMAL": _decimal}


def _negative(parts: list[Any], types: Mapping[str, Any]) -> Typed:
    type_, inner = _typed(parts[0], types)

    def run(row: Row) -> Any:
        value = inner(row)
        if value is None:
            raise ServerError("NullPointerException")
        return -value if type_ == "DOUBLE" or _name(type_) == "DECIMAL" else _whole("-", 0, value, type_)

    return type_, run


def _cast(parts: list[Any], types: Mapping[str, Any]) -> Typed:
    source, inner = _typed(parts[0], types)
    target = parts[1]

    def run(row: Row) -> Any:
        value = inner(row)
        if value is None:
            return None
        if target == "DOUBLE":
            return float(value)
        if _name(target) != "DECIMAL":
            assert (source, target) == ("INT", "BIGINT"), f"CAST of {source} to {target}"
            return value
        number = Decimal(value)
        if number.copy_abs() >= 10 ** (target[1] - target[2]):
            raise ServerError("ArithmeticException")
        return number.quantize(Decimal((0, (1,), -target[2])), rounding="ROUND_HALF_UP", context=_EXACT)

    return target, run


def _case(parts: list[Any], types: Mapping[str, Any]) -> Typed:
    branches = [(_boolean(condition, types), _typed(value, types)) for condition, value in parts[0]]
    otherwise = None if parts[1] is None else _typed(parts[1], types)
    results = [value[0] for _, value in branches] + ([otherwise[0]] if otherwise else [])
    known = [type_ for type_ in results if type_ is not None]
    assert all(type_ == known[0] for type_ in known), f"branches of different types: {known}"

    def run(row: Row) -> Any:
        for condition, value in branches:
            if condition(row):
                return value[1](row)
        return otherwise[1](row) if otherwise else None

    return known[0], run


# Functions


def _call(parts: list[Any], types: Mapping[str, Any]) -> Typed:
    name, arguments = parts
    given = [_typed(one, types) for one in arguments]
    result, wanted, function = _FUNCTIONS[name]
    assert len(given) >= len(wanted)
    for (type_, _), accepted in zip(given, wanted, strict=False):
        assert type_ in accepted, f"{name} of {type_}"

    def run(row: Row) -> Any:
        values = [one(row) for _, one in given]
        if name == "INSTR" and None in values:
            return 0
        return None if None in values else function(*values)

    return result, run


def _units(text: str) -> bytes:
    return text.encode("utf-16-be", "surrogatepass")


def _substring(text: str, at: int, size: int | None = None) -> str:
    units = _units(text)
    count = len(units) // 2
    start = max(count + at, 0) if at < 0 else max(min(at - 1, count), 0)
    end = count if size is None else max(min(start + size, count), start)
    return units[2 * start : 2 * end].decode("utf-16-be", "surrogatepass")


def _instr(text: str, part: str) -> int:
    if not text:
        return 0
    at = _units(text).hex(" ", 2).find(_units(part).hex(" ", 2))
    return 0 if at < 0 else at // 5 + 1


def _regexp_extract(pattern: str, text: str) -> str | None:
    assert not re.search(r"\\[A-Za-z]", pattern.removeprefix(r"(?s)\A").removesuffix(r"\z"))
    found = re.search(pattern.removesuffix(r"\z") + r"\Z", text)
    return found[0] if found else None


def _encode(text: str, source: str, target: str) -> str:
    if (source, target) == ("utf8", "hex"):
        return text.encode().hex()
    assert (source, target) == ("hex", "utf8")
    return bytes.fromhex(text).decode()


_TEXT: Final = ("VARCHAR",)
_INTS: Final = ("INT", "BIGINT")
_FUNCTIONS: Final[dict[str, tuple[str, tuple[tuple[str, ...], ...], Callable[..., Any]]]] = {
    "SUBSTRING": ("VARCHAR", (_TEXT, ("INT",)), _substring),
    "INSTR": ("INT", (_TEXT, _TEXT), _instr),
    "REGEXP_EXTRACT": ("VARCHAR", (_TEXT, _TEXT), _regexp_extract),
    "ENCODE": ("VARCHAR", (_TEXT, _TEXT, _TEXT), _encode),
    "CONCAT": ("VARCHAR", (_TEXT, _TEXT), lambda *texts: "".join(texts)),
    "TO_BYTES": ("BYTES", (_TEXT, _TEXT), lambda text, _: bytes.fromhex(text)),
    "FROM_BYTES": ("VARCHAR", (("BYTES",), _TEXT), lambda value, _: value.hex().upper()),
    "FROM_UNIXTIME": ("TIMESTAMP", (_INTS,), lambda value: value),
    "UNIX_TIMESTAMP": ("BIGINT", (("TIMESTAMP",),), lambda value: value),
    "FROM_DAYS": ("DATE", (("INT",),), lambda value: value),
}
_RULES: Final[dict[str, Callable[[list[Any], Mapping[str, Any]], Typed]]] = {
    "column": _column,
    "field": _field,
    "part": _part,
    "and": lambda parts, types: _logic(parts, types, False),
    "or": lambda parts, types: _logic(parts, types, True),
    "not": _not,
    "is null": lambda parts, types: _null_test(parts, types, True),
    "is not null": lambda parts, types: _null_test(parts, types, False),
    "between": _between,
    "in": _in,
    "negative": _negative,
    "cast": _cast,
    "case": _case,
    "call": _call,
}
