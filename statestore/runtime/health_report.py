"""Reports of health: frozen dataclasses that are mappings, too, and text in the words of their keys."""

from __future__ import annotations

import dataclasses
import difflib
import html
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar


class HealthReport(Mapping[str, Any]):
    """Values by name, as attributes and as items: ``health.lag``, ``health["lag"]``, ``dict(health)``.

    A subclass is a dataclass. ``to_dict`` gives what ``json.dumps`` takes. In ``str`` each value stands after
    the name of its key, in words: ``ready_in`` is ``Ready in``.
    """

    __slots__ = ()

    OTHER_NAMES: ClassVar[Mapping[str, str]] = {}
    """Names that a reader may know a key by, with the key that they are answered by."""

    def to_dict(self) -> dict[str, Any]:
        """Return a new dict of all values, those inside them as dicts, too; ``json.dumps`` takes it."""
        return dataclasses.asdict(self)  # type: ignore[call-overload,no-any-return] # subclasses are dataclasses

    def __getitem__(self, key: str) -> Any:
        name = self.OTHER_NAMES.get(key, key)
        if name not in _names(type(self)):
            raise KeyError(_unknown(type(self), key))
        return getattr(self, name)

    def __iter__(self) -> Iterator[str]:
        return iter(_names(type(self)))

    def __len__(self) -> int:
        return len(_names(type(self)))

    def _line(self, *keys: str) -> str:
        """Return ``Key: value`` of each of ``keys``."""
        return ", ".join(f"{words(key)}: {_text(key, self[key])}" for key in keys)

    def _repr_html_(self) -> str:
        """Return a table of all keys and values, for a notebook."""
        rows = (
            f"<tr><th style='text-align:left'>{words(key)}</th>"
            f"<td style='text-align:left'>{html.escape(str(value))}</td></tr>"
            for key, value in self.items()
        )
        return f"<table>{''.join(rows)}</table>"


def words(key: str) -> str:
    """Return the key of a report as its text says it."""
    return key.replace("_", " ").capitalize()


SECONDS = frozenset({"ready_in", "binding_for"})
"""Keys whose values are seconds, which a line of text shows with their unit."""


def _text(key: str, value: Any) -> str:
    if value is None:
        return "unknown"
    return f"{value:.1f}s" if key in SECONDS else str(value)


def _names(cls: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(cls)]


def _unknown(cls: type, key: object) -> str:
    near = difflib.get_close_matches(str(key), _names(cls), 1)
    return f"{cls.__name__} has no {key!r}" + (f": did you mean {near[0]!r}?" if near else "")
