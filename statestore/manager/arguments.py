"""The check of the arguments of a ``StoreManager`` that no section of the settings has."""

from __future__ import annotations

from collections.abc import Sized

from statestore.errors import ConfigError
from statestore.runtime.text import bounded_repr


def check_arguments(connect: object, lock_timeout: object, prune: object, entities: Sized) -> None:
    """Raise ``ConfigError`` for what is none of them."""
    if connect not in ("eager", "lazy"):
        raise ConfigError(f"connect={bounded_repr(connect)}: choose 'eager' or 'lazy'")
    if not _is_seconds(lock_timeout):
        raise ConfigError(f"lock_timeout={bounded_repr(lock_timeout)}: give seconds, 0 or more")
    if not isinstance(prune, bool):
        raise ConfigError(f"prune={bounded_repr(prune)}: give True or False")
    if prune and not len(entities):
        raise ConfigError(
            "prune=True removes what the manager does not bind: give all that it binds as entities=[…]"
        )


def check_wait(wait: object) -> None:
    """Raise ``ConfigError`` for what is no time to wait."""
    if wait is not None and not _is_seconds(wait):
        raise ConfigError(f"wait={bounded_repr(wait)}: give seconds, 0 or more, or None to wait for nothing")


def _is_seconds(given: object) -> bool:
    return isinstance(given, int | float) and not isinstance(given, bool) and given >= 0
