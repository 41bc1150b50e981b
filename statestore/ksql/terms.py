"""Parts of an expression's text, put together by the precedence of KSQL's operators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MOST_CHARACTERS: Final = 200_000
"""A text with more is given up at once: some operands are needed several times, and so are theirs."""


class TooLongError(Exception):
    """A part of an expression has more than ``MOST_CHARACTERS``."""


OR, AND, NOT, PREDICATE, SUM, PRODUCT, SIGN, ATOM = range(8)
"""How tightly an operator holds its operands, from loose to tight."""


@dataclass(frozen=True, slots=True)
class Term:
    """A part of an expression's text."""

    text: str
    tight: int = ATOM
    """The loosest operator in it that no parentheses enclose."""
    depth: int = 0
    """How deep it is nested: calls, parentheses, CASEs and operators inside one another."""
    is_plain: bool = False
    """Whether pull queries over tables have this condition: comparisons, joined by AND and OR."""

    def __post_init__(self) -> None:
        if len(self.text) > MOST_CHARACTERS:
            raise TooLongError

    def within(self, tight: int) -> str:
        """Return the text beside an operator as tight as ``tight``, in parentheses where it is looser."""
        return self.text if self.tight >= tight else f"({self.text})"


TRUE: Final = Term("TRUE")
FALSE: Final = Term("FALSE")


def binary(operator: str, left: Term, right: Term, tight: int) -> Term:
    """Return ``left operator right``; of operators that are as tight, the left one holds first."""
    return Term(
        f"{left.within(tight)} {operator} {right.within(tight + 1)}", tight, 1 + max(left.depth, right.depth)
    )


def comparison(operator: str, left: Term, right: Term) -> Term:
    """Return a comparison; its sides are values."""
    text = f"{left.within(SUM)} {operator} {right.within(SUM)}"
    # Pull queries have no <> of WINDOWSTART, and look up no key by one.
    return Term(text, PREDICATE, 1 + max(left.depth, right.depth), operator != "<>")


def between(operand: Term, low: Term, high: Term) -> Term:
    """Return ``operand BETWEEN low AND high``."""
    text = f"{operand.within(SUM)} BETWEEN {low.within(SUM)} AND {high.within(SUM)}"
    return Term(text, PREDICATE, 1 + max(operand.depth, low.depth, high.depth), is_plain=True)


def one_of(operand: Term, values: Sequence[Term]) -> Term:
    """Return ``operand IN (…)``."""
    text = f"{operand.within(SUM)} IN ({', '.join(value.text for value in values)})"
    return Term(text, PREDICATE, 1 + max(operand.depth, *(value.depth for value in values)), is_plain=True)


def is_null(operand: Term) -> Term:
    """Return ``operand IS NULL``."""
    return Term(f"{operand.within(SUM)} IS NULL", PREDICATE, 1 + operand.depth)


def is_not_null(operand: Term) -> Term:
    """Return ``operand IS NOT NULL``."""
    return Term(f"{operand.within(SUM)} IS NOT NULL", PREDICATE, 1 + operand.depth)


def negation(condition: Term) -> Term:
    """Return ``NOT condition``, of a condition that is never null."""
    return Term(f"NOT {condition.within(PREDICATE)}", NOT, 1 + condition.depth)


def negative(operand: Term) -> Term:
    """Return ``-operand``."""
    return Term(f"-{operand.within(ATOM)}", SIGN, 1 + operand.depth)


def call(function: str, *arguments: Term) -> Term:
    """Return a call of a function."""
    depth = 1 + max((one.depth for one in arguments), default=0)
    return Term(f"{function}({', '.join(one.text for one in arguments)})", ATOM, depth)


def cast(operand: Term, type_: str) -> Term:
    """Return ``CAST(operand AS type_)``."""
    return Term(f"CAST({operand.text} AS {type_})", ATOM, 1 + operand.depth)


def case(*branches: tuple[Term, Term], otherwise: Term | None = None) -> Term:
    """Return ``CASE WHEN condition THEN value … ELSE otherwise END``. It is null where nothing applies."""
    text = " ".join(f"WHEN {condition.text} THEN {value.text}" for condition, value in branches)
    parts = [one for branch in branches for one in branch] + ([otherwise] if otherwise else [])
    text += f" ELSE {otherwise.text}" if otherwise else ""
    return Term(f"CASE {text} END", ATOM, 1 + max(one.depth for one in parts))


def all_of(conditions: Sequence[Term]) -> Term:
    """Return the condition that all of ``conditions``, which are never null, are true."""
    return _joined("AND", AND, conditions, TRUE, FALSE)


def any_of(conditions: Sequence[Term]) -> Term:
    """Return the condition that one of ``conditions``, which are never null, is true."""
    return _joined("OR", OR, conditions, FALSE, TRUE)


_MOST_IN_A_ROW = 8
"""More are put into groups: the server nests ``a AND b AND c AND …`` as deep as it is long."""


def _joined(word: str, tight: int, conditions: Sequence[Term], neutral: Term, decisive: Term) -> Term:
    given = [one for one in dict.fromkeys(conditions) if one != neutral]
    if decisive in given:
        return decisive
    while len(given) > _MOST_IN_A_ROW:
        groups = [given[start : start + _MOST_IN_A_ROW] for start in range(0, len(given), _MOST_IN_A_ROW)]
        given = [_row(word, tight, one) if len(one) > 1 else one[0] for one in groups]
        given = [_enclosed(one) if one.tight == tight else one for one in given]
    if not given:
        return neutral
    return given[0] if len(given) == 1 else _row(word, tight, given)


def _enclosed(condition: Term) -> Term:
    return Term(f"({condition.text})", ATOM, 1 + condition.depth, condition.is_plain)


def _row(word: str, tight: int, conditions: Sequence[Term]) -> Term:
    # Neither needs parentheses in itself, nor AND in OR, but is easier to read with them there.
    text = f" {word} ".join(one.within(tight if one.tight == tight else NOT) for one in conditions)
    depth = len(conditions) - 1 + max(one.depth for one in conditions)
    return Term(text, tight, depth, all(one.is_plain for one in conditions))
