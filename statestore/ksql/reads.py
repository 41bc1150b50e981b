"""The streams and tables that a query reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from statestore.entity import EntityModel, Field
from statestore.errors import ConfigError
from statestore.expressions.nodes import FieldPath, Node
from statestore.fields.windows import Window
from statestore.ksql.sources import Kind, column_type_of, columns_of, declared_models, key_columns
from statestore.ksql.sources import key_format as key_format_of
from statestore.ksql.sources import value_format as value_format_of
from statestore.relational.checking import qualified
from statestore.relational.values import Query


@dataclass(frozen=True, slots=True)
class Read:
    """A stream or table, as a query names it."""

    cls: type[Any]
    """The class in the query, or an alias of one."""
    model: EntityModel

    @property
    def name(self) -> str:
        """Its name in ksqlDB."""
        return self.model.ksql_name

    @property
    def kind(self) -> Kind:
        """Whether it is a stream or a table."""
        return self.model.kind

    @property
    def keys(self) -> tuple[Field, ...]:
        """Its key fields, without those that a window fills."""
        return key_columns(self.model)

    def field(self, path: FieldPath) -> Field | None:
        """Return the stored field that a path of one step names."""
        fields = self.model.record_type.fields
        return next((one for one in fields if path.steps == (one.name,) and one.window is None), None)

    def path(self, field: Field) -> FieldPath:
        """Return the path of a field, with its class."""
        return FieldPath(self.cls, (field.name,))

    def type_of(self, field: Field) -> str:
        """Return the type of a field's column."""
        return column_type_of(self.model, field, [])


def reads_of(query: Query[Any], faults: list[str], windows: Sequence[Window | None] = ()) -> tuple[Read, ...]:
    """Return what a query reads, appending to ``faults`` what of it ksqlDB cannot have.

    ``windows`` says of each class with several windows which one is read.
    """
    found: list[Read] = []
    classes = (query.entity, *(join.entity for join in query.joins))
    for cls, window in zip_longest(classes, windows):
        try:
            models = declared_models(cls)
        except ConfigError as error:
            faults += error.faults
            continue
        chosen = [one for one in models if window is None or (one.window and one.window.window == window)]
        model = chosen[0]
        if len(chosen) > 1:
            labels = ", ".join(one.window.window.label for one in models if one.window)
            faults.append(
                f"Query.of({cls.__name__}): the class has several windows ({labels}), a table each, and a "
                "query reads one: declare a class of that one window"
            )
            continue
        columns_of(model, faults)
        if key_columns(model):
            key_format_of(model, faults)
        value_format_of(model, faults)
        if any(one.name == model.ksql_name for one in found):
            faults.append(
                f"join({cls.__name__}): ksqlDB joins no stream or table with itself ({model.ksql_name}): "
                "make a second one of it with a PersistentQuery, and join that"
            )
        found.append(Read(cls, model))
    return tuple(found)


def read_of(node: Node, reads: tuple[Read, ...]) -> tuple[Read, Field] | None:
    """Return the field that a qualified node is, and of what; ``None``: it is no field of its own."""
    if not isinstance(node, FieldPath):
        return None
    for read in reads:
        if read.cls is node.entity and (field := read.field(node)) is not None:
            return read, field
    return None


def in_full(node: Node, query: Query[Any]) -> Node:
    """Return an expression over a query's sources with the class of each field in it, to be compared."""
    return qualified(node, query.sources)
