"""A process that measures, and its private memory, which is looked at from outside."""

from __future__ import annotations

import queue
import subprocess
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import IO, Self

from statestore.bench.machine import private_memory

LOOK = 0.005
"""Seconds between two looks at the memory."""


class WatchedProcess:
    """A process that writes lines to its standard output, and takes input. Leaving the context ends it.

    ``complaints`` gets its standard error; without it, that is the one of this process.
    """

    def __init__(self, command: Sequence[str], complaints: IO[bytes] | None = None) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints, bufsize=0
        )
        self._lines: queue.Queue[bytes | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, name="statestore-bench", daemon=True)
        self._reader.start()
        self.peak: int | None = None
        """The most memory that was seen since ``watch``, in bytes; ``None`` where it is not told."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def _read(self) -> None:
        assert self._process.stdout is not None
        rest = b""
        while part := self._process.stdout.read(1 << 16):
            *lines, rest = (rest + part).split(b"\n")
            for line in lines:
                self._lines.put(line)
        self._lines.put(None)

    def send(self, data: bytes) -> None:
        """Write to its standard input. Raises ``BrokenPipeError`` where it has ended."""
        assert self._process.stdin is not None
        self._process.stdin.write(data)

    def end_input(self) -> None:
        """Tell that no more input comes."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def watch(self) -> None:
        """Forget the memory that was seen, and look at it from now on."""
        self.peak = None
        self.look()

    def look(self) -> int | None:
        """Return the memory of now, which counts for ``peak``."""
        now = private_memory(self.pid)
        if now is not None:
            self.peak = now if self.peak is None else max(self.peak, now)
        return now

    def line(self) -> bytes | None:
        """Return the next line of its output, without its end; ``None`` after the last one.

        Meanwhile it is looked at. A line that the process did not end is left out.
        """
        while True:
            try:
                return self._lines.get(timeout=LOOK)
            except queue.Empty:
                self.look()

    def wait(self) -> int:
        """Return its exit status, once it has ended."""
        return self._process.wait()
