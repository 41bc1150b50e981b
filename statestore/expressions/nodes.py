"""Expressions over the fields of an entity: ``(F.amount > 100) & F.customer.in_(["ada", "alan"])``.

An expression is a value that says what to compute; nothing is computed until it is given an entity
(``evaluation.py``) or translated. ``F.name`` is a field, ``F.address["count"]`` one of a nested dataclass (or
a dict's value, or a list's item), ``F[Order].amount`` the field of a class, where several are in question.
An attribute of ``F`` may be any name; ``F["name"]`` is the same.

:class:`Expr` and its kinds only carry the operators. What they build is a tree of nodes, plain values that
compare, hash, copy and pickle: ``a.node == b.node`` asks whether two expressions are the same, since
``a == b`` is an expression itself. Immutable, so any number of threads may share one.
"""

from __future__ import annotations

import keyword
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NoReturn, overload
from uuid import UUID

from statestore.fields.types import SCALAR_TYPES

Operand = bool | int | float | Decimal | str | bytes | datetime | date | UUID
"""What may stand beside a field: a constant of a type that a field can have, and never ``None``."""


# What is built


@dataclass(frozen=True, slots=True)
class Path:
    """A field, or what is inside it: names of fields, keys of dicts, positions in lists."""

    source: type | None
    steps: tuple[str | int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Literal:
    """A constant. Equal only to one of the same type that is written alike: 1, 1.0 and True differ."""

    value: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Literal) and self._spelling == other._spelling

    def __hash__(self) -> int:
        return hash(self._spelling)

    @property
    def _spelling(self) -> tuple[type, str]:
        return type(self.value), repr(self.value)


@dataclass(frozen=True, slots=True)
class Binary:
    """``left op right``: a comparison, one of ``== != < <= > >=``, or arithmetic, one of ``+ - * / %``."""

    op: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Logic:
    """Conditions joined by ``op``, ``&`` or ``|``; none of them is of the same ``op``."""

    op: str
    operands: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """``~operand``."""

    operand: Node


@dataclass(frozen=True, slots=True)
class Negative:
    """``-operand``."""

    operand: Node


@dataclass(frozen=True, slots=True)
class IsNull:
    """``operand.is_null()``."""

    operand: Node


@dataclass(frozen=True, slots=True)
class In:
    """``operand.in_(values)``; of no values it is false."""

    operand: Node
    values: tuple[Literal, ...]


@dataclass(frozen=True, slots=True)
class Between:
    """``operand.between(low, high)``, both included."""

    operand: Node
    low: Node
    high: Node


Node = Path | Literal | Binary | Logic | Not | Negative | IsNull | In | Between

COMPARISONS: Final = frozenset({"==", "!=", "<", "<=", ">", ">="})
ARITHMETIC: Final = frozenset({"+", "-", "*", "/", "%"})


# What builds it


class Expr:
    """What every expression can do. Hashable by its content; see the module for how to compare two."""

    __slots__ = ("node",)

    node: Node
    """What the expression says, as a plain value."""

    def __init__(self, node: Node) -> None:
        object.__setattr__(self, "node", node)

    def __eq__(self, other: Expr | Operand) -> Condition:  # type: ignore[override]
        return Predicate(Binary("==", self.node, _node(self, "==", other)))

    def __ne__(self, other: Expr | Operand) -> Condition:  # type: ignore[override]
        return Predicate(Binary("!=", self.node, _node(self, "!=", other)))

    def __hash__(self) -> int:
        return hash(self.node)

    def is_null(self) -> Condition:
        """Whether the value is ``None``; always true or false. The opposite is ``~F.x.is_null()``."""
        return Predicate(IsNull(self.node))

    def __bool__(self) -> NoReturn:
        raise TypeError(
            f"{self!r} is neither true nor false before it is evaluated: instead of 'and', 'or', 'not' write "
            "&, |, ~ with each comparison in parentheses, (F.a > 1) & (F.b > 2); instead of 'low <= F.a <= "
            "high' F.a.between(low, high); instead of 'F.a in values' F.a.in_(values); whether two "
            "expressions are the same tells a.node == b.node"
        )

    __iter__ = None  # or list(F.x) would try F.x[0], F.x[1], … for ever
    __contains__ = None

    if not TYPE_CHECKING:  # the checkers know better which names there are

        def __getattr__(self, name: str) -> NoReturn:
            raise AttributeError(
                f"{self!r} has no method {name!r}" + ("" if name[:2] == "__" else _bracketed(self, name))
            )

        def __rand__(self, other: object) -> NoReturn:
            _refuse_bare(other, "&", self)

        def __ror__(self, other: object) -> NoReturn:
            _refuse_bare(other, "|", self)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{self!r} cannot be changed: an expression is a value")

    def __delattr__(self, name: str) -> NoReturn:
        self.__setattr__(name, None)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.node,)

    def __repr__(self) -> str:
        return show(self.node)


class Condition(Expr):
    """What is true, false or unknown: ``F.amount > 100``. Joined by ``&`` and ``|``, inverted by ``~``."""

    __slots__ = ()

    def __and__(self, other: Condition) -> Condition:
        return _joined("&", self, other)

    def __or__(self, other: Condition) -> Condition:
        return _joined("|", self, other)

    def __invert__(self) -> Condition:
        return Predicate(Not(self.node))


class Value(Expr):
    """What has an order, or can be computed with: ``F.price * F.quantity``."""

    __slots__ = ()

    def __lt__(self, other: Value | Operand) -> Condition:
        return Predicate(Binary("<", self.node, _node(self, "<", other)))

    def __le__(self, other: Value | Operand) -> Condition:
        return Predicate(Binary("<=", self.node, _node(self, "<=", other)))

    def __gt__(self, other: Value | Operand) -> Condition:
        return Predicate(Binary(">", self.node, _node(self, ">", other)))

    def __ge__(self, other: Value | Operand) -> Condition:
        return Predicate(Binary(">=", self.node, _node(self, ">=", other)))

    def in_(self, values: Iterable[Operand]) -> Condition:
        """Whether the value equals one of ``values``. Of no values it is false."""
        if isinstance(values, str | bytes | Expr):
            raise TypeError(f"{self!r}.in_({values!r}): give a list of constants, in_([…])")
        literals = tuple(_literal(f"{self!r}.in_([…])", value) for value in values)
        return Predicate(In(self.node, literals))

    def between(self, low: Value | Operand, high: Value | Operand) -> Condition:
        """Whether ``low <= value <= high``: both ends are included."""
        return Predicate(Between(self.node, _node(self, ".between", low), _node(self, ".between", high)))

    def __add__(self, other: Value | Operand) -> Value:
        return Computed(Binary("+", self.node, _node(self, "+", other)))

    def __sub__(self, other: Value | Operand) -> Value:
        return Computed(Binary("-", self.node, _node(self, "-", other)))

    def __mul__(self, other: Value | Operand) -> Value:
        return Computed(Binary("*", self.node, _node(self, "*", other)))

    def __truediv__(self, other: Value | Operand) -> Value:
        return Computed(Binary("/", self.node, _node(self, "/", other)))

    def __mod__(self, other: Value | Operand) -> Value:
        return Computed(Binary("%", self.node, _node(self, "%", other)))

    def __radd__(self, other: Operand) -> Value:
        return Computed(Binary("+", _node(self, "+", other), self.node))

    def __rsub__(self, other: Operand) -> Value:
        return Computed(Binary("-", _node(self, "-", other), self.node))

    def __rmul__(self, other: Operand) -> Value:
        return Computed(Binary("*", _node(self, "*", other), self.node))

    def __rtruediv__(self, other: Operand) -> Value:
        return Computed(Binary("/", _node(self, "/", other), self.node))

    def __rmod__(self, other: Operand) -> Value:
        return Computed(Binary("%", _node(self, "%", other), self.node))

    def __neg__(self) -> Value:
        return Computed(Negative(self.node))


class Ref(Value, Condition):
    """A field, which may be of any type; ``check`` (``checking.py``) knows of which."""

    __slots__ = ()

    def __getitem__(self, step: str | int) -> Ref:
        """The field ``step`` of a nested dataclass, a dict's value at the key, a list's item (from 0)."""
        if type(step) not in (str, int):
            raise TypeError(f"{self!r}[{step!r}]: name a field, a key of the dict or an item's number")
        path = self.node
        assert isinstance(path, Path)  # F makes them, and this
        return Ref(Path(path.source, (*path.steps, step)))


# What operators give are siblings of Ref: of ``a == b`` Python asks b first where it is of a subclass of a's.


class Predicate(Condition):
    """What comparing and joining gives."""

    __slots__ = ()

    if not TYPE_CHECKING:  # the checkers know that it has no order

        def __lt__(self, other: object) -> NoReturn:
            raise TypeError(
                f"{self!r} is true or false and has no order: put each comparison in parentheses, "
                "(F.a > 1) & (F.b > 2)"
            )

        __le__ = __gt__ = __ge__ = __lt__


class Computed(Value):
    """What computing gives."""

    __slots__ = ()


class Fields:
    """``F``: its attributes are fields. ``F[Order]`` is the same for the fields of one class."""

    __slots__ = ("__source",)

    __source: type | None

    def __init__(self, source: type | None = None) -> None:
        object.__setattr__(self, "_Fields__source", source)  # past our own __setattr__

    def __getattr__(self, name: str) -> Ref:
        if name[:2] == name[-2:] == "__":  # what Python itself asks for is no field
            raise AttributeError(name)
        return self[name]

    @overload
    def __getitem__(self, name: str) -> Ref: ...
    @overload
    def __getitem__(self, name: type) -> Fields: ...
    def __getitem__(self, name: object) -> Ref | Fields:
        if isinstance(name, str):
            return Ref(Path(self.__source, (name,)))
        if isinstance(name, type) and self.__source is None:
            return Fields(name)
        raise TypeError(f"{self!r}[{name!r}]: write F['field'] or F[EntityClass]")

    __iter__ = None
    __contains__ = None

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{self!r}.{name} cannot be set: F only names fields")

    def __delattr__(self, name: str) -> NoReturn:
        self.__setattr__(name, None)

    def __reduce__(self) -> str | tuple[Any, ...]:
        return "F" if self.__source is None else (Fields, (self.__source,))

    def __repr__(self) -> str:
        return _root(self.__source)


F: Final = Fields()


# Operands


def _node(left: Expr, op: str, operand: object) -> Node:
    return operand.node if isinstance(operand, Expr) else _literal(f"{left!r} {op} …", operand)


def _literal(where: str, value: object) -> Literal:
    if value is None:
        raise TypeError(f"{where}: comparing with None is never true; ask F.x.is_null() or ~F.x.is_null()")
    if isinstance(value, Expr):
        raise TypeError(f"{where}: {value!r} is an expression; constants only")
    if type(value) not in SCALAR_TYPES:
        names = ", ".join(scalar.__name__ for scalar in SCALAR_TYPES)
        raise TypeError(f"{where}: {value!r} is of type {type(value).__name__}; constants are {names}")
    if isinstance(value, datetime) and value.utcoffset() is None:
        raise ValueError(f"{where}: {value!r} has no time zone: times are UTC, give it tzinfo=UTC")
    if value.is_nan() if isinstance(value, Decimal) else value != value:
        raise ValueError(f"{where}: NaN equals nothing, and is neither less nor more")
    return Literal(value)


def _joined(op: str, *conditions: object) -> Condition:
    operands: list[Node] = []
    for one in conditions:
        if not isinstance(one, Expr):
            _refuse_bare(one, op, conditions[0])
        node = one.node
        operands += node.operands if isinstance(node, Logic) and node.op == op else (node,)
    return Predicate(Logic(op, tuple(operands)))


def _refuse_bare(operand: object, op: str, expression: object) -> NoReturn:
    raise TypeError(
        f"{operand!r} beside {expression!r} and {op!r}: {op} joins conditions, and binds tighter than "
        f"comparisons: put each in parentheses, (F.a > 1) {op} (F.b < 2)"
    )


def _bracketed(expression: Expr, name: str) -> str:
    return f": if it is a nested field, write {expression!r}[{name!r}]" if isinstance(expression, Ref) else ""


# Showing

_PRECEDENCE = {"|": 2, "&": 3, "+": 4, "-": 4, "*": 5, "/": 5, "%": 5}  # comparisons: 1, and weakest
_UNARY, _ATOM = 6, 7


def show(node: Node) -> str:
    """Return ``node`` as a user writes it."""
    return _shown(node)[0]


def _shown(node: Node) -> tuple[str, int]:
    """Return the text of ``node`` and how tightly it holds together."""
    match node:
        case Path(source, steps):
            return _root(source) + "".join(map(_step, range(len(steps)), steps)), _ATOM
        case Literal(value):
            return repr(value), _ATOM
        case Binary(op, left, right):
            tight = _PRECEDENCE.get(op, 1)
            # A comparison's sides are arithmetic, or stand in parentheses for the reader's sake.
            sides = (4, 4) if op in COMPARISONS else (tight, tight + 1)
            return f"{_within(left, sides[0])} {op} {_within(right, sides[1])}", tight
        case Logic(op, operands):
            tight = _PRECEDENCE[op]
            return f" {op} ".join(_within(operand, tight + 1) for operand in operands), tight
        case Not(operand):
            return f"~{_within(operand, _UNARY)}", _UNARY
        case Negative(operand):
            return f"-{_within(operand, _UNARY)}", _UNARY
        case IsNull(operand):
            return f"{_within(operand, _ATOM)}.is_null()", _ATOM
        case In(operand, values):
            return f"{_within(operand, _ATOM)}.in_([{', '.join(map(show, values))}])", _ATOM
        case Between(operand, low, high):
            return f"{_within(operand, _ATOM)}.between({show(low)}, {show(high)})", _ATOM


def _within(node: Node, tight: int) -> str:
    text, own = _shown(node)
    return text if own >= tight else f"({text})"


def _root(source: type | None) -> str:
    return "F" if source is None else f"F[{source.__name__}]"


def _step(index: int, step: str | int) -> str:
    plain = isinstance(step, str) and step.isidentifier() and not keyword.iskeyword(step)
    return f".{step}" if index == 0 and plain and str(step)[:2] != "__" else f"[{step!r}]"
