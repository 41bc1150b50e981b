"""Settings that ask the stand-in registry without long waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from statestore.settings import RegistrySettings
from statestore.testing.registry import StandInRegistry

Ask = Callable[..., RegistrySettings]


@pytest.fixture
def ask(stand_in: StandInRegistry) -> Ask:
    """Settings for the stand-in, with others in place of the defaults."""

    def settings(**given: Any) -> RegistrySettings:
        chosen = {"url": stand_in.url, "retry_wait": 0.0, "timeout": 60.0, **given}
        return RegistrySettings.model_validate(chosen)

    return settings
