"""The suite without its extra."""

from __future__ import annotations

import subprocess
import sys

import pytest

from statestore.testing import BackendConformance, SharingConformance


@pytest.mark.parametrize("missing", ["pytest", "hypothesis"])
def test_importing_the_suite_without_its_extra_names_the_extra(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; import statestore.testing"
    run = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)
    assert f"ImportError: statestore.testing needs {missing}" in run.stderr
    assert "pip install 'statestore[testing]'" in run.stderr


def test_a_class_of_tests_can_say_its_own_limit() -> None:
    class Default(BackendConformance):
        pytestmark = pytest.mark.slow

    class Longer(SharingConformance):
        pytestmark = pytest.mark.timeout(1800)

    class Inherited(Longer):
        pass

    marks = {cls: vars(cls).get("pytestmark") for cls in (Default, Longer, Inherited)}
    assert marks[Default] == [pytest.mark.slow, pytest.mark.timeout(300)]
    assert marks[Longer] == pytest.mark.timeout(1800)
    assert marks[Inherited] is None
