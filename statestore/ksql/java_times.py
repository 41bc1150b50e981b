"""Patterns of times: those of Python's ``strftime`` as patterns of Java, which ``TIMESTAMP_FORMAT`` takes."""

from __future__ import annotations

import re
from typing import Final

_LETTERS: Final = {
    "Y": "yyyy",
    "m": "MM",
    "d": "dd",
    "H": "HH",
    "I": "hh",
    "M": "mm",
    "S": "ss",
    "f": "SSSSSS",
    "j": "DDD",
    "z": "xx",
    "F": "yyyy-MM-dd",
    "T": "HH:mm:ss",
}
_REFUSED: Final = {
    "y": "%y is a year of 1969 to 2068 in Python, of 2000 to 2099 in Java",
    **{
        letter: f"%{letter} is text in the language of Python's process or of the server"
        for letter in ("a", "A", "b", "B", "c", "p", "x", "X", "h")
    },
    "Z": "%Z is a zone's name, which Java reads in other ways",
}
_DIRECTIVE: Final = re.compile(r"%(.)|([^%]+)|%", re.DOTALL)
_READ_BY_JAVA: Final = re.compile(r"[A-Za-z\[\]{}#']")


def java_pattern(pattern: str, faults: list[str]) -> str:
    """Return the Java pattern for what ``pattern`` writes, appending each directive without one."""
    written = []
    for found in _DIRECTIVE.finditer(pattern):
        letter, text = found[1], found[2]
        if letter is None or letter == "%":
            written.append(_verbatim(text or "%"))
        elif letter in _LETTERS:
            written.append(_LETTERS[letter])
        else:
            faults.append(_REFUSED.get(letter) or f"%{letter} has no counterpart in Java's patterns")
    return "".join(written)


def has_zone(pattern: str) -> bool:
    """Whether what ``pattern`` writes says in which zone the time is."""
    return any(found[1] == "z" for found in _DIRECTIVE.finditer(pattern))


def _verbatim(text: str) -> str:
    """Return text that stands in a time as it is."""
    if not _READ_BY_JAVA.search(text):
        return text
    return "'" + text.replace("'", "''") + "'"
