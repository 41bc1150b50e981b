"""What is left to do when the process ends, once the managers are closed."""

from __future__ import annotations

from collections.abc import Callable

_calls: list[Callable[[], None]] = []


def at_end(call: Callable[[], None]) -> None:
    """Have ``call`` called at the end of the process, after all managers were closed."""
    _calls.append(call)


def end() -> None:
    """Do what is left. The manager's module calls this when the interpreter ends."""
    for call in _calls:
        call()
