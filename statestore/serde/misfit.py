"""Values that do not fit their declared type."""

from __future__ import annotations

import reprlib


class MisfitError(ValueError):
    """A value that does not fit its declared type; ``path`` says where within the outermost value it is."""

    def __init__(self, problem: str, path: str = "") -> None:
        super().__init__(problem)
        self.path = path

    def within(self, step: str) -> MisfitError:
        self.path = step + self.path
        return self


def expected(what: str, value: object) -> MisfitError:
    """Return the fault of ``value`` where ``what`` is wanted."""
    return MisfitError(f"expected {what}, got {type(value).__name__} {show(value)}")


_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = 120


def show(value: object) -> str:
    """Return a ``repr`` of bounded length."""
    # Python refuses to print an int of more than 4,300 digits.
    if isinstance(value, int) and value.bit_length() > 128:
        return f"of {value.bit_length()} bits"
    return _repr.repr(value)
