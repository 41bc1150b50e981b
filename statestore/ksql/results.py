"""The columns of a query's rows: names, expressions, types, and which of them are the key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from statestore.entity import EntityModel, Field
from statestore.expressions.aggregates import OHLC, Aggregate
from statestore.expressions.expr import Expr
from statestore.expressions.nodes import FieldPath, IsNull, Node, Not, node_text
from statestore.expressions.type_checking import expression_faults
from statestore.fields.attributes import WindowEnd, WindowStart
from statestore.fields.types import Nullable, RecordType
from statestore.ksql import aggregates, expressions
from statestore.ksql.inference import Shape, sure_parts
from statestore.ksql.lexis import quoted, source_name
from statestore.ksql.reads import Read, in_full, read_of
from statestore.ksql.scope import Scope
from statestore.ksql.sources import Kind, key_columns, value_columns
from statestore.naming import KSQL_SYSTEM_COLUMNS
from statestore.relational.checking import Column
from statestore.relational.values import Query


@dataclass(frozen=True, slots=True)
class ResultColumn:
    """A column of the rows."""

    field: str
    """Its name in Python."""
    name: str
    """Its name in ksqlDB."""
    value: Node | Aggregate
    """Over the rows of ``select``."""
    text: str
    """As KSQL writes it, without its name."""
    type: str | None
    """Its type in ksqlDB; ``None``: not known."""
    place: int | None = None
    """Of a key column: its place in the key of the rows."""

    @property
    def shown(self) -> str:
        """The column as a user writes it."""
        return f"{self.value!r}" if isinstance(self.value, Aggregate) else node_text(self.value)


@dataclass(frozen=True, slots=True)
class Translation:
    """A query that is being translated: what it reads, and the scopes of its clauses."""

    query: Query[Any]
    reads: tuple[Read, ...]
    over: Kind
    """What is grouped: rows of a stream, or of a table."""
    scope: Scope
    """Of ``where``, ``group_by`` and ``partition_by``."""
    rows: Scope
    """Of ``having`` and ``select``."""


def translation(
    query: Query[Any],
    reads: tuple[Read, ...],
    faults: list[str],
    notes: list[str],
    into: EntityModel | None = None,
) -> Translation:
    """Return the scopes of a query's clauses."""
    names = tuple(one.name for one in reads) if query.joins else ()
    is_json = tuple(one.model.value_format == "json" for one in reads)
    scope = Scope(query.sources, names, is_json, {}, faults, notes)
    over: Kind = "table" if all(one.kind == "table" for one in reads) else "stream"
    if query.keys is None:
        return Translation(query, reads, over, scope, scope)
    columns = (*query.keys, *query.aggregates)
    substitutes = {one.name: _operand(one, scope, over, into) for one in columns}
    rows = Scope(query.rows, (), (), substitutes, faults, notes)
    return Translation(query, reads, over, scope, rows)


def _operand(column: Column, scope: Scope, over: Kind, into: EntityModel | None) -> str:
    value = column.value
    if isinstance(value, Aggregate):
        field = None if into is None else field_of(into, column.name)
        return aggregates.aggregate(value, scope, over=over, names=names_of_ohlc(field))
    return expressions.operand(value, scope)


def names_of_ohlc(field: Field | None) -> tuple[str, ...]:
    """Return the names in records of what ``ohlc`` makes in a field, in the order of ``OHLC``."""
    type_ = None if field is None else field.type
    record = type_.item if isinstance(type_, Nullable) else type_
    if not isinstance(record, RecordType):
        return aggregates.OHLC_NAMES
    names = {one.name: one.wire_name for one in record.fields}
    return tuple(names.get(one, one.upper()) for one in OHLC)


def result_columns(given: Translation, shape: Shape, into: EntityModel | None) -> list[ResultColumn]:
    """Return the columns of the rows, in the order of ``select``, or of the class that they go into."""
    faults = given.scope.faults
    selected = _selected(given, into)
    names = _names(given, selected, into)
    found = [_column(given, shape, one, names[one.name], into) for one in selected if one.name in names]
    if len(found) > len({one.name for one in found}):
        twice = next(one for one in found if [other.name for other in found].count(one.name) > 1)
        same = " and ".join(one.field for one in found if one.name == twice.name)
        faults.append(f"select: {same} are both {twice.name} in ksqlDB: give one another name")
    faults += [
        f"select: {one.field} is {one.name} in ksqlDB, which every stream and table has: give it another name"
        for one in found
        if one.name in KSQL_SYSTEM_COLUMNS
    ]
    return found


def value_text(node: Node, given: Translation) -> str:
    """Return a value over the sources: a column as it is stored, all else as it is computed."""
    found = read_of(in_full(node, given.query), given.reads)
    if found is None:
        return expressions.expression(node, given.scope)
    name = quoted(found[1].wire_name)
    return f"{source_name(found[0].name)}.{name}" if given.query.joins else name


def value_type(node: Node, given: Translation) -> str | None:
    """Return the type in ksqlDB of what :func:`value_text` returns; ``None``: not known."""
    found = read_of(in_full(node, given.query), given.reads)
    return expressions.ksql_type(node, given.scope) if found is None else found[0].type_of(found[1])


def _selected(given: Translation, into: EntityModel | None) -> Sequence[Column]:
    """Return the columns that the query asks for."""
    query = given.query
    if query.columns is not None:
        return query.columns
    if query.keys is not None:
        return (*query.keys, *query.aggregates)
    if not query.joins:
        read = given.reads[0]
        bounds = [one for one in read.model.record_type.fields if one.window in (WindowStart, WindowEnd)]
        fields = (*read.keys, *bounds, *value_columns(read.model))
        return [Column(field.name, FieldPath(None, (field.name,))) for field in fields]
    if into is None:
        given.scope.faults.append(
            "a joined row is a tuple of entities, and ksqlDB has columns: write select(…) with the columns"
        )
        return ()
    columns = []
    for field in (*key_columns(into), *value_columns(into)):
        path = FieldPath(None, (field.name,))
        wrong = expression_faults(Expr(path), *query.sources)
        given.scope.faults.extend(
            f"{into.name}.{field.name} has no value: write select({into.name}, {field.name}=…) ({one})"
            for one in wrong
        )
        columns += [] if wrong else [Column(field.name, path)]
    return columns


def _names(given: Translation, selected: Sequence[Column], into: EntityModel | None) -> Mapping[str, str]:
    """Return the names of columns in ksqlDB by their names in Python."""
    if into is not None:
        wanted = {one.name: one.wire_name for one in (*key_columns(into), *value_columns(into))}
        return {one.name: wanted[one.name] for one in selected if one.name in wanted}
    return {one.name: _own_name(given, one) for one in selected}


def _own_name(given: Translation, column: Column) -> str:
    """Return the name of the field that a column is, otherwise its own in upper case."""
    value = _below(given, column.value)
    if isinstance(value, FieldPath) and value.steps == (column.name,):
        found = read_of(in_full(value, given.query), given.reads)
        if found is not None:
            return found[1].wire_name
    if isinstance(value, FieldPath) and given.reads[0].model.window is not None:
        names = {one.name: one.wire_name for one in given.reads[0].model.record_type.fields}
        return names.get(column.name, column.name.upper())
    return column.name.upper()


def _below(given: Translation, value: Node | Aggregate) -> Node | Aggregate:
    """Return what a column is over the sources; one that is computed of groups as it is."""
    if given.query.keys is None or not isinstance(value, FieldPath):
        return value
    columns = {(one.name,): one.value for one in (*given.query.keys, *given.query.aggregates)}
    return columns.get(cast("tuple[str]", value.steps), value)


def _column(
    given: Translation, shape: Shape, column: Column, name: str, into: EntityModel | None
) -> ResultColumn:
    value = column.value
    below = _below(given, value)
    is_of_groups = given.query.keys is not None and given.query.columns is not None and below is value
    if isinstance(value, Aggregate):
        text = given.rows.substitutes[column.name]
    elif isinstance(below, Aggregate):
        text = given.rows.substitutes[str(column.node.steps[0])] if isinstance(column.node, FieldPath) else ""
    elif is_of_groups:
        text = expressions.expression(below, given.rows)
    else:
        text = value_text(below, given)
    place = None
    if isinstance(below, Aggregate):
        field = None if into is None else field_of(into, column.name)
        type_ = aggregates.aggregate_ksql_type(below, given.scope, names=names_of_ohlc(field))
    elif is_of_groups:
        type_ = expressions.ksql_type(below, given.rows)
    else:
        type_ = value_type(below, given)
        full = in_full(below, given.query)
        place = next((place for place, viable in enumerate(shape.keys) if full in viable), None)
    return ResultColumn(column.name, name, value, text, type_, place)


def keyed(columns: Sequence[ResultColumn], shape: Shape, faults: list[str]) -> list[ResultColumn]:
    """Return the columns of a persistent query: each key column once, its copies as values.

    Appends to ``faults`` the key columns that are not selected.
    """
    chosen: dict[int, ResultColumn] = {}
    for place, text in enumerate(shape.key_names):
        of_key = [one for one in columns if one.place == place]
        if not of_key:
            faults.append(
                f"select: {text} is the key of the rows, and ksqlDB wants each key column selected: add "
                f"{text}"
            )
            continue
        chosen[place] = of_key[0]
    found = []
    for one in columns:
        if one.place is None or chosen.get(one.place) is one:
            found.append(one)
        else:
            # Also the other side of a join: of several columns that can be the key ksqlDB takes the left one.
            text = f"AS_VALUE({one.text})"
            found.append(ResultColumn(one.field, one.name, one.value, text, one.type))
    if columns and all(one.place is not None for one in found):
        faults.append(
            "select: all columns are of the key, and ksqlDB wants one of the value at least: add one"
        )
    return found


def select_item(column: ResultColumn, *, is_named: bool) -> str:
    """Return ``SUM(AMOUNT) AS TOTAL``; the name is left out where ksqlDB gives the same."""
    name = quoted(column.name)
    return column.text if column.text == name and not is_named else f"{column.text} AS {name}"


def is_never_none(given: Translation, column: ResultColumn) -> bool:
    """Whether ``where`` leaves only rows in which a column has a value, though its field may lack one."""
    below = _below(given, column.value)
    if isinstance(below, Aggregate):
        return False
    try:
        full = in_full(below, given.query)
    except ValueError:  # of a column of the groups
        return False
    return Not(IsNull(full)) in sure_parts(given.query)


def field_of(model: EntityModel, name: str) -> Field | None:
    """Return the stored field of a class by its name."""
    return next((one for one in (*key_columns(model), *value_columns(model)) if one.name == name), None)
