"""Runs one measurement of ``child.py`` in a process of its own, and reads its memory from outside."""

from __future__ import annotations

import json
import re
import select
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

SCRIPT = Path(__file__).with_name("child.py")
SAMPLE_SECONDS = 0.005


class Child:
    """A process that has imported everything and waits. Its memory counts from then on.

    ``run`` does everything. With ``start`` and ``result`` others can work at the same time. Leaving the
    context ends the process.
    """

    def __init__(self, task: str, **arguments: Any) -> None:
        self._task = task
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(SCRIPT), task, json.dumps(arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        self._read()
        self._before = self._anonymous()

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def run(self) -> dict[str, Any]:
        """Return the task's result, and the growth of its anonymous memory: at the end, and at most."""
        with self:
            self.start()
            return self.result()

    def start(self) -> None:
        """Let the task begin, or continue once it is prepared."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")

    def prepared(self) -> None:
        """Return when the task is prepared."""
        self._read()

    def result(self) -> dict[str, Any]:
        """Return the task's result, with ``growth`` and ``peak`` in bytes. The process stays alive."""
        assert self._process.stdout is not None
        peak = 0
        while not select.select([self._process.stdout], [], [], SAMPLE_SECONDS)[0]:
            peak = max(peak, self._anonymous())
        told: dict[str, Any] = json.loads(self._read())
        after = self._anonymous()
        return {**told, "growth": after - self._before, "peak": max(peak, after) - self._before}

    def _read(self) -> bytes:
        assert self._process.stdout is not None
        line = b""
        while not line.endswith(b"\n"):
            part = self._process.stdout.read(1 << 16)
            if not part:
                raise RuntimeError(f"the measurement {self._task!r} ended with {self._process.wait()}")
            line += part
        return line

    def _anonymous(self) -> int:
        found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{self._process.pid}/status").read_text())
        return int(found[1]) * 1024 if found else 0
