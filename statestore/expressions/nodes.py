"""The tree that an expression is: plain, immutable values that compare, hash, copy and pickle.

``expr.py`` builds nodes from what a user writes; ``type_checking.py`` and ``evaluation.py`` read them.
"""

from __future__ import annotations

import keyword
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from statestore.runtime.text import bounded_repr


@dataclass(frozen=True, slots=True)
class FieldPath:
    """A field or a part of it. The steps are names of fields, keys of dicts and positions in lists."""

    entity: type | None
    """The class that the field is of; ``None``: the one class in question."""
    steps: tuple[str | int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Constant:
    """A constant. Equal only to a constant of the same type and ``repr``: 1, 1.0 and True differ."""

    value: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Constant) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    @property
    def _identity(self) -> tuple[type, str]:
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
    """``operand.in_(values)``; without values it is false."""

    operand: Node
    values: tuple[Constant, ...]


@dataclass(frozen=True, slots=True)
class Between:
    """``operand.between(low, high)``, both included."""

    operand: Node
    low: Node
    high: Node


@dataclass(frozen=True, slots=True)
class TextTest:
    """``operand.op(text)``, a test of a ``str``; ``op`` is one of ``startswith endswith contains like``."""

    op: str
    operand: Node
    text: str
    """For ``like`` a pattern: ``%`` is any text, ``_`` one character, after a backslash each is itself."""


Node = FieldPath | Constant | Binary | Logic | Not | Negative | IsNull | In | Between | TextTest

COMPARISONS: Final = frozenset({"==", "!=", "<", "<=", ">", ">="})


def parts_of(condition: Node | None) -> tuple[Node, ...]:
    """Return the conditions that must all be true; none where there is no condition."""
    if condition is None:
        return ()
    return condition.operands if isinstance(condition, Logic) and condition.op == "&" else (condition,)


def all_of(parts: Sequence[Node]) -> Node:
    """Return the condition that all of ``parts``, one at least, are true."""
    return parts[0] if len(parts) == 1 else Logic("&", tuple(parts))


# The text of a node

_PRECEDENCE = {"|": 2, "&": 3, "+": 4, "-": 4, "*": 5, "/": 5, "%": 5}  # comparisons: 1, and weakest
_UNARY, _ATOM = 6, 7


def node_text(node: Node) -> str:
    """Return ``node`` as a user writes it."""
    return _shown(node)[0]


def _shown(node: Node) -> tuple[str, int]:
    """Return the text of ``node`` and how tightly it holds together."""
    match node:
        case FieldPath(entity, steps):
            return root_text(entity) + "".join(map(_step, range(len(steps)), steps)), _ATOM
        case Constant(value):
            return bounded_repr(value), _ATOM
        case Binary(op, left, right):
            tight = _PRECEDENCE.get(op, 1)
            # A comparison's sides are arithmetic, or stand in parentheses for the reader's sake.
            sides = (4, 4) if op in COMPARISONS else (tight, tight + 1)
            return f"{_within(left, sides[0])} {op} {_within(right, sides[1])}", tight
        case Logic(op, operands):
            tight = _PRECEDENCE[op]
            return f" {op} ".join(_within(operand, tight + 1) for operand in operands), tight
        case Not(operand) | Negative(operand):
            return f"{'~' if isinstance(node, Not) else '-'}{_within(operand, _UNARY)}", _UNARY
        case IsNull(operand):
            return f"{_within(operand, _ATOM)}.is_null()", _ATOM
        case In(operand, values):
            return f"{_within(operand, _ATOM)}.in_([{', '.join(map(node_text, values))}])", _ATOM
        case Between(operand, low, high):
            return f"{_within(operand, _ATOM)}.between({node_text(low)}, {node_text(high)})", _ATOM
        case TextTest(op, operand, text):
            return f"{_within(operand, _ATOM)}.{op}({bounded_repr(text)})", _ATOM


def _within(node: Node, tight: int) -> str:
    text, own = _shown(node)
    return text if own >= tight else f"({text})"


def root_text(entity: type | None) -> str:
    """Return how the fields of ``entity`` begin as a user writes them: ``F`` or ``F[Order]``."""
    return "F" if entity is None else f"F[{entity.__name__}]"


def _step(index: int, step: str | int) -> str:
    plain = isinstance(step, str) and step.isidentifier() and not keyword.iskeyword(step)
    return f".{step}" if index == 0 and plain and str(step)[:2] != "__" else f"[{step!r}]"
