"""What the tests of single packages share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from statestore.errors import ConfigError
from statestore.testing.registry import StandInRegistry


@pytest.fixture
def faults() -> Callable[..., tuple[str, ...]]:
    """Return the faults of the ``ConfigError`` that a call raises."""

    def faults(call: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[str, ...]:
        with pytest.raises(ConfigError) as caught:
            call(*args, **kwargs)
        return caught.value.faults

    return faults


@pytest.fixture
def stand_in() -> Iterator[StandInRegistry]:
    """A schema registry on loopback."""
    with StandInRegistry() as registry:
        yield registry
