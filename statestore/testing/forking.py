"""Calls made in a forked child, and how each of them ended."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
import warnings
from collections.abc import Callable, Mapping

from statestore.testing.threads import LIVENESS


def outcomes(calls: Mapping[str, Callable[[], object]]) -> dict[str, str]:
    """Return for each call the name of the exception it raised, or ``"returned"``."""
    ended = {}
    for name, call in calls.items():
        try:
            call()
        except Exception as error:  # noqa: BLE001 - which one it is, is the answer
            ended[name] = type(error).__name__
        else:
            ended[name] = "returned"
    return ended


def outcomes_in_child(calls: Mapping[str, Callable[[], object]]) -> dict[str, str]:
    """Return the outcomes of ``calls`` in a child made by ``os.fork()``; ``"hung"`` for those not reached."""
    read_end, write_end = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork with threads about: that is the point
        pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):  # nothing of the parent's test run may go on in here
            for name, call in calls.items():
                os.write(write_end, f"{name} {outcomes({name: call})[name]}\n".encode())
        os._exit(0)
    os.close(write_end)
    try:
        text = _read_until_end(read_end)
    finally:
        os.close(read_end)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return dict.fromkeys(calls, "hung") | dict(line.split() for line in text.decode().splitlines())


def _read_until_end(descriptor: int) -> bytes:
    text = b""
    deadline = time.monotonic() + LIVENESS
    while select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
        piece = os.read(descriptor, 4096)
        if not piece:
            break
        text += piece
    return text
