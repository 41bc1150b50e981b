"""What is kept of each open window, and how it becomes the fields of a bar."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import MISSING
from decimal import Decimal
from typing import Any

from statestore.entity import EntityModel
from statestore.entity.windowed import allows_no_prices, carries
from statestore.expressions.aggregates import OHLC, Aggregate, aggregate_type, greatest, least
from statestore.expressions.evaluation import DECIMALS, compiled
from statestore.expressions.expr import Expr
from statestore.expressions.nodes import FieldPath, Node
from statestore.fields.types import Field, FieldType, Nullable, RecordType, Scalar

State = list[Any]
_Value = Callable[[State], Any]
_Call = Callable[[Any, Any], Any]

_TIME = Scalar(int)


class Parts:
    """The parts of a window's state, each once: a count, a sum, a first or last value.

    Immutable after it was made.
    """

    def __init__(self, model: EntityModel, source: EntityModel, aggregates: Mapping[str, Aggregate]) -> None:
        self._source = source.record_type
        self._places: dict[tuple[Any, ...], int] = {}
        self._inputs: dict[Node, int] = {}
        self.inputs: list[str | Callable[[Any], Any]] = []
        self.parts: list[tuple[str, int, int, _Call | None]] = []
        self.start: list[Any] = []
        """The state before the first record."""
        self.types: list[FieldType | None] = []
        """The type of each item of a state; ``None``: a reducer's."""
        fields = {field.name: field for field in model.record_type.fields}
        self.names = list(aggregates)
        """The fields that ``values`` and ``empty`` make, in their order."""
        values = [self._value(one, fields[name]) for name, one in aggregates.items()]
        self.values = _together(values)
        """Returns the aggregated fields of a bar, of a state."""
        self._empty = [_of_no_record(one, fields[name]) for name, one in aggregates.items()]
        self._closes = {node: self._place("last", node) for node in _carried(aggregates)}
        self._carried = [
            (place, one.of, _record_of(fields[name].type) if one.function == "ohlc" else None)
            for place, (name, one) in enumerate(aggregates.items())
            if carries(one, aggregates)
        ]

    @property
    def price_types(self) -> dict[Node, FieldType]:
        """The type of each price whose last close gap bars carry on."""
        return {node: self.types[place] or _TIME for node, place in self._closes.items()}

    def empty(self, closes: Mapping[Node, Any]) -> list[Any]:
        """Return the fields of a bar without a record. ``closes`` has the last close of each price."""
        values = [make() for make in self._empty]
        for place, of, record in self._carried:
            close = None if of is None else closes.get(of)
            if close is not None:
                values[place] = close if record is None else record.cls(**dict.fromkeys(OHLC, close))
        return values

    def closes(self, state: State) -> dict[Node, Any]:
        """Return the last value of each price that gap bars carry on, where there is one."""
        return {node: state[place] for node, place in self._closes.items() if state[place] is not None}

    def _value(self, aggregate: Aggregate, field: Field) -> _Value | int:
        """Return what makes the value of a field, or the place where a state has it."""
        of = aggregate.of
        match aggregate.function:
            case "avg":
                total, count = self._place("sum", of), self._place("count", of)
                divide = DECIMALS.divide if self._sum_type(of) is Decimal else operator.truediv
                return lambda state: divide(state[total], state[count]) if state[count] else None
            case "ohlc":
                record = _record_of(field.type)
                assert record is not None
                cls = record.cls
                one, high, low, last = (self._place(name, of) for name in ("first", "max", "min", "last"))
                make = _ohlc(cls, (one, high, low, last))
                if isinstance(field.type, Nullable):
                    return lambda state: None if state[one] is None else make(state)
                return make
            case "reduce":
                assert aggregate.reducer is not None
                place = self._place("reduce", aggregate)
                result = aggregate.reducer.result
                return place if result is None else lambda state: result(state[place])
            case "first" | "last" if aggregate.by == "event_time":
                return self._place(f"{aggregate.function} by time", of) + 1
            case _:
                return self._place(aggregate.function, of)

    def _place(self, function: str, of: Any) -> int:
        """Return where the part is in a state, adding it if it is new."""
        if (function, of) not in self._places:
            place = self._places[function, of] = len(self.start)
            call: _Call | None = None
            if function == "reduce":
                call = of.reducer.step
                self._keep(of.reducer.initial, None)
            elif function == "count":
                self._keep(0, Scalar(int))
            elif function == "sum":
                kind = self._sum_type(of)
                call = DECIMALS.add if kind is Decimal else operator.add
                self._keep(kind(), Scalar(kind))
            else:
                call = {"max": greatest, "min": least}.get(function)
                if function.endswith("by time"):
                    self._keep(None, Nullable(_TIME))
                type_ = aggregate_type(Aggregate("first", of), [], self._source)
                assert type_ is not None
                self._keep(None, Nullable(_widest(type_)))
            self.parts.append((function, self._input(function, of), place, call))
        return self._places[function, of]

    def _keep(self, initial: Any, type_: FieldType | None) -> None:
        self.start.append(initial)
        self.types.append(type_)

    def _input(self, function: str, of: Node | None) -> int:
        if of is None or function == "reduce":
            return -1
        if of not in self._inputs:
            self._inputs[of] = len(self.inputs)
            if isinstance(of, FieldPath) and len(of.steps) == 1:
                self.inputs.append(str(of.steps[0]))
            else:
                self.inputs.append(compiled(Expr(of), self._source))
        return self._inputs[of]

    def _sum_type(self, of: Node | None) -> type:
        type_ = aggregate_type(Aggregate("sum", of), [], self._source)
        assert isinstance(type_, Scalar)
        return type_.type


def _together(values: Sequence[_Value | int]) -> Callable[[State], Sequence[Any]]:
    """Return what makes all of the values of a state: in one call where each has a place there."""
    places = [value for value in values if isinstance(value, int)]
    if len(places) == len(values) > 1:
        return operator.itemgetter(*places)
    calls = [operator.itemgetter(value) if isinstance(value, int) else value for value in values]
    return lambda state: [call(state) for call in calls]


def _widest(type_: FieldType) -> FieldType:
    """Return the type without ``None``, and without what narrows it: nobody has checked the values so far."""
    bare = type_.item if isinstance(type_, Nullable) else type_
    return Scalar(bare.type) if isinstance(bare, Scalar) else bare


def _record_of(type_: FieldType) -> RecordType | None:
    bare = type_.item if isinstance(type_, Nullable) else type_
    return bare if isinstance(bare, RecordType) else None


def _ohlc(cls: type, places: tuple[int, int, int, int]) -> _Value:
    return lambda state: cls(**dict(zip(OHLC, [state[place] for place in places], strict=True)))


def _carried(aggregates: Mapping[str, Aggregate]) -> dict[Node, None]:
    """Return the expressions whose last value gap bars carry on."""
    found = {one.of: None for one in aggregates.values() if carries(one, aggregates)}
    return {of: None for of in found if of is not None}


def _of_no_record(aggregate: Aggregate, field: Field) -> Callable[[], Any]:
    """Return what makes the field's value in a window without a record."""
    if aggregate.function == "count":
        return int
    if aggregate.function == "sum":
        bare = field.type.item if isinstance(field.type, Nullable) else field.type
        assert isinstance(bare, Scalar)
        return bare.type
    if aggregate.reducer is not None and aggregate.reducer.initial is not None:
        initial, result = aggregate.reducer.initial, aggregate.reducer.result
        return lambda: deepcopy(initial) if result is None else result(deepcopy(initial))
    if isinstance(field.type, Nullable):
        return lambda: None
    if aggregate.function == "ohlc" and allows_no_prices(field.type):
        record = _record_of(field.type)
        assert record is not None
        cls = record.cls
        return lambda: cls(**dict.fromkeys(OHLC))
    if field.default_factory is not MISSING:
        factory: Callable[[], Any] = field.default_factory
        return factory
    return lambda: field.default
