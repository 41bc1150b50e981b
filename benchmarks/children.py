"""Runs one measurement of ``child.py`` in a process of its own, whose memory is read from outside."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from statestore.bench.processes import WatchedProcess

SCRIPT = Path(__file__).with_name("child.py")


class Child(WatchedProcess):
    """A process that has imported everything and waits. Its memory counts from then on.

    ``run`` does everything. With ``start`` and ``result`` others can work at the same time. Leaving the
    context ends the process.
    """

    def __init__(self, task: str, **arguments: Any) -> None:
        self._task = task
        super().__init__([sys.executable, "-P", str(SCRIPT), task, json.dumps(arguments)])
        self.prepared()
        self._before = self.look() or 0

    def run(self) -> dict[str, Any]:
        """Return the task's result, and the growth of its private memory: at the end, and at most."""
        with self:
            self.start()
            return self.result()

    def start(self) -> None:
        """Let the task begin, or continue once it is prepared."""
        self.send(b"\n")

    def prepared(self) -> None:
        """Return when the task is prepared."""
        self._told()

    def result(self) -> dict[str, Any]:
        """Return the task's result, with ``growth`` and ``peak`` in bytes. The process stays alive."""
        self.watch()
        told: dict[str, Any] = json.loads(self._told())
        after = self.look() or 0
        return {**told, "growth": after - self._before, "peak": (self.peak or 0) - self._before}

    def _told(self) -> bytes:
        line = self.line()
        if line is None:
            raise RuntimeError(f"the measurement {self._task!r} ended with {self.wait()}")
        return line
