"""Conditions and aggregates as programs that the native core runs over stored pairs.

A program (``_native/program.pxi``) makes no objects of the rows that it only looks at. It gives what
``expressions/evaluation.py`` and ``grouping.py`` give for decoded rows. A row that it does not read, or whose
value it cannot compute (an int beyond 64 bits), is left to Python. So is a part of a condition for which
there is no step; :class:`Filter` says which, and why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from statestore import core
from statestore.expressions.aggregates import LISTS
from statestore.expressions.evaluation import DECIMALS, compiled
from statestore.expressions.expr import Expr
from statestore.expressions.nodes import (
    COMPARISONS,
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
    all_of,
    node_text,
    parts_of,
)
from statestore.fields.types import Nullable, RecordType, Scalar
from statestore.query.constants import NotNativeError, constant, decimal_of, ints_equal, reals_equal
from statestore.serde.entities import EntityCodec
from statestore.storage.layout import DATA, HEADER
from statestore.storage.view import StoredPairs

if TYPE_CHECKING:
    from statestore._native import Program, Step

Judge = Callable[[bytes, bytes], Any]
"""Makes an entity of a key and a payload."""

SWITCHED_OFF: Final = "programs are switched off"
_DEEPEST: Final = 100
"""Nodes above one another, in a program: it is walked by calls of C."""
_MOST_MEASURES: Final = 64
_INTS: Final = ("int", "bool", "datetime", "date")
_TEXTS: Final = ("str", "bytes", "uuid")
_TEXT_STEPS: Final[dict[str, Step]] = {
    "startswith": "startswith",
    "endswith": "endswith",
    "contains": "contains",
}
_MIRRORED: Final = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


@dataclass(frozen=True)
class Filter:
    """A condition over one class: the part of it that a program decides, and the rest."""

    native: Node
    """The part that the program decides."""
    rest: Node | None
    """The part that Python decides of the rows which the program accepts."""
    reasons: tuple[str, ...]
    """Why there is a ``rest``: a line for each of its conditions."""
    program: Program

    @cached_property
    def accepts(self) -> Callable[[Any], Any]:
        """What tells whether an entity fulfils ``native``."""
        return compiled(Expr(self.native))

    @cached_property
    def _accepts_rest(self) -> Callable[[Any], Any] | None:
        return None if self.rest is None else compiled(Expr(self.rest))

    def rows(self, pairs: StoredPairs, judge: Judge) -> Iterator[Any]:
        """Return the entities of a scan that fulfil the condition. ``judge`` decodes what C does not read."""
        rows: Iterator[Any] = self.program.rows(pairs, len(DATA), HEADER, judge, self.accepts)
        return rows if self._accepts_rest is None else filter(self._accepts_rest, rows)

    def count(self, pairs: StoredPairs, judge: Judge, most: int | None = None) -> int:
        """Return how many there are of them, ``most`` at most."""
        if self.rest is None:
            left = -1 if most is None else most
            return self.program.count_rows(pairs, len(DATA), HEADER, judge, self.accepts, left)
        count = 0
        for _ in self.rows(pairs, judge):
            if count == most:
                break
            count += 1
        return count


def why_not_native(codec: EntityCodec[Any]) -> str | None:
    """Return why no program runs over the stored rows of a class; ``None``: programs do."""
    if core.IMPLEMENTATION == "pure" or not core.uses("decoder") or not core.uses("program"):
        return SWITCHED_OFF
    decoder = codec.decoder
    if decoder is None:
        return "programs read ordered keys and msgpack values of scalar fields"
    if not decoder.plain:
        return "objects of the class are made by calling it, which may change their fields"
    return None


def compile_filter(condition: Node, codec: EntityCodec[Any], record: RecordType) -> Filter | str:
    """Return the filter of a condition without faults; a reason if all of it is for Python."""
    if (reason := why_not_native(codec)) is not None:
        return reason
    parts = parts_of(condition)
    compiler = Compiler(record)
    places, native, rest, reasons = [], [], [], []
    for part in parts:
        try:
            places.append(compiler.condition(part))
            native.append(part)
        except NotNativeError as error:
            rest.append(part)
            reasons.append(f"{node_text(part)}: {error}")
    if not native:
        return "; ".join(reasons)
    program = compiler.program(codec, compiler.joined(places))
    left = all_of(rest) if rest else None
    return Filter(all_of(native), left, tuple(reasons), program)


Measure = tuple[str, Node | None]
"""``count``, ``sum``, ``min`` or ``max``, and of what: ``None``, for ``count`` only, the rows."""


@dataclass(frozen=True)
class GroupedScan:
    """What is computed of each group of the rows that fulfil a condition."""

    condition: Node | None
    keys: tuple[Node, ...]
    measures: tuple[Measure, ...]
    program: Program
    key_places: tuple[int, ...]
    measure_places: tuple[tuple[str, int | None], ...]
    zeros: tuple[Any, ...]
    """What the sum of no values is, for each measure."""

    @cached_property
    def _accepts(self) -> Callable[[Any], Any]:
        return _always if self.condition is None else compiled(Expr(self.condition))

    @cached_property
    def _values(self) -> Callable[[Any], list[Any]]:
        nodes = [*self.keys, *[of for _, of in self.measures]]
        values = [_always if node is None else compiled(Expr(node)) for node in nodes]
        return lambda row: [value_of(row) for value_of in values]

    def groups(self, pairs: StoredPairs, judge: Judge) -> Iterable[tuple[tuple[Any, ...], list[Any]]]:
        """Return the values of keys and measures of each group, in the order of their first rows."""
        from statestore._native import Groups

        found = Groups(self.program, self.key_places, self.measure_places, self.zeros, DECIMALS.add)
        found.read(pairs, len(DATA), HEADER, judge, self._accepts, self._values)
        return found.results() if len(found) or self.keys else [((), found.start())]


def _always(_: Any) -> bool:
    return True


def compile_groups(
    condition: Node | None,
    keys: Sequence[Node],
    measures: Sequence[Measure],
    codec: EntityCodec[Any],
    record: RecordType,
) -> GroupedScan | str:
    """Return a scan that groups rows by ``keys``, all natively, or why there is none."""
    if (reason := why_not_native(codec)) is not None:
        return reason
    compiler = Compiler(record)
    at = condition
    try:
        place = None if condition is None else compiler.condition(condition)
        key_places = [compiler.key(at := key) for key in keys]
        measure_places: list[tuple[str, int | None]] = []
        zeros = []
        for function, at in measures:
            if function in LISTS:
                return f"{function} makes a list"
            node = None if at is None else compiler.node(at)
            measure_places.append((function, node))
            kind = "int" if node is None else compiler.kind(node)
            zeros.append({"float": 0.0, "decimal": Decimal()}.get(kind, 0))
        if len(measures) > _MOST_MEASURES:
            return f"there are more than {_MOST_MEASURES} aggregates"
    except NotNativeError as error:
        return f"{'' if at is None else node_text(at)}: {error}"
    return GroupedScan(
        condition,
        tuple(keys),
        tuple(measures),
        compiler.program(codec, place),
        tuple(key_places),
        tuple(measure_places),
        tuple(zeros),
    )


class Compiler:
    """Makes the nodes of one program over ``record``: each method adds some and returns the last one's place.

    Raises ``NotNativeError``; what was added is then left without use.
    """

    def __init__(self, record: RecordType) -> None:
        self._fields = {field.name: (place, field.type) for place, field in enumerate(record.fields)}
        self._cls = record.cls
        self.nodes: list[tuple[Step, int, int, Any, str]] = []

    def program(self, codec: EntityCodec[Any], condition: int | None) -> Program:
        """Return the program of what was added, which accepts rows by the node ``condition``."""
        from statestore._native import Program

        assert codec.decoder is not None
        return Program(codec.decoder, self.nodes, condition)

    def kind(self, place: int) -> str:
        """Return the kind of the values of a node."""
        return self.nodes[place][4]

    def key(self, node: Node) -> int:
        """Add what rows are grouped by: a field, since its values have 64 bits."""
        place = self.node(node)
        if self.nodes[place][0] != "field":
            raise NotNativeError("groups by a computed value")
        if self.kind(place) == "decimal":
            raise NotNativeError("groups by a Decimal, which equals others in other texts")
        return place

    def condition(self, node: Node) -> int:
        """Add a condition."""
        place = self.node(node)
        if self.kind(place) != "bool":
            raise NotNativeError("is no condition")
        return place

    def joined(self, places: Sequence[int]) -> int:
        """Add the condition that all nodes in ``places`` are true."""
        return places[0] if len(places) == 1 else self._add("&", more=list(places))

    def node(self, node: Node, depth: int = 0) -> int:
        """Add an expression."""
        if depth > _DEEPEST:
            raise NotNativeError(f"has more than {_DEEPEST} conditions within one another")
        match node:
            case FieldPath():
                return self._field(node)
            case Constant(value):
                kind, stored = constant(value)
                return self._add("constant", more=stored, kind=kind)
            case Negative(operand):
                return self._negative(self.node(operand, depth + 1))
            case Binary(op, left, right):
                make = self._comparison if op in COMPARISONS else self._computation
                return make(op, self.node(left, depth + 1), self.node(right, depth + 1))
            case _:
                return self._condition(node, depth + 1)

    def _condition(self, node: Node, depth: int) -> int:
        match node:
            case Logic(op, operands):
                places = [self.node(one, depth) for one in operands]
                return self._add("&" if op == "&" else "|", more=places)
            case Not(operand):
                return self._add("~", self.node(operand, depth))
            case IsNull(operand):
                return self._add("is null", self.node(operand, depth))
            case Between(operand, low, high):
                return self.node(Logic("&", (Binary(">=", operand, low), Binary("<=", operand, high))), depth)
            case In(operand, values):
                return self._in(self.node(operand, depth), [one.value for one in values])
            case TextTest(op, operand, text) if op in _TEXT_STEPS:
                tested = self.node(operand, depth)
                return self._add(_TEXT_STEPS[op], tested, self.node(Constant(text), depth))
            case _:
                raise NotNativeError("there is no native step for it")

    def _add(self, step: Step, left: int = -1, right: int = -1, more: Any = None, kind: str = "bool") -> int:
        self.nodes.append((step, left, right, more, kind))
        return len(self.nodes) - 1

    def _field(self, path: FieldPath) -> int:
        place, type_ = self._fields[str(path.steps[0])]
        bare = type_.item if isinstance(type_, Nullable) else type_
        if len(path.steps) > 1 or not isinstance(bare, Scalar):
            raise NotNativeError(f"{node_text(path)} is no scalar field")
        return self._add("field", place, kind=bare.type.__name__.lower())

    def _comparison(self, op: str, left: int, right: int) -> int:
        kinds = self.kind(left), self.kind(right)
        if kinds[0] == kinds[1] and kinds[0] in _INTS:
            return self._add("compare ints", left, right, op)
        if kinds[0] == kinds[1] and kinds[0] in _TEXTS:
            return self._add("compare texts", left, right, op)
        if kinds == ("float", "float"):
            return self._add("compare reals", left, right, op)
        if kinds == ("int", "float"):
            return self._add("compare int real", left, right, op)
        if kinds == ("float", "int"):
            return self._add("compare int real", right, left, _MIRRORED[op])
        if set(kinds) <= {"int", "decimal"}:
            return self._add("compare decimals", left, right, op)
        raise NotNativeError(f"compares {kinds[0]} with {kinds[1]}")

    def _computation(self, op: str, left: int, right: int) -> int:
        kinds = {self.kind(left), self.kind(right)}
        if not kinds <= {"int", "float"}:
            raise NotNativeError("Decimals are computed in Python")
        if kinds == {"int"}:
            steps: dict[str, Step] = {
                "+": "+ ints",
                "-": "- ints",
                "*": "* ints",
                "/": "/ ints",
                "%": "% ints",
            }
            return self._add(steps[op], left, right, kind="float" if op == "/" else "int")
        reals: dict[str, Step] = {"+": "+ reals", "-": "- reals", "*": "* reals", "/": "/ reals"}
        if op not in reals:
            raise NotNativeError(f"{op} of floats is computed in Python")
        return self._add(reals[op], self._real(left), self._real(right), kind="float")

    def _real(self, place: int) -> int:
        return place if self.kind(place) == "float" else self._add("to real", place, kind="float")

    def _negative(self, operand: int) -> int:
        kind = self.kind(operand)
        if kind not in ("int", "float"):
            raise NotNativeError("Decimals are computed in Python")
        return self._add("- int" if kind == "int" else "- real", operand, kind=kind)

    def _in(self, operand: int, values: Sequence[Any]) -> int:
        if not values:
            return self._add("constant", more=0)
        kind = self.kind(operand)
        if kind in _INTS:
            whole = {stored for value in values for stored in ints_equal(value)}
            return self._add("in ints", operand, more=sorted(whole))
        if kind == "float":
            reals = {real for value in values for real in reals_equal(value)}
            return self._add("in reals", operand, more=sorted(reals))
        if kind in _TEXTS:
            return self._add("in texts", operand, more=sorted({constant(value)[1] for value in values}))
        decimals = sorted({Decimal(value) for value in values})
        return self._add("in decimals", operand, more=[decimal_of(value) for value in decimals])
