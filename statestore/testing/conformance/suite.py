"""The contract of :mod:`statestore.backends.contract`, as tests a third party's backend can be given.

``statestore prove shelf:ShelfEngine`` runs them on the command line. One import and one fixture have them
among the author's own tests::

    from functools import partial

    import pytest
    from statestore.testing import BackendConformance

    from shelf import ShelfEngine


    class TestShelf(BackendConformance):
        @pytest.fixture
        def engine_factory(self):
            return partial(ShelfEngine, memory_budget=16 << 20)

The factory is also called in other processes, some of which are killed: it is a class, a function at the top
of a module, or ``functools.partial`` of one. ``kills`` in the class says how many kills there are (50). Each
test has five minutes (pytest-timeout); ``pytestmark = pytest.mark.timeout(…)`` in the class sets another
limit.

No test is skipped: where an engine that forgets answers differently from one that persists, the test reads
``Engine.persistent`` and demands the answer that goes with it. Run it with ``-W error``, so that a leaked
file fails too. The Hypothesis part runs the same examples every time; to search further, set
``machine_settings = settings(max_examples=2_000, stateful_step_count=100)`` in the class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
from hypothesis.stateful import run_state_machine_as_test

from statestore.backends.contract import Backend, Engine, StoreOptions
from statestore.testing.conformance.crashing import CrashTests
from statestore.testing.conformance.durability import DurabilityTests
from statestore.testing.conformance.isolation import IsolationTests
from statestore.testing.conformance.lifetime import LifetimeTests
from statestore.testing.conformance.loading import LoadingTests
from statestore.testing.conformance.machine import backend_machine
from statestore.testing.conformance.ranges import RangeTests
from statestore.testing.conformance.reading import ReadingTests
from statestore.testing.conformance.writing import WritingTests
from statestore.testing.threads import limited


class BackendConformance(
    ReadingTests,
    WritingTests,
    RangeTests,
    IsolationTests,
    LifetimeTests,
    DurabilityTests,
    LoadingTests,
    CrashTests,
):
    """Every sentence of the contract; subclass it and override ``engine_factory``."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        limited(cls)

    machine_settings: hypothesis.settings = hypothesis.settings(
        derandomize=True,  # the same examples in every run
        database=None,
        report_multiple_bugs=False,  # a backend with one defect fails in many ways, each sought for minutes
        phases=[phase for phase in hypothesis.Phase if phase is not hypothesis.Phase.explain],  # traces lines
        deadline=None,
        max_examples=60,
        stateful_step_count=40,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )

    @pytest.fixture
    def backend(self, engine: Engine, directory: Path) -> Iterator[Backend]:
        """An open store, empty, without a changelog."""
        with engine.open(directory, StoreOptions()) as backend:
            yield backend

    def test_behaves_as_a_dict_under_any_sequence_of_calls(
        self, engine_factory: Callable[[], Engine], tmp_path: Path
    ) -> None:
        """The store behaves as a dict under any sequence of calls."""
        run_state_machine_as_test(backend_machine(engine_factory, tmp_path), settings=self.machine_settings)
