"""A persistent query as statements: CREATE … AS SELECT, INSERT INTO, and a declaration over its topic."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from statestore.errors import KsqlError
from statestore.expressions.nodes import Constant, Node
from statestore.fields.types import scalar_type
from statestore.ksql.clauses import (
    check_is_translated,
    emit_clause,
    from_clause,
    group_by_clause,
    having_clause,
    partition_by_clause,
    select_clause,
    where_clause,
)
from statestore.ksql.inference import Shape, shape_of
from statestore.ksql.lexis import source_name, string
from statestore.ksql.reads import Read, reads_of
from statestore.ksql.results import ResultColumn, Translation, field_of, keyed, result_columns, translation
from statestore.ksql.sources import (
    Kind,
    Property,
    column_definitions,
    column_type_of,
    create_clause,
    creation,
    declaration,
    key_columns,
    value_columns,
    window_type,
    with_clause,
)
from statestore.ksql.statements import Statement
from statestore.ksql.targets import (
    Target,
    check_key,
    check_names,
    fitted,
    formats_of,
    target_of,
    target_properties,
)
from statestore.ksql.transient import known_columns
from statestore.ksql.windows import (
    Lengths,
    QueryWindow,
    WindowGiven,
    Within,
    query_window,
    retention_faults,
    stated_length,
    window_clause,
    within_of,
)
from statestore.naming import KSQL_SYSTEM_COLUMNS
from statestore.relational.translation import Emit
from statestore.relational.values import Query

Way = Literal["create", "replace", "insert"]

_logger: Final = logging.getLogger("statestore.ksql")


@dataclass(frozen=True)
class Asked:
    """What a persistent query is asked to be."""

    query: Query[Any]
    into: type[Any] | str
    """The entity class that the rows are of, or the name of a stream or table."""
    window: WindowGiven | None
    """The windows of groups: a size as in ``windows=``, ``Hopping(…)`` or ``ksql.Sessions(…)``."""
    grace: object
    """How long after its end a window takes records, or a join of streams partners: ``"3s"``, a timedelta."""
    retention: object
    """How long windows are kept: ``"7d"`` or a ``timedelta``."""
    window_start: str | None
    """The column that the start of the window goes into."""
    window_end: str | None
    """The column that the end of the window goes into."""
    within: Within | None
    """How far apart in time joined records of two streams are; a tuple: before, and after."""
    partition_by: tuple[Node, ...]
    """The key that the rows of a stream get."""
    emit: Emit
    """``"changes"``: each change; ``"final"``: a window once, when it is closed."""
    kind: Kind | None
    """What :meth:`as_stream` or :meth:`as_table` asks for."""
    way: Way


def made(asked: Asked) -> tuple[Statement, ...]:
    """Return the statements. Raises ``KsqlError`` with every fault."""
    faults: list[str] = []
    notes: list[str] = []
    grace = stated_length(asked.grace, "grace", faults)
    window = query_window(asked.window, grace, stated_length(asked.retention, "retention", faults), faults)
    within = within_of(asked.within, faults)
    target = target_of(asked.into, window, asked.emit, faults)
    reads = reads_of(asked.query, faults)
    if len(reads) <= len(asked.query.joins):
        raise KsqlError(tuple(dict.fromkeys(faults)))
    return _Parts(asked, target, reads, window, within, grace, faults, notes).statements()


@dataclass(slots=True)
class _Parts:
    asked: Asked
    target: Target
    reads: tuple[Read, ...]
    window: QueryWindow | None
    within: Lengths | None
    grace: timedelta | None
    faults: list[str]
    notes: list[str]

    def statements(self) -> tuple[Statement, ...]:
        asked, faults = self.asked, self.faults
        shape = shape_of(
            asked.query,
            self.reads,
            faults,
            partition_by=asked.partition_by,
            has_window=asked.window is not None,
            has_within=asked.within is not None,
        )
        given = translation(asked.query, self.reads, faults, self.notes, self.target.model)
        check_is_translated(given, is_persistent=True)
        self._check_sources()
        self._check_emit()
        columns = self._columns(given, shape)
        select = self._select(given, shape, columns)
        kind = self._kind(shape)
        properties = target_properties(self.target, self.reads, columns, faults, self.notes)
        self.notes += shape.reasons
        if faults:
            raise KsqlError(tuple(dict.fromkeys(faults)))
        first = self._first(shape, kind, columns, properties, select)
        found = (first,) if kind == shape.kind else (first, self._over(first, kind, columns))
        for reason in shape.reasons:
            _logger.debug("%s: %s", self.target.name, reason)
        return found

    # What is checked

    def _check_sources(self) -> None:
        windowed = [one for one in self.reads if one.model.window is not None]
        self.faults += [
            f"Query.of({one.cls.__name__}): ksqlDB has no persistent queries over tables of windows: compute "
            "what you need where the windows are made, or read the table by a pull query"
            for one in windowed
        ]
        if self.asked.query.keys == ():
            self.faults.append(
                "aggregate: ksqlDB keeps no table of one row for all: write group_by(…) with a field of one "
                "value"
            )
        if self.target.name in [one.name for one in self.reads] and self.asked.way != "insert":
            self.faults.append(
                f"into: the query reads {self.target.name} itself: give the result another name"
            )

    def _check_emit(self) -> None:
        asked, window = self.asked, self.window
        if asked.emit == "final" and (asked.window is None or asked.query.keys is None):
            self.faults.append(
                "emit='final': ksqlDB has it for groups in windows only: write window=… and "
                "group_by(…).aggregate(…)"
            )
        elif asked.emit == "final":
            self.notes.append(
                "EMIT FINAL: a window's row comes when a later record of its partition is past the grace; in "
                "silence it stays open. A server can have it switched off (ksql.suppress.enabled)."
            )
            if asked.grace is None:
                self.notes.append(
                    "Without grace= ksqlDB waits 24 hours: write grace='3s', or as long as records take."
                )
        if window is not None:
            self.faults += retention_faults(window)
        if asked.grace is not None and asked.window is None and asked.within is None:
            self.faults.append(f"grace={asked.grace!r} requires window=…, or within=… of two streams")
        outer = [one for one in asked.query.joins if one.is_outer]
        if outer and self.within is not None and asked.grace is None:
            self.faults.append(
                f"left_join({outer[0].entity.__name__}): without grace= ksqlDB tells a row without a partner "
                "at once, and again with one: write grace='0s', or as long as records take"
            )

    def _kind(self, shape: Shape) -> Kind:
        """Return what is asked for, where ksqlDB can make it of what the query makes."""
        asked, model = self.asked, self.target.model
        wanted = asked.kind or shape.kind
        if model is not None and model.kind != wanted:
            if asked.kind is None:
                remedy = f"write as_{model.kind}(), or declare the class with kind={wanted!r}"
            else:
                remedy = f"declare the class with kind={wanted!r}, or give a name"
            self.faults.append(
                f"into={model.name}: the class is a {model.kind}, and the query makes a {wanted}: {remedy}"
            )
        if asked.way == "insert" and (wanted != "stream" or shape.kind != "stream"):
            self.faults.append(
                f"insert(): ksqlDB inserts rows into streams only, and the query makes a {shape.kind}: leave "
                "insert() out"
            )
            return shape.kind
        if wanted == "table" and shape.kind == "stream" and not shape.keys:
            self.faults.append(
                "as_table(): the rows have no key, and a table of ksqlDB needs one: write "
                "partition_by=F.field"
            )
        return wanted

    # The parts of the text

    def _columns(self, given: Translation, shape: Shape) -> list[ResultColumn]:
        check_names(given, self.target, self._names())
        found = keyed(result_columns(given, shape, self.target.model), shape, self.faults)
        check_key(self.target, shape, found, self.faults)
        self.faults += [
            f"{one.shown} is {one.type} in ksqlDB, which no key can be: take a part of it"
            for one in found
            if one.place is not None and "MAP<" in (one.type or "")
        ]
        bounds = self._bounds()
        others = [one.field for one in bounds]
        names = [one.name for one in (*found, *bounds)]
        self.faults += [
            f"window_start=, window_end=: {one.field!r} is another column, too: name another"
            for one in bounds
            if names.count(one.name) > 1
        ]
        made = [*fitted(given, self.target, found, others), *bounds]
        model = self.target.model
        if self.asked.way == "insert" and model is not None:
            # ksqlDB compares what is inserted with what is there column by column.
            names = [one.name for one in (*key_columns(model), *value_columns(model))]
            made.sort(key=lambda one: names.index(one.field) if one.field in names else len(names))
        return made

    def _names(self) -> list[str]:
        """Return the names of the columns that the query has; of joined rows none without ``select``."""
        query = self.asked.query
        if query.columns is not None:
            return [one.name for one in query.columns]
        if query.keys is not None:
            return [one.name for one in (*query.keys, *query.aggregates)]
        if query.joins:
            return []
        fields = self.reads[0].model.record_type.fields
        return [one.name for one in fields if one.window is None and not one.is_gap]

    def _bounds(self) -> list[ResultColumn]:
        found = []
        given = (("WINDOWSTART", self.asked.window_start), ("WINDOWEND", self.asked.window_end))
        for bound, name in given:
            if name is None:
                continue
            argument = "window_start" if bound == "WINDOWSTART" else "window_end"
            if self.asked.window is None:
                self.faults.append(f"{argument}={name!r} requires window=…")
            model = self.target.model
            field = None if model is None else field_of(model, name)
            text, type_, column = bound, "BIGINT", name.upper() if field is None else field.wire_name
            if model is not None and field is None:
                remedy = f"{model.name} has no such field: add one, {name}: datetime"
                if any(one.name == name for one in model.record_type.fields if one.window is not None):
                    remedy = f"{model.name} has it from the key of the topic: leave {argument}= out"
                self.faults.append(f"{argument}={name!r}: {remedy}")
            if field is not None and model is not None:
                declared = column_type_of(model, field, [])
                if declared == "TIMESTAMP":
                    text, type_ = f"FROM_UNIXTIME({bound})", "TIMESTAMP"
                elif declared != "BIGINT" or scalar_type(field.type) not in (int, datetime):
                    self.faults.append(
                        f"{argument}={name!r}: {model.name}.{name} must be a datetime or an int"
                    )
            if column in KSQL_SYSTEM_COLUMNS:
                self.faults.append(
                    f"{argument}={name!r}: every table of windows has a column of this name: give another"
                )
            found.append(ResultColumn(name, column, Constant(0), text, type_))
        return found

    def _select(self, given: Translation, shape: Shape, columns: Sequence[ResultColumn]) -> str:
        grace = self.grace if self.asked.window is None else None
        parts = [
            select_clause(columns, is_joined=bool(self.asked.query.joins)),
            from_clause(given, shape, self.within, grace),
            "" if self.window is None else window_clause(self.window),
            where_clause(given),
            group_by_clause(given),
            partition_by_clause(given, self.asked.partition_by),
            having_clause(given),
            emit_clause(self.asked.emit),
        ]
        return "\n".join(filter(None, parts)) + ";"

    def _first(
        self,
        shape: Shape,
        kind: Kind,
        columns: Sequence[ResultColumn],
        properties: list[Property],
        select: str,
    ) -> Statement:
        """Return the statement with the query."""
        asked, target, made_kind = self.asked, self.target, shape.kind
        name = target.name if kind == made_kind else f"{target.name}_{made_kind.upper()}"
        reads = tuple(dict.fromkeys(one.name for one in self.reads))
        notes = tuple(dict.fromkeys(self.notes))
        known = known_columns(columns)
        if asked.way == "insert":
            text = f"INSERT INTO {source_name(name)}\n{select}"
            return Statement(text, "insert into", name, reads, known, target.topic, True, notes)
        head = create_clause(made_kind, name, or_replace=asked.way == "replace")
        text = f"{head} {with_clause(properties)} AS {select}"
        return Statement(text, creation(made_kind), name, reads, known, target.topic, True, notes)

    def _over(self, first: Statement, kind: Kind, columns: Sequence[ResultColumn]) -> Statement:
        """Return the declaration of what is asked for over the topic of what the query makes."""
        target, or_replace = self.target, self.asked.way == "replace"
        why = (
            "A stream over the topic of the table: each change is a record; deletions are not seen."
            if kind == "stream"
            else "A table over the topic of the stream: the last record of each key. Make its topic "
            "compacted before, or old keys end with its retention."
        )
        if target.model is not None:
            made_ = declaration(target.model, or_replace=or_replace, kind=kind)
            return replace(made_, reads=(first.name,), notes=(*made_.notes, why))
        known = known_columns(columns)
        if not known:
            raise KsqlError(
                f"into={target.name!r}: the types of its columns are not known here: give an entity class"
            )
        key_format, value_format = formats_of(self.reads, columns, [])
        properties = [("KAFKA_TOPIC", string(target.topic))]
        properties += [("KEY_FORMAT", string(key_format))] if key_format else []
        properties.append(("VALUE_FORMAT", string(value_format)))
        if self.window is not None:
            properties += window_type(self.window.window)
        head = create_clause(kind, target.name, or_replace=or_replace)
        text = f"{head} (\n{column_definitions(known, kind)}\n) {with_clause(properties)};"
        return Statement(text, creation(kind), target.name, (first.name,), known, target.topic, notes=(why,))
