"""Which joins ksqlDB has, and by what the joined rows are keyed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from statestore.entity import Field
from statestore.expressions.nodes import IsNull, Node, Not, node_text, parts_of
from statestore.fields.types import Nullable
from statestore.ksql.reads import Read, in_full, read_of
from statestore.ksql.sources import Kind, stored_format
from statestore.relational.values import Join, Query

Keys = tuple[tuple[Node, ...], ...]
"""Of each key column the expressions that are it, the first one preferred."""


@dataclass(slots=True)
class Joined:
    """What is joined so far."""

    kind: Kind
    keys: Keys
    of_streams: list[bool] = field(default_factory=list)
    """Of each join whether it is of two streams, and so WITHIN a time."""


def joined(query: Query[Any], reads: Sequence[Read], faults: list[str], *, has_within: bool) -> Joined:
    """Return what the joins of a query make, appending to ``faults`` those that ksqlDB does not have."""
    so_far = Joined(reads[0].kind, tuple((reads[0].path(one),) for one in reads[0].keys))
    for join, right in zip(query.joins, reads[1:], strict=True):
        _Step(query, tuple(reads), join, right, faults, so_far, has_within).take()
    if has_within and not any(so_far.of_streams):
        faults.append("within=: only joins of two streams are within a time: leave it out")
    return so_far


@dataclass(slots=True)
class _Step:
    query: Query[Any]
    reads: tuple[Read, ...]
    join: Join
    right: Read
    faults: list[str]
    so_far: Joined
    has_within: bool

    def take(self) -> None:
        """Add the join to what is joined so far."""
        of_streams = self.so_far.kind == self.right.kind == "stream"
        self.so_far.of_streams.append(of_streams)
        if of_streams and not self.has_within:
            self._fault("two streams are joined within a time: write PersistentQuery(…, within='1h')")
        if self.so_far.kind == "table" and self.right.kind == "stream":
            self._fault("ksqlDB joins a stream with a table, not the other way round: begin with the stream")
        sides = self._sides()
        if sides is None:
            return
        left, right = (in_full(one, self.query) for one in sides)
        found, partner = read_of(left, self.reads), read_of(right, self.reads)
        if found is None or partner is None:
            node = sides[0] if found is None else sides[1]
            self._fault(
                f"{node_text(node)} is computed: ksqlDB knows the key of the result only of plain columns: "
                "select it as a column in a PersistentQuery of its own, and join that"
            )
            return
        self._check_types(found, partner)
        if self.right.kind == "table":
            self._with_table(left, found, right, partner[1])
        else:
            self._check_partitions(found[0])
            self._keyed_by(left, right)

    def _sides(self) -> tuple[Node, Node] | None:
        if len(self.join.left) == 1:
            return self.join.left[0], self.join.right[0]
        names = ", ".join(map(node_text, self.join.right))
        self._fault(
            f"ksqlDB joins by one column, not by several ({names}): select one column of them on both sides "
            "in a PersistentQuery each, such as F.a + '/' + F.b of texts, and join by that"
        )
        return None

    def _with_table(self, left: Node, found: tuple[Read, Field], right: Node, partner: Field) -> None:
        """Join a table, which is by its key only."""
        if self.right.keys != (partner,):
            names = ", ".join(one.name for one in self.right.keys)
            self._fault(
                f"{node_text(right)} is not the key of {self.right.cls.__name__} ({names}): ksqlDB joins a "
                "table by its key of one column; make a table of that key with a PersistentQuery, and join "
                "that"
            )
            return
        keys = self.so_far.keys
        if self.so_far.kind == "stream" or (len(keys) == 1 and left in keys[0]):
            self._check_partitions(found[0])
            self._keyed_by(left, right)
        elif len(self.query.joins) > 1:
            self._fault(
                f"{node_text(left)} is not the key of the rows before, and ksqlDB joins no third table by a "
                "foreign key: join the first two in a PersistentQuery, and its table with the third"
            )
        # Otherwise it is a join by a foreign key: the rows keep the key of the left table.

    def _keyed_by(self, left: Node, right: Node) -> None:
        """Say that rows are keyed by ``left`` from now on; ``right`` is the same where there is a partner."""
        is_joined, keys = len(self.so_far.of_streams) > 1, self.so_far.keys
        same = keys[0] if is_joined and len(keys) == 1 and left in keys[0] else (left,)
        self.so_far.keys = (same if self.join.is_outer else (*same, right),)

    def _check_types(self, found: tuple[Read, Field], partner: tuple[Read, Field]) -> None:
        one, other = (read.type_of(field) for read, field in (found, partner))
        if one != other:
            self._fault(
                f"{_shown(found)} is {one} in ksqlDB, and {_shown(partner)} is {other}: declare both as the "
                "same type"
            )
        if stored_format(found[0].model, found[1]) != stored_format(partner[0].model, partner[1]):
            self._fault(
                f"{_shown(found)} and {_shown(partner)} are written with another Format, and ksqlDB compares "
                "what is written: give both the same"
            )
        path = found[0].path(found[1])
        condition = self.query.condition
        sure = () if condition is None else parts_of(in_full(condition, self.query))
        checked = Not(IsNull(path)) in sure
        if self.join.is_outer and isinstance(found[1].type, Nullable) and not checked:
            self._fault(
                f"{_shown(found)} can be None: here such a row stays without a partner, and ksqlDB leaves it "
                f"out; write join(…), or where(~{node_text(path)}.is_null())"
            )

    def _check_partitions(self, left: Read) -> None:
        models = (left.model, self.right.model)
        if all("partitions" in one.stated for one in models):
            one, other = (model.topic_spec.partitions for model in models)
            if one != other:
                self._fault(
                    f"{left.cls.__name__} has {one} partitions, and {self.right.cls.__name__} {other}: "
                    "ksqlDB joins topics of the same number; repartition one with a PersistentQuery"
                )

    def _fault(self, problem: str) -> None:
        name = "left_join" if self.join.is_outer else "join"
        self.faults.append(f"{name}({self.right.cls.__name__}): {problem}")


def _shown(of: tuple[Read, Field]) -> str:
    return node_text(of[0].path(of[1]))
