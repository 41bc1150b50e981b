"""Expressions over the fields of an entity: ``(F.amount > 100) & F.customer.in_(["ada", "alan"])``.

An expression says what to compute. Nothing is computed until the expression is given an entity
(``evaluation.py``) or is translated. ``F.name`` is a field. ``F.address["count"]`` is a field of a nested
dataclass, a dict's value or a list's item. ``F[Order].amount`` is the field of one class, where several are
in question. An attribute of ``F`` may have any name; ``F["name"]`` is the same.

:class:`Expr` and its subclasses only carry the operators. Each holds a node (``nodes.py``). Two expressions
are the same if ``a.node == b.node``, since ``a == b`` is an expression itself. Expressions are immutable, so
any number of threads may share one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NoReturn, overload
from uuid import UUID

from statestore.expressions.nodes import (
    Between,
    Binary,
    Constant,
    FieldPath,
    In,
    IsNull,
    Logic,
    Negative,
    Node,
    Not,
    TextTest,
    node_text,
    root_text,
)
from statestore.fields.types import SCALAR_TYPES
from statestore.runtime.text import bounded_repr

Operand = bool | int | float | Decimal | str | bytes | datetime | date | UUID
"""A constant that an operator takes: of a type that a field can have, and never ``None``."""


class Expr:
    """An expression: what all kinds can do. Hashable by its node; the module says how to compare two."""

    __slots__ = ("node",)

    node: Node
    """The expression as a plain value."""

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
            f"{self!r} is not true or false until it is evaluated: instead of 'and', 'or', 'not' write "
            "&, |, ~ with each comparison in parentheses, (F.a > 1) & (F.b > 2); instead of 'low <= F.a <= "
            "high' write F.a.between(low, high); instead of 'F.a in values' write F.a.in_(values); to "
            "compare two expressions write a.node == b.node"
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
        return node_text(self.node)


class Condition(Expr):
    """An expression that is true, false or unknown: ``F.amount > 100``. For ``&``, ``|`` and ``~``."""

    __slots__ = ()

    def __and__(self, other: Condition) -> Condition:
        return _joined("&", self, other)

    def __or__(self, other: Condition) -> Condition:
        return _joined("|", self, other)

    def __invert__(self) -> Condition:
        return Predicate(Not(self.node))


class Value(Expr):
    """An expression that can be ordered or computed with: ``F.price * F.quantity``."""

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
        """Whether the value equals one of ``values``. Without values it is false."""
        if isinstance(values, str | bytes | Expr) or not isinstance(values, Iterable):
            raise TypeError(f"{self!r}.in_({bounded_repr(values)}): give a list of constants, in_([…])")
        constants = tuple([_constant(self, ".in_", value) for value in values])
        return Predicate(In(self.node, constants))

    def between(self, low: Value | Operand, high: Value | Operand) -> Condition:
        """Whether ``low <= value <= high``: both ends are included."""
        return Predicate(Between(self.node, _node(self, ".between", low), _node(self, ".between", high)))

    def startswith(self, text: str) -> Condition:
        """Whether the value, a ``str``, begins with ``text``."""
        return _text_test(self, "startswith", text)

    def endswith(self, text: str) -> Condition:
        """Whether the value, a ``str``, ends with ``text``."""
        return _text_test(self, "endswith", text)

    def contains(self, text: str) -> Condition:
        """Whether ``text`` is somewhere in the value, a ``str``."""
        return _text_test(self, "contains", text)

    def like(self, pattern: str) -> Condition:
        """Whether the value, a ``str``, is as SQL's ``pattern`` says, with regard to case.

        ``%`` stands for any text, ``_`` for one character; after a backslash each stands for itself.
        """
        return _text_test(self, "like", pattern)

    def desc(self) -> Descending:
        """For ``order_by``: from the greatest value to the least."""
        return Descending(self.node)

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
    """A field of any type. ``type_checking.py`` knows its type."""

    __slots__ = ()

    def __getitem__(self, step: str | int) -> Ref:
        """The field ``step`` of a nested dataclass, a dict's value at the key, a list's item (from 0)."""
        if type(step) not in (str, int):
            raise TypeError(
                f"{self!r}[{bounded_repr(step)}]: give the name of a field, a key of the dict or the "
                "position of an item"
            )
        path = self.node
        assert isinstance(path, FieldPath)  # F makes them, and this
        return Ref(FieldPath(path.entity, (*path.steps, step)))


@dataclass(frozen=True, slots=True)
class Descending:
    """``F.amount.desc()``: what ``order_by`` sorts by, the greatest first. It is no expression."""

    node: Node

    def __repr__(self) -> str:
        text = node_text(self.node)
        return f"{text if isinstance(self.node, FieldPath) else f'({text})'}.desc()"


# The results of operators are siblings of Ref, not subclasses: for a == b, Python asks b first if its class
# is a subclass of that of a.


class Predicate(Condition):
    """The result of comparing or joining."""

    __slots__ = ()

    if not TYPE_CHECKING:  # the checkers know that it has no order

        def __lt__(self, other: object) -> NoReturn:
            raise TypeError(
                f"{self!r} is a condition and has no order: put each comparison in parentheses, "
                "(F.a > 1) & (F.b > 2)"
            )

        __le__ = __gt__ = __ge__ = __lt__


class Computed(Value):
    """The result of computing."""

    __slots__ = ()


class Fields:
    """``F``: its attributes are fields. ``F[Order]`` is the same for the fields of one class."""

    __slots__ = ("__entity",)

    __entity: type | None

    def __init__(self, entity: type | None = None) -> None:
        object.__setattr__(self, "_Fields__entity", entity)  # past our own __setattr__

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
            return Ref(FieldPath(self.__entity, (name,)))
        if isinstance(name, type) and self.__entity is None:
            return Fields(name)
        raise TypeError(f"{self!r}[{bounded_repr(name)}]: write F['field'] or F[EntityClass]")

    __iter__ = None
    __contains__ = None

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{self!r}.{name} cannot be set: F only names fields")

    def __delattr__(self, name: str) -> NoReturn:
        self.__setattr__(name, None)

    def __reduce__(self) -> str | tuple[Any, ...]:
        return "F" if self.__entity is None else (Fields, (self.__entity,))

    def __repr__(self) -> str:
        return root_text(self.__entity)


F: Final = Fields()


# Operands


def _node(left: Expr, op: str, operand: object) -> Node:
    return operand.node if isinstance(operand, Expr) else _constant(left, op, operand)


def _constant(left: Expr, op: str, value: object) -> Constant:
    problem = _problem_of(value)
    if problem is None:
        return Constant(value)
    where = f"{left!r}.in_([…])" if op == ".in_" else f"{left!r} {op} …"
    raise type(problem)(f"{where}: {problem}")


def _problem_of(value: object) -> TypeError | ValueError | None:
    """Return the reason why ``value`` is no constant, ``None`` if it is one."""
    if type(value) in SCALAR_TYPES:
        if isinstance(value, datetime) and value.utcoffset() is None:
            return ValueError(f"{value!r} has no time zone: times are in UTC, so give it tzinfo=UTC")
        if value.is_nan() if isinstance(value, Decimal) else value != value:
            return ValueError("NaN is not equal to, less or greater than anything: leave the comparison out")
        return None
    if value is None:
        return TypeError("a comparison with None is never true: use F.x.is_null() or ~F.x.is_null()")
    if isinstance(value, Expr):
        return TypeError(f"{value!r} is an expression; only constants are allowed here")
    names = ", ".join(scalar.__name__ for scalar in SCALAR_TYPES)
    return TypeError(
        f"{bounded_repr(value)} is of type {type(value).__name__}, but a constant must be one of {names}"
    )


def _text_test(of: Expr, op: str, text: object) -> Condition:
    if type(text) is not str:
        raise TypeError(f"{of!r}.{op}({bounded_repr(text)}): give a str")
    if op == "like" and (len(text) - len(text.rstrip("\\"))) % 2:
        raise ValueError(
            f"{of!r}.like({bounded_repr(text)}): the pattern ends with a backslash, which makes the next "
            "character stand for itself: write two for one backslash"
        )
    return Predicate(TextTest(op, of.node, text))


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
        f"{bounded_repr(operand)} beside {expression!r} and {op!r}: {op} joins conditions and binds "
        f"tighter than comparisons, so put each comparison in parentheses: (F.a > 1) {op} (F.b < 2)"
    )


def _bracketed(expression: Expr, name: str) -> str:
    return f": if it is a nested field, write {expression!r}[{name!r}]" if isinstance(expression, Ref) else ""
