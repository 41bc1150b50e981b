"""What the suite promises of itself: see tests/README.md."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from statestore.testing.kafka import EXTERNAL_VARIABLE

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workers", "ci", "status", "verdict"),
    [("0", "true", 1, "a failure"), ("2", "true", 1, "a failure"), ("0", "", 0, "the rest")],
)
def test_kafka_tests_that_cannot_run_are_told(workers: str, ci: str, status: int, verdict: str) -> None:
    environment = {**os.environ, "JAVA_HOME": "/nowhere", EXTERNAL_VARIABLE: "", "CI": ci}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-n",
            workers,
            "tests/kafka/test_crash.py",
            "tests/unit/test_naming.py",
        ],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.startswith(f"4 Kafka tests skipped ({verdict}")
    assert "Java 17 or newer is missing" in last
