"""Reads the tables of ``docs/ksql.md``, "Both meanings"."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import UUID

from statestore import F, agg
from statestore.expressions.aggregates import Aggregate
from statestore.expressions.expr import Expr
from tests.unit.ksql.orders import Order, order_with

_DOCUMENT: Final = Path(__file__).parents[3] / "docs" / "ksql.md"
_SECTION: Final = _DOCUMENT.read_text(encoding="utf-8").split("## Both meanings")[1].split("\n## ")[0]
_NAMES: Final[dict[str, Any]] = {
    **{one.__name__: one for one in (date, datetime, Decimal, UUID, dict, float, max)},
    "UTC": UTC,
    "F": F,
    "agg": agg,
}


class Said(NamedTuple):
    """What a row says of the translation."""

    text: str | None
    """The text; ``None``: it is refused."""
    more: str
    """The reason, or the note; empty: there is none."""


class Meaning(NamedTuple):
    """A row about an expression."""

    expr: Expr
    order: Order
    here: str
    """The ``repr`` of its value."""
    said: Said
    is_tried: bool

    def __repr__(self) -> str:
        return repr(self.expr)


class AggregateMeaning(NamedTuple):
    """A row about an aggregate."""

    aggregate: Aggregate
    over: str
    said: Said


def _rows(columns: int) -> list[list[str]]:
    lines = [line for line in _SECTION.splitlines() if line.startswith("| `")]
    rows = [re.split(r"(?<!\\) \| ", line[2:].removesuffix(" |")) for line in lines]
    return [[cell.replace(r"\|", "|") for cell in row] for row in rows if len(row) == columns]


def _code(cell: str) -> str:
    found = re.match(r"(`+) ?(.*?) ?\1(?!`)", cell)
    assert found, cell
    return found[2]


def _said(cell: str) -> Said:
    if cell.startswith("refused: "):
        return Said(None, cell.removeprefix("refused: "))
    return Said(_code(cell), cell.partition("; says: ")[2])


def _value(text: str) -> Any:
    return eval(text, dict(_NAMES))


def _meaning(row: list[str]) -> Meaning:
    shown, of, here, _, translated, known = row
    assert known in ("documented", "tried")
    order = order_with(**_value(f"dict({_code(of)})"))
    return Meaning(_value(_code(shown)), order, _code(here), _said(translated), known == "tried")


MEANINGS: Final = [_meaning(row) for row in _rows(6)]
AGGREGATES: Final = [AggregateMeaning(_value(_code(row[0])), row[1], _said(row[3])) for row in _rows(4)]
