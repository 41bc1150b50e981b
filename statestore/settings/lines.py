"""The line of a setting in a settings file, which the parsers of TOML and JSON do not tell."""

from __future__ import annotations

import re

from statestore.settings.paths import SettingPath

_NOT_NAMES = re.compile(
    r"""
    "{3} (?:\\.|[^\\])*? "{3} | '{3} .*? '{3} | \#[^\n]*
    | (?: "(?:\\.|[^"\\\n])*" | '[^'\n]*' ) (?P<name> [ \t]* [.\]=:])?
    """,
    re.DOTALL | re.VERBOSE,
)
"""Texts and comments, in which nothing is a setting; a text may be a name itself."""


def line_of(text: str, path: SettingPath) -> int | None:
    """Return the number of the line on which the setting at ``path`` stands, from 1; ``None``: not found.

    Its names are looked for one after the other, each from the line of the one above it on; so in a table
    that is written in two places the line of the first may be told.
    """
    lines = _NOT_NAMES.sub(_names_only, text).split("\n")
    found, start = None, 0
    for name in path:
        named = re.compile(rf"""(?:^|[\[{{,.\s])(["']?){re.escape(name)}\1\s*[.\]=:]""")
        line = next((number for number in range(start, len(lines)) if named.search(lines[number])), None)
        if line is None:
            break
        found = start = line
    return None if found is None else found + 1


def _names_only(match: re.Match[str]) -> str:
    """Return the text of a name, and of all else its line breaks only."""
    return match[0] if match["name"] else "\n" * match[0].count("\n")
