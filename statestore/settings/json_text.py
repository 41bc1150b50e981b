"""JSON in which no name is given twice: its parser would keep the last of two members."""

from __future__ import annotations

import json
from typing import Any


class GivenTwiceError(ValueError):
    """An object has two members of one name."""


def parse_json(text: str) -> Any:
    """Return the value of ``text``. Raises ``GivenTwiceError``, and for what is no JSON ``ValueError``."""
    try:
        return json.loads(text, object_pairs_hook=_once)
    except RecursionError as error:
        raise ValueError("it nests too deeply") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = ", ".join(sorted({name for name in names if names.count(name) > 1}))
        raise GivenTwiceError(f"{twice} is given twice: keep one of them")
    return found
