"""What an expression is translated over: the rows, the names of their sources, and the faults found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from statestore.expressions.type_checking import Rows


@dataclass(frozen=True, slots=True)
class Scope:
    """The rows that the fields of an expression are of, and what stands for these fields in a statement."""

    rows: tuple[Rows, ...]
    """As ``expression_type`` takes them."""
    aliases: tuple[str | None, ...] = ()
    """The name before the columns of each of ``rows``, unquoted; ``None``, or none given: no name."""
    is_json: tuple[bool, ...] = ()
    """Whether the values of each of ``rows`` are JSON, where a ``Format`` takes effect; none given: all."""
    substitutes: Mapping[str, str] = field(default_factory=dict)
    """Of the rows of a group: what stands for each column, as ``operand`` and ``aggregate`` return it. KSQL's
    HAVING and SELECT do not know the names that the same SELECT gives."""
    faults: list[str] = field(default_factory=list, compare=False)
    """Filled: what cannot be translated, each with the Python expression, the reason and what would work."""
    notes: list[str] = field(default_factory=list, compare=False)
    """Filled: where a value beyond some range differs on the two sides, a sentence each."""

    doubles: list[str] = field(default_factory=list, compare=False)
    """Filled: the comparisons of DOUBLEs, which pull queries compare otherwise."""

    def fault(self, text: str) -> None:
        """Add a fault, once."""
        if text not in self.faults:
            self.faults.append(text)

    def note(self, text: str) -> None:
        """Add a note, once."""
        if text not in self.notes:
            self.notes.append(text)
