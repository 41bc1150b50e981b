"""The documentation of asynchronous methods: that of the blocking ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

C = TypeVar("C", bound=type)


def documented_by(*blocking: type) -> Callable[[C], C]:
    """Give the methods of a class docstrings: those of their names in its bases, or else in ``blocking``."""

    def document(cls: C) -> C:
        classes: tuple[type, ...] = (cls, *blocking)
        places = [place for one in classes for place in one.__mro__]
        for name, method in vars(cls).items():
            if not name.startswith("_") and not method.__doc__:
                found = (vars(place)[name].__doc__ for place in places if name in vars(place))
                method.__doc__ = next(filter(None, found), None)
        return cls

    return document
