"""What to do instead, for calls that give something else than a key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from statestore.runtime.text import bounded_repr

_CONVERTED: tuple[Callable[[Any], Any], ...] = (int, str, UUID)
"""Types whose constructors make a key's value of a text, or a text of it."""


def remedy_for(cls: type, names: Sequence[str], values: tuple[Any, ...]) -> str | None:
    """Return what to give instead of ``values``, which are no key of ``names``; ``None``: no such thing.

    ``cls`` is the entity class whose keys they should be.
    """
    only = values[0] if len(values) == 1 else None
    if isinstance(only, cls):
        key = [getattr(only, name) for name in names]
        return f"give the key of the entity: {', '.join(map(bounded_repr, key))}"
    if isinstance(only, tuple | list) and 0 < len(only) <= len(names):
        given = ", ".join(map(bounded_repr, only))
        return f"give the values of the key one by one: get({given}), not get({bounded_repr(only)})"
    if len(names) == 1 and len(values) == 2:
        one, other = map(bounded_repr, values)
        return f"a default is named: get({one}, default={other})"
    return None


def converted(expected: type, value: Any) -> str:
    """Return what to give instead of ``value``, of another type than ``expected``; empty where unknown."""
    if expected not in _CONVERTED or not isinstance(value, str | int | UUID):
        return ""
    try:
        made: Any = expected
        return f"; give {bounded_repr(made(value))}"
    except (TypeError, ValueError, AttributeError):
        return ""
