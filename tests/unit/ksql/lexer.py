"""A lexer of KSQL of the tests' own, which reads back what the translator writes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

KEYWORDS: Final = frozenset(
    re.findall(
        "[A-Z]+",
        """
        SELECT FROM AS ALL DISTINCT WHERE WITHIN WINDOW GROUP BY HAVING LIMIT AT OR AND IN NOT
        EXISTS BETWEEN LIKE IS NULL TRUE FALSE MILLISECOND YEARS MONTHS DAYS HOURS MINUTES SECONDS
        MILLISECONDS TUMBLING HOPPING SIZE ADVANCE RETENTION CASE WHEN THEN ELSE END JOIN FULL OUTER
        INNER LEFT RIGHT ON WITH VALUES CREATE TABLE TOPIC STREAM STREAMS INSERT DELETE INTO
        DESCRIBE EXTENDED PRINT CAST LIST TOPICS QUERY QUERIES TERMINATE LOAD DROP TO RENAME SAMPLE
        EXPORT CATALOG PROPERTIES BEGINNING UNSET RUN SCRIPT DECIMAL CONNECTOR CONNECTORS NAMESPACE
        MATERIALIZED VIEW STRING EMIT CHANGES FINAL ESCAPE INTEGER DATE TIME TIMESTAMP INTERVAL YEAR
        MONTH DAY HOUR MINUTE SECOND ZONE GRACE PERIOD PARTITION STRUCT EXPLAIN ANALYZE TYPE TYPES
        SHOW TABLES COLUMNS COLUMN PARTITIONS FUNCTIONS FUNCTION ARRAY MAP SET DEFINE UNDEFINE RESET
        SESSION KEY SINK SOURCE PRIMARY REPLACE ASSERT ADD ALTER VARIABLES PLUGINS HEADERS HEADER
        SYSTEM TIMEOUT SCHEMA SUBJECT ID IF
        """,
    )
)
"""All keywords, reserved or not."""

_RULES: Final = [
    (kind, re.compile(pattern, re.DOTALL | re.IGNORECASE | re.ASCII))
    for kind, pattern in (
        ("space", r"[ \t\r\n]+"),
        ("comment", r"--[^\r\n]*|/\*.*?\*/"),
        ("variable", r"\$\{[A-Z_][A-Z0-9_@]*\}"),
        ("string", r"'(?:[^']|'')*'"),
        ("quoted", r"`(?:[^`]|``)*`"),
        ("double quoted", r'"(?:[^"]|"")*"'),
        ("float", r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)E[+-]?[0-9]+"),
        ("decimal", r"[0-9]+\.[0-9]*|\.[0-9]+"),
        ("integer", r"[0-9]+"),
        ("name", r"[A-Z_][A-Z0-9_@]*"),
        ("digit name", r"[0-9][A-Z0-9_@]+"),
        ("sign", r"<>|!=|<=|>=|:=|->|=>|\|\||[-=<>+*/%()\[\],.;]"),
    )
]
_UNWANTED: Final = ("comment", "variable", "double quoted", "digit name")


@dataclass(frozen=True)
class Token:
    """A token: a keyword or sign as it is, a name or string without its quotes."""

    kind: str
    """``keyword``, ``name``, ``string``, ``integer``, ``decimal``, ``float`` or ``sign``."""
    text: str
    at: int = 0
    """Where it begins."""


def tokens(text: str) -> list[Token]:
    """Return the tokens of a text; the longest counts, of equals the first rule.

    Raises ``AssertionError`` for what no statement of ours may have: comments, variables, other characters.
    """
    found, at = [], 0
    while at < len(text):
        matches = [(kind, rule.match(text, at)) for kind, rule in _RULES]
        kind, longest = max(
            ((kind, match[0]) for kind, match in matches if match),
            key=lambda one: len(one[1]),
            default=("", ""),
        )
        assert longest, f"{text[at : at + 20]!r} begins no token"
        assert kind not in _UNWANTED, f"{longest!r} is a {kind}"
        if kind != "space":
            found.append(_token(kind, longest, at))
        at += len(longest)
    assert "${" not in text
    return found


def _token(kind: str, text: str, at: int) -> Token:
    if kind == "string":
        return Token("string", text[1:-1].replace("''", "'"), at)
    if kind == "quoted":
        return Token("name", text[1:-1].replace("``", "`"), at)
    if kind == "name":
        assert text == text.upper(), f"the server reads {text!r} in upper case"
        return Token("keyword" if text in KEYWORDS else "name", text, at)
    return Token(kind, text, at)
