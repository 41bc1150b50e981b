"""The service of docs/services.md ends by itself on SIGTERM, in the middle of writing and following."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from statestore.testing.kafka import Broker

DOCUMENT = (Path(__file__).parents[2] / "docs" / "services.md").read_text(encoding="utf-8")
(PROGRAM,) = re.findall(r"^```python\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)

pytestmark = pytest.mark.kafka

PATIENCE = 60.0


def test_it_ends_on_sigterm_and_goes_on_at_the_next_start(broker: Broker, tmp_path: Path) -> None:
    script = tmp_path / "service.py"
    script.write_text(PROGRAM.replace("localhost:9092", broker.bootstrap), encoding="utf-8")
    try:
        for _ in range(2):
            with subprocess.Popen(
                [sys.executable, "-P", str(script)],
                cwd=tmp_path,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            ) as service:
                try:
                    assert service.stdout is not None
                    assert service.stdout.readline() == "ready\n"
                    begun = broker.end_offsets("service.events")[0]
                    while broker.end_offsets("service.events")[0] < begun + 2_000:
                        assert service.poll() is None
                    service.send_signal(signal.SIGTERM)
                    _, errors = service.communicate(timeout=PATIENCE)
                finally:
                    service.kill()
            assert (service.returncode, errors) == (0, "")
    finally:
        broker.delete_topic("service.events")
