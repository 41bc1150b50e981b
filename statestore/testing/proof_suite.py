"""What ``statestore prove`` has pytest collect: the suite, for the engine that was asked for."""

from __future__ import annotations

from collections.abc import Callable

import hypothesis
import pytest

from statestore.backends.contract import Engine
from statestore.backends.sharing import SharingEngine
from statestore.testing import proof_child
from statestore.testing.conformance import BackendConformance
from statestore.testing.sharing import SharingConformance


class TestBackend(BackendConformance):
    kills = proof_child.chosen["kills"]
    machine_settings = hypothesis.settings(
        BackendConformance.machine_settings, max_examples=proof_child.chosen["examples"]
    )

    @pytest.fixture
    def engine_factory(self) -> Callable[[], Engine]:
        return proof_child.engine_factory()


if issubclass(proof_child.engine_class(), SharingEngine):

    class TestSharing(SharingConformance):
        kills = max(1, proof_child.chosen["kills"] * SharingConformance.kills // BackendConformance.kills)

        @pytest.fixture
        def engine_factory(self) -> Callable[[], Engine]:
            return proof_child.engine_factory()
