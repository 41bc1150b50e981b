"""What the tests of single packages share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from statestore.errors import ConfigError


@pytest.fixture
def faults() -> Callable[..., tuple[str, ...]]:
    """Return the faults of the ``ConfigError`` that a call raises."""

    def faults(call: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[str, ...]:
        with pytest.raises(ConfigError) as caught:
            call(*args, **kwargs)
        return caught.value.faults

    return faults
