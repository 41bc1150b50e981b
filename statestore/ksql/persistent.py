"""Persistent queries: what a server computes from then on, into a stream or a table."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from statestore.errors import KsqlError
from statestore.expressions.expr import Expr
from statestore.expressions.nodes import Node, node_text
from statestore.expressions.type_checking import expression_faults
from statestore.ksql.making import Asked, Way, made
from statestore.ksql.statements import Statement, explained
from statestore.ksql.windows import WindowGiven, Within, check_window
from statestore.relational.translation import Emit
from statestore.relational.values import Query
from statestore.runtime.text import bounded_repr

_EMITS: Final = ("changes", "final")


@dataclass(frozen=True, init=False)
class PersistentQuery(Asked):
    """A query that ksqlDB runs from then on, as a plain value: CREATE … AS SELECT, or INSERT INTO.

    ::

        totals = ksql.PersistentQuery(
            Query.of(Order).group_by(F.customer).aggregate(total=agg.sum(F.amount)), into=Total
        )

    Immutable; it compares by its parts. Nothing is translated before :meth:`statements`, which raises
    ``KsqlError`` with every fault. Docs: ``docs/ksql.md``.
    """

    location: str = field(compare=False)
    """Where it is declared: ``file:line``."""

    def __init__(
        self,
        query: Query[Any],
        into: type[Any] | str,
        *,
        window: WindowGiven | None = None,
        grace: object = None,
        retention: object = None,
        window_start: str | None = None,
        window_end: str | None = None,
        within: Within | None = None,
        partition_by: Expr | Iterable[Expr] = (),
        emit: Emit = "changes",
    ) -> None:
        _check(query, into, emit)
        check_window(window)
        _check_names(window_start=window_start, window_end=window_end)
        caller = sys._getframe(1)  # noqa: SLF001 - what `inspect.stack` reads, without reading source files
        values = {
            "query": query,
            "into": into,
            "window": window,
            "grace": grace,
            "retention": retention,
            "window_start": window_start,
            "window_end": window_end,
            "within": within,
            "partition_by": _partition_by(query, partition_by),
            "emit": emit,
            "kind": None,
            "way": "create",
            "location": f"{caller.f_code.co_filename}:{caller.f_lineno}",
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def as_stream(self) -> PersistentQuery:
        """Return the same as a stream: of a table that table, and a stream over its topic."""
        return self._with(kind="stream")

    def as_table(self) -> PersistentQuery:
        """Return the same as a table: of a stream that stream, and a table over its topic."""
        return self._with(kind="table")

    def or_replace(self) -> PersistentQuery:
        """Return the same with OR REPLACE instead of IF NOT EXISTS."""
        return self._with(way="replace")

    def insert(self) -> PersistentQuery:
        """Return the same as INSERT INTO, for a stream that is there already."""
        return self._with(way="insert")

    def statements(self) -> tuple[Statement, ...]:
        """Return the statements in the order in which they are sent: two for ``as_stream()`` of a table.

        Raises ``KsqlError`` with everything that ksqlDB cannot do, or means otherwise.
        """
        return made(self)

    def to_ksql(self) -> str:
        """Return the text of :meth:`statements`, which raises the same."""
        return "\n\n".join(one.text for one in self.statements())

    def explain(self) -> str:
        """Return the statements with the reasons for each as comments: stream or table, key, casts."""
        return explained(self.statements())

    def _with(
        self, *, kind: Literal["stream", "table"] | None = None, way: Way | None = None
    ) -> PersistentQuery:
        found = object.__new__(PersistentQuery)
        found.__dict__.update(self.__dict__, kind=kind or self.kind, way=way or self.way)
        return found

    def __repr__(self) -> str:
        into = repr(self.into) if isinstance(self.into, str) else self.into.__name__
        text = f"PersistentQuery({self.query!r}, into={into}"
        for name in ("window", "grace", "retention", "window_start", "window_end", "within"):
            value = getattr(self, name)
            text += "" if value is None else f", {name}={value!r}"
        if self.partition_by:
            text += f", partition_by=({', '.join(map(node_text, self.partition_by))})"
        text += "" if self.emit == "changes" else f", emit={self.emit!r}"
        text += ")" + ("" if self.kind is None else f".as_{self.kind}()")
        return text + {"create": "", "replace": ".or_replace()", "insert": ".insert()"}[self.way]


def _partition_by(query: Query[Any], given: Any) -> tuple[Node, ...]:
    try:
        exprs = (given,) if isinstance(given, Expr) else tuple(given)
    except TypeError:
        exprs = (given,)
    wrong = [one for one in exprs if not isinstance(one, Expr)]
    if wrong:
        raise KsqlError(
            f"partition_by={bounded_repr(wrong[0])}: give an expression such as F.customer, or several"
        )
    faults = [f"partition_by: {fault}" for one in exprs for fault in expression_faults(one, *query.sources)]
    if faults:
        raise KsqlError(faults)
    return tuple(one.node for one in exprs)


def _check_names(**given: object) -> None:
    """Raise ``KsqlError`` for a name of a column that is none."""
    for argument, name in given.items():
        if name is not None and not (isinstance(name, str) and name):
            raise KsqlError(f"{argument}={bounded_repr(name)}: give the name of a column, such as 'opened'")


def _check(query: object, into: object, emit: object) -> None:
    """Raise ``KsqlError`` for arguments of another type."""
    if not isinstance(query, Query):
        raise KsqlError(
            f"PersistentQuery({bounded_repr(query)}): give a query value, as in "
            "Query.of(Order).where(…); that of a table's query is its .value"
        )
    if not isinstance(into, (type, str)):
        raise KsqlError(f"into={bounded_repr(into)}: give an entity class, or the name of a stream or table")
    if emit not in _EMITS:
        raise KsqlError(f"emit={bounded_repr(emit)}: give 'changes' or 'final'")
