"""Windows: their sizes, and the label of each in names of stores, topics and heartbeats."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import cast

from statestore.errors import ConfigError
from statestore.runtime.text import bounded_repr

WindowSpec = int | str | timedelta
"""A number of minutes, a text as ``"30s"``, ``"5min"``, ``"1h"``, ``"1d"``, ``"1w"``, or a ``timedelta``."""

_UNITS = {
    "s": timedelta(seconds=1),
    "min": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
_TEXT = re.compile(r"([0-9]+) ?([A-Za-z]*)")
_FORMS = "write a number of minutes, '30s', '5min', '1h', '1d', '1w' or a timedelta"
_DAY, _WEEK = timedelta(days=1), timedelta(weeks=1)
_MILLISECOND = timedelta(milliseconds=1)
_LONGEST = timedelta(days=2_932_896)
"""From the first day of 1970 to the last one of 9999: a longer window has no end that can be told."""
_FIRST_MONDAY = 4 * _DAY // _MILLISECOND
"""1970-01-05, in milliseconds since 1970."""


@dataclass(frozen=True, slots=True)
class Hopping:
    """Windows that overlap, in ``windows=``: each has the ``size``, and they start ``advance`` apart.

    Both are given as a window's size is. Their label is ``"5min_by_1min"``.
    """

    size: WindowSpec
    advance: WindowSpec


DeclaredWindow = WindowSpec | Hopping
"""One of the windows of a class."""
SESSIONS = "sessions"
"""What ``windows=`` says, and the label, where each row has a start and an end of its own."""


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """A window of a class: a tumbling one, unless it says otherwise. Windows sort by size."""

    size: timedelta
    """0 of sessions, which have each their own."""
    label: str
    """``"5min"`` for whole minutes, ``"30s"`` for other sizes, and the calendar's ``"1d"`` and ``"1w"``;
    ``"5min_by_1min"`` of hopping windows; ``"sessions"``."""
    advance: timedelta | None = None
    """Of hopping windows: how far apart they start."""

    @property
    def is_session(self) -> bool:
        """Whether each row has a start and an end of its own."""
        return self.label == SESSIONS

    @property
    def size_ms(self) -> int:
        """The size in milliseconds."""
        return self.size // _MILLISECOND

    @property
    def origin_ms(self) -> int:
        """A start of such a window, in milliseconds since 1970: a week begins on a Monday."""
        return _FIRST_MONDAY if self.size == _WEEK else 0

    def start_of(self, time: int) -> int:
        """Return the start of the window that ``time`` is in, both in milliseconds since 1970 UTC."""
        return time - (time - self.origin_ms) % self.size_ms


def window(spec: WindowSpec) -> Window:
    """Return the window of this size. Raises ``ConfigError`` for anything that is not a size."""
    size = _checked_window(spec, "window")
    return Window(size, label_of_size(size))


def declared_window(spec: DeclaredWindow) -> Window:
    """Return the window that a class declares so. Raises ``ConfigError`` for what is none."""
    if not isinstance(spec, Hopping):
        return window(spec)
    size, advance = _checked_window(spec.size, "Hopping size"), _checked_size(spec.advance, "Hopping advance")
    if advance > size:
        raise ConfigError(
            f"{spec}: windows that start {label_of_size(advance)} apart and are {label_of_size(size)} long "
            "leave gaps: the advance must not be longer than the size"
        )
    if advance == size:
        raise ConfigError(f"{spec}: such windows do not overlap: write {label_of_size(size)!r} instead")
    return Window(size, f"{label_of_size(size)}_by_{label_of_size(advance)}", advance)


def find_window(spec: object, windows: Sequence[Window]) -> Window | None:
    """Return the one of ``windows`` that ``spec`` means: its label, or what it is declared by."""
    for one in windows:
        if spec in (one, one.label):
            return one
    try:
        found = declared_window(cast("DeclaredWindow", spec))
    except ConfigError:
        return None
    return found if found in windows else None


def read_windows(specs: object, faults: list[str]) -> tuple[Window, ...]:
    """Return the windows of a declaration's ``windows=``, by size, appending each fault to ``faults``."""
    if specs == SESSIONS:
        return (Window(timedelta(0), SESSIONS),)
    if not isinstance(specs, Iterable) or isinstance(specs, str | bytes):
        faults.append(
            f"windows={bounded_repr(specs)}: give a list of sizes, as in windows=[1, 5, '1h'], or 'sessions'"
        )
        return ()
    specs_of: dict[Window, list[DeclaredWindow]] = {}
    listed: Sequence[DeclaredWindow] = list(specs)
    for spec in listed:
        if spec == SESSIONS:
            faults.append(
                "windows: 'sessions' stands alone, as in windows='sessions': sessions and windows of a size "
                "have different keys; declare a class for each"
            )
            continue
        try:
            specs_of.setdefault(declared_window(spec), []).append(spec)
        except ConfigError as error:
            faults += error.faults
    faults += [
        f"windows: {', '.join(map(bounded_repr, spelled))} are the same size, {one.label!r}: give it once"
        for one, spelled in specs_of.items()
        if len(spelled) > 1
    ]
    if not listed:
        faults.append("windows=[]: give at least one size, or leave windows= out")
    return tuple(sorted(specs_of))


def retention_of(spec: WindowSpec) -> timedelta:
    """Return how long rows are kept, given as a window's size is. Raises ``ConfigError`` for others."""
    return _checked_size(spec, "retention")


def length_of(spec: WindowSpec, what: str) -> timedelta:
    """Return a length of time, given as a window's size is; ``what`` names it in errors.

    Raises ``ConfigError`` for what is not a positive length of whole seconds.
    """
    return _checked_size(spec, what)


def label_of_size(size: timedelta) -> str:
    """Return the label of a size in whole seconds."""
    if size in (_DAY, _WEEK):
        return "1d" if size == _DAY else "1w"
    seconds = size // timedelta(seconds=1)
    return f"{seconds}s" if seconds % 60 else f"{seconds // 60}min"


def _checked_window(spec: WindowSpec, what: str) -> timedelta:
    size = _checked_size(spec, what)
    if size > _LONGEST:
        raise ConfigError(f"{what} {bounded_repr(spec)}: no window is longer than the years 1970 to 9999")
    return size


def _checked_size(spec: WindowSpec, what: str) -> timedelta:
    size = _size(spec, what)
    if size <= timedelta(0):
        raise ConfigError(f"{what} {bounded_repr(spec)}: the size must be positive; {_FORMS}")
    if size % timedelta(seconds=1):
        raise ConfigError(f"{what} {bounded_repr(spec)}: the size must be whole seconds")
    return size


def _size(spec: object, what: str) -> timedelta:
    if isinstance(spec, timedelta):
        return spec
    try:
        if isinstance(spec, int) and not isinstance(spec, bool):
            return timedelta(minutes=spec)
        if isinstance(spec, str) and (matched := _TEXT.fullmatch(spec)) and matched[2] in _UNITS:
            return int(matched[1]) * _UNITS[matched[2]]
    except (OverflowError, ValueError):  # the latter: of more digits than Python reads
        raise ConfigError(f"{what} {bounded_repr(spec)}: longer than a timedelta can be") from None
    hint = ""
    if isinstance(spec, str) and (matched := _TEXT.fullmatch(spec)):
        if matched[2] == "m":
            hint = " ('m' could be minutes or months: minutes are 'min')"
        elif matched[2].lower() in ("mo", "mon", "month", "months"):
            hint = " (months differ in length: there are no windows of them yet)"
    raise ConfigError(f"{what} {bounded_repr(spec)}: not a size{hint}; {_FORMS}")
