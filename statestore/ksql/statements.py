"""Statements of KSQL, as plain values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Action = Literal["create stream", "create table", "insert into", "drop stream", "drop table", "select"]


@dataclass(frozen=True, slots=True)
class SourceColumn:
    """A column of a stream or table of ksqlDB."""

    name: str
    """As the server knows it, without quotes."""
    type: str
    """As KSQL writes it: ``DECIMAL(9, 2)``."""
    is_key: bool = False


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement, and what a deployer must know of it."""

    text: str
    """The statement as the server takes it, with its ``;``."""
    action: Action
    name: str
    """The stream or table that it makes, fills or drops, as the server knows it; empty for a SELECT."""
    reads: tuple[str, ...] = ()
    """The streams and tables that it reads, each once."""
    columns: tuple[SourceColumn, ...] = ()
    """The columns of what it makes, the key's first, or those of a SELECT's rows."""
    topic: str | None = None
    """The topic of what it makes."""
    is_persistent: bool = False
    """Whether the server runs a query from then on: CREATE … AS SELECT, INSERT INTO … SELECT."""
    notes: tuple[str, ...] = ()
    """Why it is as it is, a sentence each: stream or table, casts."""

    def __str__(self) -> str:
        return self.text


def explained(statements: Iterable[Statement]) -> str:
    """Return statements with their notes as comments before each."""
    return "\n\n".join(
        "\n".join([*(f"-- {' '.join(note.split())}" for note in one.notes), one.text]) for one in statements
    )
