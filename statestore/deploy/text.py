"""The text of a statement: its tokens, its normal form and hash, and the same statement over other names.

A statement is cut into tokens only as far as that takes: literals, quoted names and comments are told from
the rest. Whether a statement is right is the server's affair.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import NamedTuple

from statestore.ksql.lexis import quoted, string

_TOKEN = re.compile(
    r"""
    (?P<space>[ \t\r\n]+)
    | (?P<comment>--[^\r\n]*|/\*.*?\*/)
    | (?P<string>'(?:[^']|'')*')
    | (?P<quoted>`(?:[^`]|``)*`|"(?:[^"]|"")*")
    | (?P<word>[A-Za-z0-9_@]+)
    | (?P<sign>.)
    """,
    re.VERBOSE | re.DOTALL,
)
# What may follow a source in FROM or JOIN and is no alias of it.
_NO_ALIAS = frozenset(
    {"WINDOW", "WHERE", "GROUP", "PARTITION", "HAVING", "EMIT", "LIMIT", "WITHIN", "ON", "GRACE"}
    | {"JOIN", "INNER", "LEFT", "RIGHT", "FULL", "OUTER", "CROSS"}
)


class Token(NamedTuple):
    """A piece of a statement. ``kind``: space, comment, string, quoted, word or sign."""

    kind: str
    text: str

    @property
    def word(self) -> str:
        """A bare word in capitals; empty for all else."""
        return self.text.upper() if self.kind == "word" else ""

    @property
    def name(self) -> str:
        """The name that the server reads here: bare names in capitals, quoted ones as they are."""
        if self.kind == "quoted":
            quote = self.text[0]
            return self.text[1:-1].replace(quote * 2, quote)
        return self.word


def tokens(text: str) -> Iterator[Token]:
    """Iterate over all tokens of ``text``; joined they are ``text`` again."""
    for found in _TOKEN.finditer(text):
        yield Token(str(found.lastgroup), found[0])


def normalised(text: str) -> str:
    """Return ``text`` without comments, each white space as one blank; literals and quoted names
    untouched."""
    parts: list[str] = []
    for token in tokens(text):
        if token.kind not in ("space", "comment"):
            parts.append(token.text)
        elif parts and parts[-1] != " ":
            parts.append(" ")
    return "".join(parts).strip(" ")


def sha256_of(text: str) -> str:
    """Return the SHA-256 of the normal form of ``text``, in hexadecimal digits."""
    return hashlib.sha256(normalised(text).encode()).hexdigest()


def significant(text: str) -> list[Token]:
    """Return the tokens of ``text`` but for white space and comments."""
    return [token for token in tokens(text) if token.kind not in ("space", "comment")]


def emits_final(text: str) -> bool:
    """Whether the statement has ``EMIT FINAL``."""
    words = [token.word for token in significant(text)]
    return any(pair == ("EMIT", "FINAL") for pair in pairwise(words))


def is_replacing(text: str) -> bool:
    """Whether the statement begins with ``CREATE OR REPLACE``."""
    return [token.word for token in significant(text)[:3]] == ["CREATE", "OR", "REPLACE"]


def subject_of(text: str) -> tuple[str, str]:
    """Return what a statement does and to which stream or table: ``("create table", "TOTALS")``."""
    verb, *rest = significant(text)
    while rest and rest[0].word in ("OR", "REPLACE", "SOURCE"):
        del rest[0]
    if [one.word for one in rest[1:4]] == ["IF", "NOT", "EXISTS"]:
        del rest[1:4]
    action = " ".join(one.word for one in (verb, *rest[:1])).lower()
    return action, rest[1].name if len(rest) > 1 else ""


def statement_fault(text: str) -> str | None:
    """Return why ``text`` is not one statement with its ``;`` at the end."""
    found = significant(text)
    semicolons = [place for place, token in enumerate(found) if token.text == ";"]
    if not found or semicolons != [len(found) - 1]:
        return "is not one statement that ends with ';'"
    return None


def renamed(text: str, names: Mapping[str, str], topic: tuple[str, str] | None = None) -> str:
    """Return the statement over other sources, and with another name of what it makes or fills.

    ``names`` has the new name of each source by the old one, as the server knows them. A source of FROM and
    JOIN without an alias gets its old name as alias, so that nothing else of the statement changes.
    ``topic``: the topic of what it makes, old and new.
    """
    given = list(tokens(text))
    places = [place for place, token in enumerate(given) if token.kind not in ("space", "comment")]
    result = [token.text for token in given]
    for position, place in enumerate(places):
        token = given[place]
        before = [given[one].word for one in places[max(0, position - 8) : position]]
        if topic is not None and token.kind == "string" and _follows_topic(given, places, position):
            if token.text == string(topic[0]):
                result[place] = string(topic[1])
        elif token.name in names and (role := _role(before)):
            result[place] = quoted(names[token.name])
            if role == "read" and not _has_alias(given, places, position):
                result[place] += f" {token.text}"
    return "".join(result)


def _role(before: list[str]) -> str:
    """Return what a name after these words is: ``read``, ``made`` or nothing of interest."""
    if before and (before[-1] == "JOIN" or (before[-1] == "FROM" and before[-2:-1] != ["DISTINCT"])):
        return "read"
    words = before[:-3] if before[-3:] == ["IF", "NOT", "EXISTS"] else before
    if words and (words[-1] == "INTO" or (words[-1] in ("STREAM", "TABLE") and "CREATE" in words)):
        return "made"
    return ""


def _has_alias(given: list[Token], places: list[int], position: int) -> bool:
    if position + 1 >= len(places):
        return False
    following = given[places[position + 1]]
    return following.kind == "quoted" or (following.kind == "word" and following.word not in _NO_ALIAS)


def _follows_topic(given: list[Token], places: list[int], position: int) -> bool:
    """Whether a string is the value of KAFKA_TOPIC in WITH."""
    if position < 2:
        return False
    equals, name = given[places[position - 1]], given[places[position - 2]]
    return equals.text == "=" and name.name.strip("'").upper() == "KAFKA_TOPIC"
