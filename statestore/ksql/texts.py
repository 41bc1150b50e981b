"""Tests of texts: ``startswith``, ``endswith``, ``contains``, ``like``.

KSQL's own LIKE is of no use: its ``%`` and ``_`` stop at the end of a line, and it fails for null. Positions
and lengths are in units of UTF-16.
"""

from __future__ import annotations

import re
from typing import Final

from statestore.ksql import lexis, terms
from statestore.ksql.terms import Term
from statestore.ksql.values import Value

ANY: Final = "%"
ONE: Final = "_"
_PART = re.compile(r"\\(?P<escaped>.)|(?P<wild>[%_])|(?P<plain>.)", re.DOTALL)
_SPECIAL = re.compile(r"[!-/:-@\[-`{-~]")
"""ASCII punctuation, which a backslash makes plain in Java's regular expressions."""


def text_test(op: str, of: Value, text: str, truth: bool) -> Term:
    """Return the condition that ``of.op(text)`` is ``truth``."""
    if op == "like":
        return _like(of, text, truth)
    if not text:
        return of.present if truth else terms.FALSE
    if op == "contains":
        found = terms.call("INSTR", of.term, Term(lexis.literal(text)))  # 0, too, of null
        if truth:
            return terms.comparison(">", found, Term("0"))
        return terms.all_of([of.present, terms.comparison("=", found, Term("0"))])
    size = len(text.encode("utf-16-le")) // 2
    place = [Term("1"), Term(str(size))] if op == "startswith" else [Term(str(-size))]
    return _equal(terms.call("SUBSTRING", of.term, *place), text, truth)


def _equal(one: Term, text: str, truth: bool) -> Term:
    return terms.comparison("=" if truth else "<>", one, Term(lexis.literal(text)))


def _like(of: Value, pattern: str, truth: bool) -> Term:
    parts = _parts(pattern)
    match parts:
        case []:
            return _equal(of.term, "", truth)
        case [(True, text)]:
            return _equal(of.term, text, truth)
        case [(False, "%")]:
            return text_test("contains", of, "", truth)
        case [(True, text), (False, "%")]:
            return text_test("startswith", of, text, truth)
        case [(False, "%"), (True, text)]:
            return text_test("endswith", of, text, truth)
        case [(False, "%"), (True, text), (False, "%")]:
            return text_test("contains", of, text, truth)
    found = terms.call("REGEXP_EXTRACT", Term(lexis.literal(_expression(parts))), of.term)
    if truth:
        return terms.is_not_null(found)
    return terms.all_of([of.present, terms.is_null(found)])


def _parts(pattern: str) -> list[tuple[bool, str]]:
    """Return the parts of a pattern: whether each is plain, and its text. Of several ``%`` one is left."""
    parts: list[tuple[bool, str]] = []
    for found in _PART.finditer(pattern):
        plain = found["wild"] is None
        text = found["wild"] or found["escaped"] or found["plain"]
        if plain and parts and parts[-1][0]:
            parts[-1] = (True, parts[-1][1] + text)
        elif plain or not (text == ANY and parts and parts[-1] == (False, ANY)):
            parts.append((plain, text))
    return parts


def _expression(parts: list[tuple[bool, str]]) -> str:
    """Return the regular expression, as Java writes them, of the parts of a pattern."""
    wild = {ANY: ".*", ONE: "."}
    written = [_SPECIAL.sub(r"\\\g<0>", text) if plain else wild[text] for plain, text in parts]
    return rf"(?s)\A{''.join(written)}\z"
