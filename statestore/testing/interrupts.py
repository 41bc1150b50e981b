"""Calls that are interrupted, at each instant at which Python could run a signal handler in them."""

from __future__ import annotations

import dis
import gc
import itertools
import random
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from types import CodeType, FrameType
from typing import Any

_CHECKS = ("RESUME", "CALL", "CALL_FUNCTION_EX", "CALL_KW", "JUMP_BACKWARD", "POP_JUMP_BACKWARD")
"""Beginnings of the names of instructions after which Python looks for signals."""
_APART = ("logging", "importlib", "warnings", "traceback", "linecache", "_weakrefset", "hypothesis")
"""Modules whose own locks are not ours to keep right, or where Python itself loses what is raised."""


class Interrupt(BaseException):
    """What a signal handler raises, such as ``KeyboardInterrupt``."""


class TimeLimit(TimeoutError):  # noqa: N818 - as task queues name theirs
    """The same, of a class that libraries catch: ``OSError``, ``Exception``."""


def raise_interrupt(*_: object) -> None:
    """A signal handler that raises."""
    raise Interrupt


def raise_time_limit(*_: object) -> None:
    """Another one. It is told from the library's own errors where it is installed: ``installed``."""
    raise TimeLimit


@contextmanager
def installed(handler: Callable[..., object]) -> Iterator[None]:
    """Have ``handler`` be the one of ``SIGALRM``. On the main thread.

    What others run at collections, as Hypothesis does, is left out: Python loses what is raised there.
    """
    collecting, gc.callbacks[:] = gc.callbacks[:], []
    before = signal.signal(signal.SIGALRM, handler)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gc.callbacks[:] = collecting


def interrupted(call: Callable[[], object], handler: Callable[[], object], instant: int) -> bool:
    """Call ``call``, and ``handler`` in its instant number ``instant``; say whether it has so many.

    Both on this thread. What either raises comes out. Instants of ``call`` itself do not count, only those of
    what it calls.
    """
    return _interrupted(call, handler, instant) < 0


def count_instants(call: Callable[[], object]) -> int:
    """Call ``call``; return how many instants it had. Another time it may have more or fewer."""
    return sys.maxsize - _interrupted(call, lambda: None, sys.maxsize)


def _interrupted(call: Callable[[], object], handler: Callable[[], object], instant: int) -> int:
    """Do that; return how many instants were missing, -1 for none."""
    left = instant
    here = call.__code__ if hasattr(call, "__code__") else None

    def begin(frame: FrameType, event: str, _: Any) -> Any:
        if event != "call" or left < 0 or frame.f_code is here or _is_apart(frame):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        checks = _checks(frame.f_code)
        last = -1

        def step(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal left, last
            if event == "opcode" and left >= 0:
                if last in checks:
                    left -= 1
                    if left < 0:
                        handler()
                last = frame.f_lasti
            return step

        return step

    before = sys.gettrace()
    sys.settrace(begin)
    try:
        call()
    finally:
        sys.settrace(before)
    return left


def instants(most: int | None, seed: int = 0) -> Iterator[int]:
    """Give the numbers of instants to try: all, or ``most`` of them by chance, the early ones more often."""
    if most is None:
        yield from itertools.count()
    chance = random.Random(seed)
    for turn in range(most or 0):
        yield turn if turn < (most or 0) // 3 else int(1.02 ** chance.uniform(0, 330))


@cache
def _checks(code: CodeType) -> frozenset[int]:
    """Return the offsets of the instructions of ``code`` after which a handler may run.

    What it raises then belongs to that instruction, while the tracer raises in the one that follows: those
    where the two are covered by different ``try`` blocks are left out.
    """
    parse: Any = getattr(dis, "_parse_exception_table")  # noqa: B009 - there is no public one
    table = parse(code)

    def target(offset: int) -> int | None:
        return next((one.target for one in table if one.start <= offset < one.end), None)

    found = list(dis.get_instructions(code))
    return frozenset(
        one.offset
        for one, following in itertools.pairwise(found)
        if one.opname.startswith(_CHECKS) and target(one.offset) == target(following.offset)
    )


def _is_apart(frame: FrameType) -> bool:
    return (frame.f_globals.get("__name__") or "").split(".")[0] in _APART
