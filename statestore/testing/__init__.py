"""What a backend's author needs to prove it: ``from statestore.testing import BackendConformance``.

:func:`run_windows` makes the bars of a list of records. :class:`TestDriver` runs a service's tables without
a broker, :func:`table_machine` looks for a history that it does not survive, :class:`StoreFaults` has stores
fail.

:mod:`.kafka` runs a broker for tests, and :mod:`.registry` stands in for a schema registry.

Needs the extra ``statestore[testing]`` (pytest, pytest-timeout and Hypothesis).
"""

from __future__ import annotations

try:
    import hypothesis  # noqa: F401
    import pytest
    import pytest_timeout  # type: ignore[import-untyped]  # noqa: F401
except ImportError as error:
    raise ImportError(
        f"statestore.testing needs {error.name}: install the extra, pip install 'statestore[testing]'",
        name=error.name,
    ) from error

# The suite asserts outside of test modules; without this its failures would not show the values.
pytest.register_assert_rewrite(f"{__name__}.conformance")

from statestore.testing.concurrent import (  # noqa: E402
    InconsistentHistoryError,
    Operation,
    check_history,
)
from statestore.testing.conformance import (  # noqa: E402 - after the registration
    BackendConformance,
    SharingConformance,
    backend_machine,
)
from statestore.testing.driver import TestDriver  # noqa: E402
from statestore.testing.faults import BrokenScenarioError, StoreFaults, fail_every_call  # noqa: E402
from statestore.testing.machine import table_machine  # noqa: E402
from statestore.testing.windows import run_windows  # noqa: E402

__all__ = [
    "BackendConformance",
    "BrokenScenarioError",
    "InconsistentHistoryError",
    "Operation",
    "SharingConformance",
    "StoreFaults",
    "TestDriver",
    "backend_machine",
    "check_history",
    "fail_every_call",
    "run_windows",
    "table_machine",
]
