"""What ``statestore prove`` has pytest collect: the suite, for the engine that was asked for."""

from __future__ import annotations

from collections.abc import Callable

import hypothesis
import pytest

from statestore.backends.contract import Engine
from statestore.backends.sharing import SharingEngine
from statestore.testing.conformance.sharing import SharingConformance
from statestore.testing.conformance.suite import BackendConformance
from statestore.testing.proof import child


class TestBackend(BackendConformance):
    kills = child.chosen["kills"]
    machine_settings = hypothesis.settings(
        BackendConformance.machine_settings, max_examples=child.chosen["examples"]
    )

    @pytest.fixture
    def engine_factory(self) -> Callable[[], Engine]:
        return child.engine_factory()


if issubclass(child.engine_class(), SharingEngine):

    class TestSharing(SharingConformance):
        kills = max(1, child.chosen["kills"] * SharingConformance.kills // BackendConformance.kills)

        @pytest.fixture
        def engine_factory(self) -> Callable[[], Engine]:
            return child.engine_factory()
