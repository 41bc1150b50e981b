"""The difference between what was applied and what is planned, for people."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from statestore.deploy.steps import Step
from statestore.deploy.text import tokens

_BREAKS = frozenset(
    {"FROM", "WITH", "WINDOW", "WHERE", "GROUP", "HAVING", "PARTITION", "EMIT", "JOIN", "LIMIT"}
)
"""Clauses that begin a line."""


def step_difference(step: Step) -> str:
    """Return the change of one statement as a unified diff; empty where there is none."""
    if step.kind == "skip":
        return ""
    before = step.replaces
    old = [] if before is None else list(_lines(before.statement))
    name = "(nothing)" if before is None else before.object
    lines = difflib.unified_diff(old, list(_lines(step.text)), name, step.object, lineterm="")
    return "".join(f"{line}\n" for line in lines)


def _lines(text: str) -> Iterator[str]:
    """Iterate over the statement's lines, with one line for each clause and each column."""
    line = ""
    for token in tokens(text):
        if token.kind == "space":
            line += "" if not line or line.endswith(" ") else " "
            continue
        if token.word in _BREAKS and line:
            yield line.rstrip()
            line = ""
        line += token.text
        if token.text == ",":
            yield line
            line = ""
    if line:
        yield line
